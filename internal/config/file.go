package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"dagster-authkit/internal/identity"
)

// The limits of a config file. The parser takes quadratic time for what is nested in one line or in brackets: 65,536
// brackets cost it a minute and 6 GB, the 1,000 that may be here some milliseconds.
const (
	largestFile  = 64 << 10
	longestLine  = 8 << 10
	mostBrackets = 1000
)

// entry is what the file says of one setting.
type entry struct {
	line int
	text string
}

// file is a config file that was read. Its problems are of the file itself; whether a value is good is for the setting to say.
type file struct {
	path      string
	entries   map[string]entry // by Setting.Key, or the same with _file for secrets
	roles     map[identity.Role][]identity.Permission
	roleLines map[identity.Role]int
	// groups are the rules for groups, in their order, and groupLines where each stands.
	groups     []identity.GroupRule
	groupLines []int
	// providers are those of OpenID Connect, and providerLines where each stands. secretInProvider says that one has its
	// secret here, and hasProviders that there is a list, however wrong.
	providers                      []OIDCProvider
	providerLines                  []int
	secretInProvider, hasProviders bool
	problems                       []error
}

// openFile reads the file of that path. An error is one that leaves nothing to go on with.
func openFile(path string) (*file, error) {
	if path == "" {
		return nil, errors.New("it names no file: write the path of a config file, or leave it out")
	}
	data, mode, err := readLimited(path)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, entries: map[string]entry{}}
	if err := f.parse(data); err != nil {
		return nil, err
	}
	if open := mode.Perm()&0o007 != 0; open && mode.IsRegular() && f.holdsSecret() {
		f.problems = append(f.problems, fmt.Errorf("%s holds a secret and everybody on this machine may read it: chmod 600 %s", path, path))
	}
	return f, nil
}

func readLimited(path string) ([]byte, os.FileMode, error) {
	opened, err := os.Open(path) //nolint:gosec // The path is the operator's own.
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = opened.Close() }()
	info, err := opened.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(opened, largestFile+1))
	if err != nil {
		return nil, 0, err
	}
	if len(data) > largestFile {
		return nil, 0, fmt.Errorf("%s is too large for a config file: write at most %d KiB", path, largestFile>>10)
	}
	return data, info.Mode(), nil
}

// parse takes the document apart. The parser's own messages are never shown with the text around them, which may be a secret.
func (f *file) parse(data []byte) error {
	if err := f.checkText(data); err != nil {
		return err
	}
	document, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	var syntax yaml.Error
	switch {
	case errors.As(err, &syntax) && syntax.GetToken() != nil:
		return f.at(syntax.GetToken().Position.Line, "this is no YAML: %s", syntax.GetMessage())
	case err != nil:
		return fmt.Errorf("%s: this is no YAML", f.path)
	}
	var bodies []ast.Node
	for _, doc := range document.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch {
	case len(bodies) == 0:
		return nil
	case len(bodies) > 1:
		return f.at(line(bodies[1]), "a second YAML document begins here: write one, without --- and %%")
	}
	root, ok := bodies[0].(*ast.MappingNode)
	if !ok {
		return f.at(line(bodies[0]), "write settings, one a line, such as backend: local")
	}
	for key, value := range f.each(root) {
		f.take(key, value)
	}
	f.checkPairs()
	return nil
}

// checkText bounds what the parser gets to see.
func (f *file) checkText(data []byte) error {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return fmt.Errorf("%s is no UTF-8 text", f.path)
	}
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > mostBrackets {
		return fmt.Errorf("%s has too many brackets: write at most %d", f.path, mostBrackets)
	}
	for i, text := range bytes.Split(data, []byte("\n")) {
		if len(text) > longestLine {
			return f.at(i+1, "the line is too long: write at most %d bytes", longestLine)
		}
	}
	return nil
}

