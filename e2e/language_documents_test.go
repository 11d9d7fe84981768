package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"dagster-authkit/internal/graphql"
)

// document is a generated GraphQL document in tokens, and what may be sent beside it.
type document struct {
	tokens    []string
	names     []string // of its operations, empty for one without
	variables []variable
}

type variable struct{ name, json string }

// documentMaker writes documents over the schema: most of them are valid, so that Dagster runs them.
type documentMaker struct {
	schema *ast.Schema
	roots  []*ast.Definition
	ui     []string
}

func newCaseMaker(schema *graphql.Schema, ui []string, seeds seedTexts) *caseMaker {
	raw := schema.Raw()
	return &caseMaker{
		documents: documentMaker{schema: raw, roots: []*ast.Definition{raw.Query, raw.Mutation, raw.Subscription}, ui: ui},
		seeds:     seeds,
	}
}

// make prefers operations of the given kind: 0 for queries, 1 for mutations, 2 for subscriptions.
func (m *documentMaker) make(d dice, kinds ...int) document {
	w := documentWriter{dice: d, schema: m.schema, used: map[string]bool{}}
	operations := 1
	if d.chance(25) {
		operations = 2 + d.IntN(2)
	}
	for i := range operations {
		w.operation(m.roots[pick(d, kinds)], i, operations > 1)
	}
	if d.chance(20) {
		slices.Reverse(w.definitions)
	}
	if d.chance(4) {
		w.definitions = append(w.definitions, pick(d, w.definitions))
	}
	doc := w.document
	doc.tokens = slices.Concat(w.definitions...)
	return doc
}

// documentWriter writes one document.
type documentWriter struct {
	dice
	document
	schema      *ast.Schema
	definitions [][]string
	declared    []string // tokens of the present operation's variables
	fragments   []madeFragment
	used        map[string]bool // names of variables and fragments
	count       int
	size        int // tokens, roughly, so that documents end
}

type madeFragment struct{ name, on string }

func (w *documentWriter) operation(root *ast.Definition, i int, named bool) {
	kind := map[string]string{w.schema.Query.Name: "query", w.schema.Mutation.Name: "mutation"}[root.Name]
	if kind == "" {
		kind = "subscription"
	}
	w.declared = nil
	if !w.chance(20) {
		w.fragments = nil // otherwise an earlier operation's fragments are spread again
	}
	w.size = 0
	selections := w.rootSelections(root, kind)
	name := ""
	if named || w.chance(50) {
		name = pick(w.dice, []string{"A", "B", "C", "query", "mutation", "on", "fragment", "subscription", "true", "null", "_", "__a", "type"}) + strconv.Itoa(i)
		if w.chance(15) {
			name = pick(w.dice, []string{"A", "query", "mutation", "on", "fragment", "null"})
		}
	}
	w.names = append(w.names, name)
	var header []string
	if w.chance(2) {
		header = append(header, w.text())
	}
	if kind != "query" || name != "" || len(w.declared) > 0 || w.chance(50) {
		header = append(header, kind)
		if name != "" {
			header = append(header, name)
		}
		if len(w.declared) > 0 {
			header = append(append(append(header, "("), w.declared...), ")")
		}
	}
	if w.chance(3) {
		header = append(header, w.directive()...)
	}
	w.definitions = append(w.definitions, append(header, selections...))
}

func (w *documentWriter) rootSelections(root *ast.Definition, kind string) []string {
	count := 1 + w.IntN(3)
	if kind == "subscription" && !w.chance(10) {
		count = 1
	}
	tokens := []string{"{"}
	for range count {
		tokens = append(tokens, w.selection(root, 3)...)
	}
	return append(tokens, "}")
}

// selection is a field or a fragment on the type.
func (w *documentWriter) selection(on *ast.Definition, depth int) []string {
	w.size++
	switch roll := w.IntN(100); {
	case roll < 12 && depth > 0:
		return append(w.spread(on, depth), w.maybeDirectives()...)
	case roll < 24 && depth > 0:
		tokens := []string{"..."}
		if !w.chance(30) {
			tokens = append(tokens, "on", w.condition(on).Name)
		}
		tokens = append(tokens, w.maybeDirectives()...)
		inner := on
		if len(tokens) > 2 && tokens[1] == "on" {
			inner = w.schema.Types[tokens[2]]
		}
		return append(tokens, w.selections(inner, depth-1)...)
	}
	return w.field(on, depth)
}

