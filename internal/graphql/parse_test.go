package graphql

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// rootNames are "key:name" of each root field, which is how graphql-core would see them.
func rootNames(op *Operation) []string {
	var names []string
	for _, f := range op.Fields {
		names = append(names, f.ResponseKey+":"+f.Name)
	}
	return names
}

func mustParse(t *testing.T, req Request) *Operation {
	t.Helper()
	op, err := Parse(req, DefaultLimits())
	if err != nil {
		t.Fatalf("Parse(%q): got error %v, want none", req.Query, err)
	}
	return op
}

func TestParse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		query, name string
		kind        ast.Operation
		roots       []string
		forwarded   string
	}{
		"shorthand":       {"{a}", "", ast.Query, []string{"a:a"}, "query{a}"},
		"named":           {"mutation M { x: m(k: 1) { __typename } }", "", ast.Mutation, []string{"x:m"}, "mutation M{x:m(k:1){__typename}}"},
		"named and asked": {"mutation M { m }", "M", ast.Mutation, []string{"m:m"}, "mutation M{m}"},
		"subscription":    {"subscription { s }", "", ast.Subscription, []string{"s:s"}, "subscription{s}"},
		"chosen of several": {
			"query A{...F} mutation B{m ...G} fragment F on Query{a} fragment G on Mutation{n}", "B",
			ast.Mutation,
			[]string{"m:m", "n:n"},
			"mutation B{m ...G}fragment G on Mutation{n}",
		},
		"fragments in place": {
			"mutation{...A ... on Mutation{c} ...A ...{d}} fragment A on Mutation{a ...B} fragment B on Mutation{b}", "",
			ast.Mutation,
			[]string{"a:a", "b:b", "c:c", "d:d"},
			"mutation{...A ...on Mutation{c} ...A ...{d}}fragment A on Mutation{a ...B}fragment B on Mutation{b}",
		},
		"skipped counts": {
			"mutation($s:Boolean!=true){a @skip(if:$s) b @include(if:false) ...@skip(if:true){c}}", "",
			ast.Mutation,
			[]string{"a:a", "b:b", "c:c"},
			"mutation($s:Boolean!=true){a@skip(if:$s) b@include(if:false) ...@skip(if:true){c}}",
		},
		"foreign type condition counts": {"{...on Mutation{m}}", "", ast.Query, []string{"m:m"}, "query{...on Mutation{m}}"},
		"merged":                        {"{a(x:1,y:2){b} a(x:1,y:2){c}}", "", ast.Query, []string{"a:a"}, "query{a(x:1,y:2){b} a(x:1,y:2){c}}"},
		"everything kept": {
			"query Q($a:[Int!]!=[1,2]@d(x:{y:\"z\"}),$b:E=X)@o{f(a:$a,b:[null,true,-1.5E+3,{}],c:EN)@p ...F@q}fragment F on Query@r{g}", "",
			ast.Query,
			[]string{"f:f", "g:g"},
			"query Q($a:[Int!]!=[1,2]@d(x:{y:\"z\"}),$b:E=X)@o{f(a:$a,b:[null,true,-1.5E+3,{}],c:EN)@p ...F@q}fragment F on Query@r{g}",
		},
		"comments and marks": {"\ufeff{a#}\rb#}\u2028c\nd,,,\ufeff e}", "", ast.Query, []string{"a:a", "b:b", "d:d", "e:e"}, "query{a b d e}"},
		"descriptions go":    {`"d" query A("""e""" $x:Int){a(x:$x)}`, "", ast.Query, []string{"a:a"}, "query A($x:Int){a(x:$x)}"},
		"numbers and names": {
			`query($v:Int){a1b2(x3:1,y:-2.5e+3,z4:[0-1E1"",2$v])}`, "", ast.Query,
			[]string{"a1b2:a1b2"},
			`query($v:Int){a1b2(x3:1,y:-2.5e+3,z4:[0,-1E1,"",2,$v])}`,
		},
		"keywords as names": {"query query{fragment:on mutation:query}", "", ast.Query, []string{"fragment:on", "mutation:query"}, "query query{fragment:on mutation:query}"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := mustParse(t, Request{Query: tt.query, OperationName: tt.name, Variables: json.RawMessage(`{"v":1}`)})
			if op.Type != tt.kind {
				t.Errorf("got type %s, want %s", op.Type, tt.kind)
			}
			if diff := cmp.Diff(tt.roots, rootNames(op)); diff != "" {
				t.Errorf("root fields differ (-want +got):\n%s", diff)
			}
			want := Request{tt.forwarded, tt.name, json.RawMessage(`{"v":1}`)}
			if diff := cmp.Diff(want, op.Request); diff != "" {
				t.Errorf("forwarded request differs (-want +got):\n%s", diff)
			}
			if again := mustParse(t, op.Request); again.Request.Query != op.Request.Query {
				t.Errorf("printed again: got %s, want %s", again.Request.Query, op.Request.Query)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]Request{
		"nothing":                       {Query: ""},
		"a comment only":                {Query: "# {a}"},
		"fragments only":                {Query: "fragment F on Query{a}"},
		"several without a name":        {Query: "query A{a} query B{b}"},
		"unknown name":                  {Query: "query A{a}", OperationName: "B"},
		"name for an anonymous one":     {Query: "{a}", OperationName: "A"},
		"name in another case":          {Query: "query A{a} mutation B{b}", OperationName: "b"},
		"anonymous beside a named one":  {Query: "{a} mutation B{b}", OperationName: "B"},
		"two anonymous":                 {Query: "{a} {b}"},
		"two of one name":               {Query: "query A{a} mutation A{b}", OperationName: "A"},
		"two fragments of one name":     {Query: "{...F} fragment F on Query{a} fragment F on Query{b}"},
		"unknown fragment":              {Query: "{...F}"},
		"unknown fragment deep down":    {Query: "{a{b{...F}}}"},
		"fragment that spreads itself":  {Query: "{...F} fragment F on Query{a ...F}"},
		"fragments in a circle":         {Query: "{...F} fragment F on Query{a{...G}} fragment G on Query{...F}"},
		"fragment with variables":       {Query: "{...F} fragment F($x:Int=1) on Query{a}"},
		"fragment named on":             {Query: "{...on} fragment on on Query{a}"},
		"type definition":               {Query: "{a} type T{a:Int}"},
		"schema extension":              {Query: "{a} extend schema{query:Q}"},
		"two variables of one name":     {Query: "query($x:Int=1,$x:Int=2){a(x:$x)}"},
		"argument twice":                {Query: "{a(x:1,x:2)}"},
		"argument twice deep down":      {Query: "{a{b(x:1,x:2)}}"},
		"input field twice":             {Query: "{a(x:{y:1,y:2})}"},
		"one key for two fields":        {Query: "mutation{x:a x:b}"},
		"one key with other arguments":  {Query: "mutation{a(x:1) ...F} fragment F on Mutation{a(x:2)}"},
		"unclosed":                      {Query: "{a"},
		"unopened":                      {Query: "}{a}"},
		"unclosed string":               {Query: `{a(x:"`},
		"unclosed block string":         {Query: `{a(x:"""b"")}`},
		"string over two lines":         {Query: "{a(x:\"\n\")}"},
		"lone surrogate":                {Query: `{a(x:"\uD800")}`},
		"surrogates the wrong way":      {Query: `{a(x:"\uDE00\uD83D")}`},
		"surrogate in braces":           {Query: `{a(x:"\u{D800}")}`},
		"unknown escape":                {Query: `{a(x:"\x41")}`},
		"broken UTF-8":                  {Query: "{a}#\xff"},
		"control character":             {Query: "{a\x00}"},
		"letters beyond ASCII":          {Query: "{ä}"},
		"variable in a default":         {Query: "query($x:Int,$y:Int=$x){a}"},
		"empty selection":               {Query: "{}"},
		"number and name in one":        {Query: "{a(x:1y:2)}"},
		"fraction and name in one":      {Query: "{a(x:-1.5y:2)}"},
		"exponent and name in one":      {Query: "{a(x:1e+3else:2)}"},
		"hexadecimal":                   {Query: "{a(x:[0x1F])}"},
		"variable without a value type": {Query: "query($x){a}"},
	}
	for name, req := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(req, DefaultLimits())
			wantStatus(t, err, 400)
		})
	}
}