// take notes one setting, or what is wrong with it.
func (f *file) take(key string, value ast.Node) {
	switch key {
	case rolesKey:
		f.takeRoles(value)
		return
	case groupsKey:
		f.takeGroups(value)
		return
	case providersKey:
		f.takeProviders(value)
		return
	}
	setting, known := settingOf(key)
	if !known {
		f.fail(value, "%s is not a setting%s", shown(key), suggestion(plainKey(key), fileKeys()))
		return
	}
	if list, ok := value.(*ast.SequenceNode); ok && setting.List {
		words := make([]string, 0, len(list.Values))
		for _, element := range list.Values {
			text, _ := f.scalar(key, element)
			words = append(words, text)
		}
		f.entries[key] = entry{line(value), strings.Join(words, ",")}
		return
	}
	if text, ok := f.scalar(key, value); ok {
		f.entries[key] = entry{line(value), text}
	}
}

// each gives a mapping's keys and values, each key once. The rest are problems.
func (f *file) each(mapping *ast.MappingNode) func(yield func(string, ast.Node) bool) {
	return func(yield func(string, ast.Node) bool) {
		first := map[string]int{}
		for _, pair := range mapping.Values {
			key := pair.Key.GetToken().Value
			at := pair.Key.GetToken().Position.Line
			if _, plain := pair.Key.(*ast.StringNode); !plain {
				f.problems = append(f.problems, f.at(at, "%s is no name of a setting: write a word", shown(key)))
				continue
			}
			if before, twice := first[key]; twice {
				f.problems = append(f.problems, f.at(at, "%s is there already, in line %d: leave one of them out", shown(key), before))
				continue
			}
			first[key] = at
			if !yield(key, pair.Value) {
				return
			}
		}
	}
}

// scalar is the text of one value, as it stands in the file: 0600 stays 0600. What is not one value is a problem.
func (f *file) scalar(key string, node ast.Node) (string, bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(node.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	case *ast.NullNode:
		f.fail(node, "%s has no value: write one, or leave the line out", key)
	case *ast.SequenceNode:
		f.fail(node, "%s is a list: write one value", key)
	case *ast.MappingNode:
		f.fail(node, "%s has settings of its own: write one value", key)
	default:
		f.fail(node, "%s: anchors, aliases and tags of YAML are not for config files: write the value itself", key)
	}
	return "", false
}

// checkPairs looks for settings that are there under two names.
func (f *file) checkPairs() {
	for _, s := range Settings() {
		var given []string
		for _, key := range s.keys() {
			if _, ok := f.entries[key]; ok {
				given = append(given, key)
			}
		}
		if len(given) > 1 {
			f.problems = append(f.problems, f.at(f.entries[given[1]].line, "%s and %s are one setting: leave one of them out", given[0], given[1]))
		}
	}
}

func (f *file) holdsSecret() bool {
	return f.secretInProvider || slices.ContainsFunc(Settings(), func(s Setting) bool {
		return slices.ContainsFunc(s.keys(), func(key string) bool {
			e, given := f.entries[key]
			return given && !strings.HasSuffix(key, fileSuffix) && s.isSecret(e.text)
		})
	})
}

// find gives the setting's text and line; the line is 0 when the file does not have it. A secret may be in a file of its own.
func (f *file) find(s Setting) (text string, at int, err error) {
	if f == nil {
		return "", 0, nil
	}
	for _, key := range s.keys() {
		e, ok := f.entries[key]
		if !ok {
			continue
		}
		if strings.HasSuffix(key, fileSuffix) {
			if e.text, err = readSecretFile(e.text); err != nil {
				return "", e.line, f.at(e.line, "%s: %w", key, err)
			}
		}
		return e.text, e.line, nil
	}
	return "", 0, nil
}

func (f *file) fail(node ast.Node, format string, args ...any) {
	f.problems = append(f.problems, f.at(line(node), format, args...))
}

func (f *file) at(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: "+format, append([]any{f.path, line}, args...)...)
}

func line(node ast.Node) int { return node.GetToken().Position.Line }

// shown keeps a key that is no word out of the terminal.
func shown(key string) string {
	if quoted := fmt.Sprintf("%.80q", key); quoted != `"`+key+`"` || key == "" {
		return quoted
	}
	return key
}