func (w *documentWriter) selections(on *ast.Definition, depth int) []string {
	tokens := []string{"{"}
	for range 1 + w.IntN(2) {
		tokens = append(tokens, w.selection(on, depth)...)
	}
	return append(tokens, "}")
}

// condition is a type that can stand where the given one is expected.
func (w *documentWriter) condition(on *ast.Definition) *ast.Definition {
	if possible := w.schema.PossibleTypes[on.Name]; len(possible) > 0 && w.chance(90) {
		return pick(w.dice, possible)
	}
	if w.chance(5) {
		return pick(w.dice, []*ast.Definition{w.schema.Query, w.schema.Mutation})
	}
	return on
}

func (w *documentWriter) spread(on *ast.Definition, depth int) []string {
	for _, f := range w.fragments {
		if f.on == on.Name && w.chance(40) {
			return []string{"...", f.name}
		}
	}
	w.count++
	name := pick(w.dice, []string{"F", "fragment", "query", "mutation", "true", "null", "on_", "__F"}) + strconv.Itoa(w.count)
	if w.chance(6) {
		name = pick(w.dice, []string{"fragment", "query", "mutation", "subscription", "type", "null", "on"})
	}
	if !w.used[name] || w.chance(20) {
		w.used[name] = true
		body := w.selections(on, depth-1)
		definition := append([]string{"fragment", name, "on", on.Name}, w.maybeDirectives()...)
		w.definitions = append(w.definitions, append(definition, body...))
		if w.chance(50) {
			w.fragments = append(w.fragments, madeFragment{name, on.Name})
		}
	}
	return []string{"...", name}
}

func (w *documentWriter) field(on *ast.Definition, depth int) []string {
	candidates := on.Fields
	if on.Kind == ast.Union || len(candidates) == 0 || w.chance(8) {
		return append(w.alias(), append([]string{"__typename"}, w.maybeDirectives()...)...)
	}
	f := pick(w.dice, candidates)
	inner := w.schema.Types[f.Type.Name()]
	for tries := 0; isComposite(inner) && (depth == 0 || w.size > 12) && tries < 8; tries++ {
		f = pick(w.dice, candidates)
		inner = w.schema.Types[f.Type.Name()]
	}
	if on.Name == w.schema.Query.Name && w.chance(3) {
		return append(w.alias(), "__schema", "{", "queryType", "{", "name", "}", "}")
	}
	tokens := append(w.alias(), f.Name)
	tokens = append(tokens, w.arguments(f)...)
	tokens = append(tokens, w.maybeDirectives()...)
	if !isComposite(inner) {
		return tokens
	}
	if depth == 0 {
		return append(tokens, "{", "__typename", "}")
	}
	return append(tokens, w.selections(inner, depth-1)...)
}

func isComposite(def *ast.Definition) bool {
	return def.Kind == ast.Object || def.Kind == ast.Interface || def.Kind == ast.Union
}

func (w *documentWriter) alias() []string {
	switch roll := w.IntN(100); {
	case roll < 40:
		w.count++
		return []string{pick(w.dice, []string{"a", "query", "on", "null", "__a"}) + strconv.Itoa(w.count), ":"}
	case roll < 44:
		return []string{pick(w.dice, []string{"a", "b", "on", "null", "true", "query", "version", "launchRun", "setNuxSeen", "__typename"}), ":"}
	}
	return nil
}

func (w *documentWriter) arguments(f *ast.FieldDefinition) []string {
	var tokens []string
	for _, a := range f.Arguments {
		if a.Type.NonNull && a.DefaultValue == nil || w.chance(30) {
			tokens = append(append(tokens, a.Name, ":"), w.value(a.Type, 3)...)
		}
	}
	if len(tokens) == 0 {
		return nil
	}
	return append(append([]string{"("}, tokens...), ")")
}

func (w *documentWriter) maybeDirectives() []string {
	if !w.chance(8) {
		return nil
	}
	return w.directive()
}