// TestFourQuotes is about a document that is two queries for gqlparser, which ends a block string at the last three
// quotes of a run, and a query and a mutation for graphql-core, which takes the first three. It must be read as Dagster
// reads it, and what is forwarded must hold nothing but what was judged.
func TestFourQuotes(t *testing.T) {
	t.Parallel()
	const document = `query A{a(x:["""s""""])} query B{b(y:["])} mutation B{m} #"])}`
	raw, err := parser.ParseQuery(&ast.Source{Input: document})
	if err != nil || raw.Operations.ForName("B").Operation != ast.Query {
		t.Fatalf("gqlparser reads it otherwise by now (error %v): this test proves nothing any more", err)
	}
	op := mustParse(t, Request{Query: document, OperationName: "B"})
	if op.Type != ast.Mutation || op.Request.Query != "mutation B{m}" {
		t.Errorf("got %s %s, want the mutation alone", op.Type, op.Request.Query)
	}
	op = mustParse(t, Request{Query: document, OperationName: "A"})
	if want := `query A{a(x:["s","])} query B{b(y:["])}`; op.Request.Query != want {
		t.Errorf("got %s, want %s", op.Request.Query, want)
	}
}

// TestStrings gives the value that graphql-core 3.2.6 and 3.2.14 read for each literal, and the form it is printed in.
func TestStrings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ literal, want string }{
		"plain":               {`"a b"`, `"a b"`},
		"escapes":             {`"\"\\\/\b\f\n\r\t"`, `"\"\\/\b\f\n\r\t"`},
		"unicode escape":      {`"\u0041\u00e9\u2028"`, "\"Aé\u2028\""},
		"surrogate pair":      {`"\uD83D\uDE00"`, `"😀"`},
		"braces":              {`"\u{1F600}"`, `"😀"`},
		"not a surrogate":     {`"\\uD800"`, `"\\uD800"`},
		"control":             {`"\u0000\u001f\u007f"`, `"\u0000\u001F\u007F"`},
		"tab as it is":        {"\"\t\"", `"\t"`},
		"beyond the BMP":      {`"😀"`, `"😀"`},
		"brackets and hash":   {`"}#{"`, `"}#{"`},
		"empty":               {`""`, `""`},
		"block":               {`"""a"""`, `"a"`},
		"empty block":         {`""""""`, `""`},
		"block with escape":   {`"""a\"""b\n"""`, `"a\"\"\"b\\n"`},
		"block with quotes":   {`"""a "" b"""`, `"a \"\" b"`},
		"four quotes open":    {`""""a"""`, `"\"a"`},
		"block is dedented":   {"\"\"\"\n    a\n      b\n\n    c\n  \"\"\"", `"a\n  b\n\nc"`},
		"first line stays":    {"\"\"\"  a\n    b\"\"\"", `"  a\nb"`},
		"block line ends":     {"\"\"\"a\r\nb\rc\"\"\"", `"a\nb\nc"`},
		"block of blanks":     {"\"\"\" \n\t\n \"\"\"", `""`},
		"control in block":    {"\"\"\"\x01\"\"\"", `"\u0001"`},
		"surrogates in block": {`"""\uD800"""`, `"\\uD800"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := mustParse(t, Request{Query: "{a(x:" + tt.literal + " y:1)}"})
			if got, want := op.Request.Query, "query{a(x:"+tt.want+",y:1)}"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestParseLimits(t *testing.T) {
	t.Parallel()
	fits := func(l Limits, query string) error {
		_, err := Parse(Request{Query: query}, l)
		return err
	}
	chain := func(n int) string { // n levels of fields, one in each fragment
		text := "{a{...F1}}"
		for i := 1; i < n; i++ {
			text += fmt.Sprintf("fragment F%d on T{a", i)
			if i < n-1 {
				text += fmt.Sprintf("{...F%d}", i+1)
			}
			text += "}"
		}
		return text
	}
	tests := map[string]struct {
		limits      Limits
		at, beyond  string
		wantedError int
	}{
		"document":   {Limits{Document: 5, Tokens: 100, Depth: 10, RootFields: 10}, "{a b}", "{a bc}", 413},
		"tokens":     {Limits{Document: 100, Tokens: 4, Depth: 10, RootFields: 10}, "{a b}#c", "{a b c}", 400},
		"selections": {Limits{Document: 100, Tokens: 100, Depth: 3, RootFields: 10}, "{a{b{c}}}", "{a{b{c{d}}}}", 400},
		"values":     {Limits{Document: 100, Tokens: 100, Depth: 3, RootFields: 10}, "{a(x:[1])}", "{a(x:[[1]])}", 400},
		"types":      {Limits{Document: 100, Tokens: 100, Depth: 3, RootFields: 10}, "query($x:[[I]]){a}", "query($x:[[[I]]]){a}", 400},
		"fragments":  {Limits{Document: 10000, Tokens: 1000, Depth: 10, RootFields: 10}, chain(10), chain(11), 400},
		"roots":      {Limits{Document: 1000, Tokens: 100, Depth: 10, RootFields: 3}, "{a ...{b} c}", "{a ...{b} c d}", 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := fits(tt.limits, tt.at); err != nil {
				t.Errorf("at the limit: got error %v, want none", err)
			}
			wantStatus(t, fits(tt.limits, tt.beyond), tt.wantedError)
		})
	}
}

// TestHugeNesting would end the whole test program if any recursion saw the nesting: Go can't recover a full stack.
func TestHugeNesting(t *testing.T) {
	t.Parallel()
	const n = 500_000
	for _, text := range []string{
		strings.Repeat("{a", n), "{a(x:" + strings.Repeat("[", n), "query($x:" + strings.Repeat("[", n),
		"{a(x:" + strings.Repeat("{b:", n/3), strings.Repeat("...{", n/4), "{" + strings.Repeat("...on T{", n/8),
	} {
		_, err := Parse(Request{Query: text[:min(len(text), 1<<20)]}, DefaultLimits())
		wantStatus(t, err, 400)
	}
}

// TestFragmentsDoNotMultiply is about fragments that each spread the next one twice: 2^60 fields for a naive walk.
func TestFragmentsDoNotMultiply(t *testing.T) {
	t.Parallel()
	text := "{...F0 ...F0}"
	for i := range 60 {
		text += fmt.Sprintf("fragment F%d on Query{...F%d ...F%d}", i, i+1, i+1)
	}
	op := mustParse(t, Request{Query: text + "fragment F60 on Query{a}"})
	if diff := cmp.Diff([]string{"a:a"}, rootNames(op)); diff != "" {
		t.Errorf("root fields differ (-want +got):\n%s", diff)
	}
}

func TestParseErrorNamesTheLine(t *testing.T) {
	t.Parallel()
	_, err := Parse(Request{Query: "{a(x:\"\"\"\r\n1\r2\n\"\"\")#\n!}"}, DefaultLimits())
	if err == nil || !strings.Contains(err.Error(), "document:5") {
		t.Errorf("got error %v, want one about line 5", err)
	}
	_, err = Parse(Request{Query: "{a} " + strings.Repeat("x", 1<<19)}, DefaultLimits())
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("got a message of %d bytes, want a short one", len(fmt.Sprint(err)))
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	op := mustParse(t, Request{
		Query: `mutation($given:In!,$default:[Int]=[1,2.50],$null:Int=1,$unset:Int){
			m(a:$given,b:$default,c:$null,d:$unset,e:[$unset,"s"],f:{k:$unset,l:E},g:$undeclared,h:true,i:null,j:12345678901234567890)
		}`,
		Variables: json.RawMessage(`{"given":{"x":1.10,"y":["z"]},"null":null,"undeclared":1}`),
	})
	got, err := op.Arguments(op.Fields[0])
	want := map[string]any{
		"a": map[string]any{"x": json.Number("1.10"), "y": []any{"z"}},
		"b": []any{json.Number("1"), json.Number("2.50")},
		"c": nil,
		"e": []any{nil, "s"},
		"f": map[string]any{"l": "E"},
		"h": true,
		"i": nil,
		"j": json.Number("12345678901234567890"),
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got error %v (-want +got):\n%s", err, diff)
	}
}

func TestArgumentsOfBrokenVariables(t *testing.T) {
	t.Parallel()
	op := mustParse(t, Request{Query: "{a}", Variables: json.RawMessage(`[]`)})
	if _, err := op.Arguments(op.Fields[0]); err == nil {
		t.Error("got no error for variables that are a list, want one")
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   any
		want []any
	}{{nil, nil}, {"a", []any{"a"}}, {[]any{"a", "b"}, []any{"a", "b"}}} {
		if diff := cmp.Diff(tt.want, List(tt.in)); diff != "" {
			t.Errorf("List(%v) (-want +got):\n%s", tt.in, diff)
		}
	}
}