func (w *documentWriter) directive() []string {
	name := pick(w.dice, []string{"skip", "include", "include", "skip", "skip", "nope", "deprecated"})
	boolean := ast.NonNullNamedType("Boolean", nil)
	return append(append([]string{"@", name, "(", "if", ":"}, w.value(boolean, 0)...), ")")
}

// value is a literal or a variable for the type.
func (w *documentWriter) value(t *ast.Type, depth int) []string {
	switch {
	case w.chance(20):
		return w.variable(t)
	case !t.NonNull && w.chance(6):
		return []string{"null"}
	case w.chance(2):
		return []string{w.oddToken()}
	case t.Elem != nil:
		return w.list(t, depth)
	}
	return w.named(w.schema.Types[t.NamedType], depth)
}

func (w *documentWriter) list(t *ast.Type, depth int) []string {
	if w.chance(20) {
		return w.value(t.Elem, depth-1)
	}
	tokens := []string{"["}
	for range w.IntN(3) {
		tokens = append(tokens, w.value(t.Elem, depth-1)...)
	}
	return append(tokens, "]")
}

func (w *documentWriter) named(def *ast.Definition, depth int) []string {
	if def.Kind == ast.Enum {
		return []string{pick(w.dice, def.EnumValues).Name}
	}
	if def.Kind == ast.InputObject {
		tokens := []string{"{"}
		for _, f := range def.Fields {
			if f.Type.NonNull && f.DefaultValue == nil || depth > 0 && w.chance(25) {
				tokens = append(append(tokens, f.Name, ":"), w.value(f.Type, depth-1)...)
			}
		}
		return append(tokens, "}")
	}
	switch def.Name {
	case "Int":
		return []string{w.number(false)}
	case "Float":
		return []string{w.number(true)}
	case "Boolean":
		return []string{pick(w.dice, []string{"true", "false"})}
	case "String":
		return []string{w.text()}
	case "ID":
		if w.chance(30) {
			return []string{w.number(false)}
		}
		return []string{w.text()}
	}
	return w.anything(depth)
}

// anything is for the scalars that take any value.
func (w *documentWriter) anything(depth int) []string {
	switch roll := w.IntN(7); {
	case depth > 0 && roll < 2:
		tokens := []string{"{"}
		for i := range w.IntN(3) {
			tokens = append(append(tokens, pick(w.dice, []string{"a", "on", "null", "true"})+strconv.Itoa(i), ":"), w.anything(depth-1)...)
		}
		return append(tokens, "}")
	case depth > 0 && roll == 2:
		return append(append([]string{"["}, w.anything(depth-1)...), "]")
	case roll == 3:
		return []string{w.number(true)}
	case roll == 4:
		return []string{pick(w.dice, []string{"true", "null", "E", "on"})}
	}
	return []string{w.text()}
}

func (w *documentWriter) number(float bool) string {
	if float && w.chance(60) {
		return pick(w.dice, []string{"0.0", "-0.0", "1.5", "1e3", "1E+3", "-1.0e-10", "0e0", "123456789012345678901234567890.5"})
	}
	if w.chance(6) {
		return pick(w.dice, []string{"00", "01", "-01", "+1", ".5", "1.", "1e", "0x1F", "1.e3", "-", "1a", "1_0", "0xF", "1.5.5", "- 1", "1e5e", "0b1"})
	}
	return pick(w.dice, []string{"0", "-0", "1", "-1", "7", "2147483647", "2147483648", "-2147483649", "9007199254740993", "123456789012345678901234567890"})
}

// variable declares a variable of the type, or uses one of it again.
func (w *documentWriter) variable(t *ast.Type) []string {
	w.count++
	name := pick(w.dice, []string{"v", "on", "query", "null", "_"}) + strconv.Itoa(w.count)
	if w.chance(5) {
		name = pick(w.dice, []string{"v", "on", "true", "null", "query"})
	}
	if w.chance(4) {
		return []string{"$", name} // not declared
	}
	declared := *t
	if w.chance(20) {
		declared.NonNull = !declared.NonNull
	}
	w.declared = append(w.declared, "$", name, ":")
	w.declared = append(w.declared, typeTokens(&declared)...)
	if w.chance(25) {
		w.declared = append(append(w.declared, "="), w.constant(&declared)...)
	}
	if w.chance(2) {
		w.declared = append(w.declared, "@", "d")
	}
	if !w.chance(20) {
		w.variables = append(w.variables, variable{name, w.json(&declared, 3)})
	}
	return []string{"$", name}
}

// constant is a value without variables, but for a few that have one in the wrong place.
func (w *documentWriter) constant(t *ast.Type) []string {
	inner := documentWriter{dice: w.dice, schema: w.schema, used: map[string]bool{}, count: 1000 * (w.count + 1)}
	tokens := inner.value(t, 2)
	for tries := 0; slices.Contains(tokens, "$") && tries < 5 && !w.chance(2); tries++ {
		tokens = inner.value(t, 2)
	}
	return tokens
}

func typeTokens(t *ast.Type) []string {
	var tokens []string
	if t.Elem != nil {
		tokens = append(append([]string{"["}, typeTokens(t.Elem)...), "]")
	} else {
		tokens = []string{t.NamedType}
	}
	if t.NonNull {
		tokens = append(tokens, "!")
	}
	return tokens
}

// json is a variable's value.
func (w *documentWriter) json(t *ast.Type, depth int) string {
	switch {
	case !t.NonNull && w.chance(8):
		return "null"
	case w.chance(2):
		return pick(w.dice, []string{"1", `"x"`, "{}", "[]", "true", "NaN", "1e400"})
	case t.Elem != nil:
		if w.chance(20) {
			return w.json(t.Elem, depth)
		}
		items := make([]string, w.IntN(3))
		for i := range items {
			items[i] = w.json(t.Elem, depth)
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	return w.jsonNamed(w.schema.Types[t.NamedType], depth)
}

func (w *documentWriter) jsonNamed(def *ast.Definition, depth int) string {
	if def.Kind == ast.Enum {
		return jsonString(pick(w.dice, def.EnumValues).Name)
	}
	if def.Kind == ast.InputObject {
		var members []string
		for _, f := range def.Fields {
			if f.Type.NonNull && f.DefaultValue == nil || depth > 0 && w.chance(25) {
				members = append(members, jsonKey(w.dice, f.Name)+":"+w.json(f.Type, depth-1))
			}
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	switch def.Name {
	case "Int":
		return pick(w.dice, []string{"0", "1", "-0", "1.0", "1e0", "2147483647", "2147483648", "10E-1"})
	case "Float":
		return pick(w.dice, []string{"0", "-0.0", "1.50", "1e3", "1E+2", "123456789012345678901234567890"})
	case "Boolean":
		return pick(w.dice, []string{"true", "false", "1", "0"})
	case "String":
		return jsonText(w.dice)
	case "ID":
		return pick(w.dice, []string{jsonText(w.dice), "1", "-7", "123456789012345678901234567890", "1.0"})
	}
	return pick(w.dice, []string{`{"a":1.50,"b":[null,true]}`, `"text"`, "123456789012345678901234567890", "1e400", `{"a":{"a":{"a":"\ud83d\ude00"}}}`, "1.10"})
}

// text is a string literal of either kind.
func (w *documentWriter) text() string {
	if w.chance(30) {
		return w.blockText()
	}
	var out strings.Builder
	out.WriteByte('"')
	for range w.IntN(4) {
		if w.chance(4) {
			out.WriteString(pick(w.dice, badStringPieces()))
			continue
		}
		out.WriteString(pick(w.dice, stringPieces()))
	}
	out.WriteByte('"')
	return out.String()
}

func stringPieces() []string {
	return []string{
		"", "a", " ", "#", "{", "}", "x(", ")", "...", "@", "$v", "mutation{m}", `\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0041`, `\u00e9`,
		`\uD83D\uDE00`, `\u{41}`, `\u{1F600}`, `\u{10FFFF}`, `\u{000041}`, `\u0000`, `\uFEFF`, `\uFFFF`, `\u2028`, "\t", "\u2028", "\u2029", "\u0085", "\u00a0",
		"\ufeff", "😀", "é", "\x7f", "\ufffd", "\uffff", "\u200b", "\\\\\\\"", "'", "`", "\\u005C", "\\u0022", "\\u000A", "\\u000a", "\U0010ffff",
	}
}

func badStringPieces() []string {
	return []string{
		`\uD800`, `\uDE00`, `\uD83D\u0041`, `\uD83D`, `\uD83Dx`, `\uD83D\uD83D\uDE00`, `\u{D800}`, `\u{110000}`, `\u{}`, `\u{1F600`, `\u{000000041}`, `\u{ 41}`,
		`\uD83D\u{DE00}`, `\u{D83D}\uDE00`, `\u{D83D}\u{DE00}`, `\x41`, `\'`, `\0`, `\`, `\u`, `\u00`, `\u00g0`, `\U0041`, "\n", "\r", "\x00", "\x01", "\v", "\x1f", `"`, `""`, `\u{+41}`, `\u+041`,
		"\\\n", "\xff", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", `\u004`, `\ud83d\uDE0`, `\u{4_1}`, `\u{٤}`, `\u٠٠٤١`, `\uFF10`,
	}
}

func (w *documentWriter) blockText() string {
	pieces := []string{
		"a", " ", "  ", "\t", "\n", "\r", "\r\n", "\n\r", "\n  ", "\n\t", "\n \t", `\"""`, `"`, `""`, `\`, `\\`, `\n`, `\u0041`, `\uD800`, `\u{`, "\u2028", "\u0085",
		"\u00a0", "\u3000", "#", "{", "}", "])}", "\ufeff", "😀", "\x7f", "b\n", "\n\n", `\"`, `\""`, "mutation{m}", "\n   c", "\ufffd",
	}
	var out strings.Builder
	out.WriteString(`"""`)
	for range w.IntN(7) {
		if w.chance(2) {
			out.WriteString(pick(w.dice, []string{`"""`, `""""`, "\x00", "\v", "\f", "\x1b", "\xff", `\""""`, `\\"""`, `\"""""`}))
			continue
		}
		out.WriteString(pick(w.dice, pieces))
	}
	if strings.HasSuffix(out.String(), `\`) && w.chance(95) {
		out.WriteByte(' ')
	}
	out.WriteString(`"""`)
	return out.String()
}

// oddToken is any token at all.
func (w *documentWriter) oddToken() string { return oddToken(w.dice) }

func oddToken(d dice) string {
	tokens := []string{
		"{", "}", "(", ")", "[", "]", ":", "=", "!", "@", "$", "|", "&", "...", "..", ".", "query", "mutation", "subscription", "fragment", "on", "null",
		"true", "type", "schema", "extend", "input", "directive", "setNuxSeen", "version", "__typename", "reloadWorkspace", "logTelemetry", "Query", "Mutation",
		"skip", "if", "a", "A", "0", "-1", "1.5", "1e9", `""`, `"a"`, `""""""`, `"""a"""`, `"`, `"""`, "#", "#c\n", "\\", "'", "?", "<", "%", "/", "\x00", "é", "\ufeff",
		"\"a", "{setNuxSeen}", "...on Mutation{setNuxSeen}", "mutation{setNuxSeen}", "fragment F on Mutation{setNuxSeen}", "$v:Int=1", "(a:1)", "@skip(if:true)", "@include(if:false)", "->", "--", "~", "\u00a0", "`", ";", "^",
	}
	return pick(d, tokens)
}

// joinTokens puts what GraphQL ignores between the tokens, and sometimes what it does not.
func joinTokens(d dice, tokens []string) string {
	var out strings.Builder
	plainly := d.chance(40)
	for i, token := range tokens {
		switch {
		case i == 0 && (plainly || d.chance(80)):
		case !plainly && (d.chance(1) || i > 0 && isNumber(tokens[i-1]) && d.chance(5)):
		case plainly || d.chance(60):
			out.WriteByte(' ')
		case i > 0 && (!wordy(tokens[i-1], len(tokens[i-1])-1) || !wordy(token, 0)) && d.chance(50):
		default:
			out.WriteString(separator(d))
		}
		out.WriteString(token)
	}
	if !plainly {
		out.WriteString(pick(d, []string{"", "\n", "#", "#c", ",", "\ufeff", "\r", "#\r", " \x00"}[:8+d.IntN(20)/19]))
	}
	return out.String()
}

func isNumber(token string) bool { return token != "" && token[0] >= '0' && token[0] <= '9' }

// wordy reports whether two tokens would become one, or change, if the byte at i of each came together.
func wordy(token string, i int) bool {
	return i >= 0 && i < len(token) && (token[i] == '"' || token[i] == '_' || token[i] == '.' || token[i] == '-' || token[i] >= '0' && token[i] <= '9' || token[i]|0x20 >= 'a' && token[i]|0x20 <= 'z')
}

func separator(d dice) string {
	if d.chance(1) {
		return pick(d, []string{"", "\u00a0", "\u2028", "\v", "\f", "\x00", "\u200b", "\u3000", "\x1f", "\u0085", ";", "#c\u2028", "/*c*/", "\xff", "\xef\xbb"})
	}
	return pick(d, []string{" ", "  ", ",", ", ", "\n", "\r", "\r\n", "\t", "\ufeff", " #c\n", "#\r", "#\"\n", "#\"\"\"\r\n", "#}\n", ",,,", "#\u2028x\n", "#\ufeff\n", "#\x7f\n", "\n\n", "#\xc2\x85\n", " ", " ", "\n"})
}

// mutateTokens changes a few tokens of a document.
func mutateTokens(d dice, tokens []string) []string {
	tokens = slices.Clone(tokens)
	for range 1 + d.IntN(3) {
		if len(tokens) == 0 {
			return tokens
		}
		i, j := d.IntN(len(tokens)), d.IntN(len(tokens))
		switch d.IntN(7) {
		case 0:
			tokens = slices.Delete(tokens, i, i+1)
		case 1:
			tokens = slices.Insert(tokens, i, tokens[j])
		case 2:
			tokens[i], tokens[j] = tokens[j], tokens[i]
		case 3:
			tokens[i] = oddToken(d)
		case 4:
			tokens = slices.Insert(tokens, i, oddToken(d))
		case 5:
			tokens[i] = tokens[j]
		case 6:
			from, to := min(i, j), max(i, j)
			tokens = slices.Insert(tokens, d.IntN(len(tokens)), slices.Clone(tokens[from:min(to, from+12)])...)
		}
	}
	return tokens
}

// mutateBytes changes a few bytes of any text.
func mutateBytes(d dice, text string) string {
	data := []byte(text)
	for range 1 + d.IntN(3) {
		i := d.IntN(len(data) + 1)
		switch d.IntN(5) {
		case 0:
			data = slices.Delete(data, min(i, max(0, len(data)-1)), min(i+1, len(data)))
		case 1:
			data = slices.Insert(data, i, []byte(oddToken(d))...)
		case 2:
			data = slices.Insert(data, i, []byte(pick(d, slices.Concat(stringPieces(), badStringPieces())))...)
		case 3:
			data = slices.Insert(data, i, byte(d.IntN(130)))
		case 4:
			if len(data) > 0 {
				j := min(d.IntN(len(data)), len(data)-1)
				data = slices.Insert(data, i, slices.Clone(data[j:min(len(data), j+1+d.IntN(20))])...)
			}
		}
	}
	return string(data)
}

// tokenize parts a text roughly: words and numbers, strings, and single characters.
func tokenize(text string) []string {
	var tokens []string
	for i := 0; i < len(text); {
		start := i
		switch c := text[i]; {
		case strings.IndexByte(" \n\r\t,", c) >= 0:
			i++
			continue
		case c == '"':
			i = min(len(text), i+stringEnd(text[i:]))
		case strings.HasPrefix(text[i:], "..."):
			i += 3
		case wordy(text, i):
			for i < len(text) && wordy(text, i) && text[i] != '"' {
				i++
			}
		default:
			i++
		}
		tokens = append(tokens, text[start:i])
	}
	return tokens
}

func stringEnd(text string) int {
	if strings.HasPrefix(text, `"""`) {
		if end := strings.Index(text[3:], `"""`); end >= 0 {
			return end + 6
		}
		return len(text)
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"', '\n':
			return i + 1
		}
	}
	return len(text)
}

func jsonString(text string) string { return fmt.Sprintf("%q", text) }
