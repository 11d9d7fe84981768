package graphql

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// smallSchema has each kind of position that Dagster has, and some that it has not.
const smallSchema = `
type Query {
  version: String!
  permissions: [Permission!]!
  canBulkTerminate: Boolean!
  runOrError(id: ID): RunOrError!
  runs: [Run!]!
  feed: [FeedEntry!]!
  either: Either
  config: JSON
  repositories: [Repository!]
}
type Mutation { launch: Run }
type Subscription { changes: Run }
scalar JSON
type Permission { permission: String! value: Boolean! disabledReason: String }
union RunOrError = Run | NotFound | PythonError
union Either = Job | Pipeline | NotFound
interface Error { message: String! }
type NotFound implements Error { message: String! found: Boolean! }
type PythonError implements Error { message: String! stack: [String!]! }
interface FeedEntry { id: ID! mayCancel: Boolean! }
interface Runnable { id: ID! hasTerminatePermission: Boolean! repositoryOrigin: Origin }
type Run implements FeedEntry & Runnable {
  id: ID! mayCancel: Boolean! hasTerminatePermission: Boolean! hasDeletePermission: Boolean!
  repositoryOrigin: Origin config: JSON parent: Run children: [[Run]] tags(first: Int): [String!]
}
type Backfill implements FeedEntry { id: ID! mayCancel: Boolean! hasCancelPermission: Boolean! }
type Origin { locationName: String! }
type Location { name: String! permissions: [Permission!]! }
type Repository { name: String! location: Location! assetManifest: JSON jobs: [Job!]! }
type Job { name: String! hasLaunchPermission: Boolean! repository: Repository! config: JSON }
type Pipeline { name: String! hasLaunchPermission: Boolean! repository: Repository! }
`

// loadSchema reads the schema definition language, in which Dagster's own schema never comes.
func loadSchema(tb testing.TB, text string) *Schema {
	tb.Helper()
	document, err := parser.ParseSchema(&ast.Source{Input: text + "scalar String scalar Boolean scalar ID scalar Int"})
	if err != nil {
		tb.Fatal(err)
	}
	raw := &ast.Schema{Types: map[string]*ast.Definition{}, PossibleTypes: map[string][]*ast.Definition{}}
	for _, def := range document.Definitions {
		raw.Types[def.Name] = def
	}
	for _, def := range document.Definitions {
		for _, name := range def.Types {
			raw.AddPossibleType(def.Name, raw.Types[name])
		}
		for _, name := range def.Interfaces {
			raw.AddPossibleType(name, def)
		}
	}
	raw.Query, raw.Mutation, raw.Subscription = raw.Types["Query"], raw.Types["Mutation"], raw.Types["Subscription"]
	return &Schema{raw: raw}
}

// smallRules are those of a person with a grant (placed) or with one role everywhere.
func smallRules(placed bool) func(parent, field string) *Rule {
	place := func(p string) string {
		if placed {
			return p
		}
		return ""
	}
	origin, repository := place("repositoryOrigin { locationName } nothingLikeThis"), place("repository{location{name}}")
	rules := map[string]*Rule{
		"Query.permissions":          {},
		"Query.canBulkTerminate":     {Permission: "terminate"},
		"Run.hasTerminatePermission": {Permission: "terminate", Place: origin},
		"Run.hasDeletePermission":    {Permission: "delete", Place: origin},
		"Backfill.hasCancelPermission": {
			Permission: "cancel", Place: place("gone"),
		},
		"Location.permissions":         {Place: place("name")},
		"Job.hasLaunchPermission":      {Permission: "launch", Place: repository},
		"Pipeline.hasLaunchPermission": {Permission: "launch", Place: repository},
		"Repository.assetManifest": {
			Flags: map[string]string{"hasWipePermission": "wipe", "hasMaterializePermission": "launch"}, Place: place("location{name}"),
		},
	}
	return func(parent, field string) *Rule { return rules[parent+"."+field] }
}

// smallJudge knows a person who may launch everywhere and all in the location "mine".
func smallJudge(permission string, place json.RawMessage) (bool, string) {
	return permission == "launch" || bytes.Contains(place, []byte(`"mine"`)), "Requires the Editor role"
}

func newRewriting(tb testing.TB, s *Schema, document string, rules func(parent, field string) *Rule) *Rewriting {
	tb.Helper()
	r, err := NewRewriting(mustParseDocument(tb, document), s, rules)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func mustParseDocument(tb testing.TB, document string) *Operation {
	tb.Helper()
	op, err := Parse(Request{Query: document}, DefaultLimits())
	if err != nil {
		tb.Fatal(err)
	}
	return op
}

// rewritten is the answer after the writer got it in parts of the given length.
func rewritten(r *Rewriting, judge Judge, answer string, part int) (string, error) {
	var out strings.Builder
	w := r.Writer(&out, judge)
	for len(answer) > part {
		if _, err := io.WriteString(w, answer[:part]); err != nil {
			return out.String(), err
		}
		answer = answer[part:]
	}
	if _, err := io.WriteString(w, answer); err != nil {
		return out.String(), err
	}
	return out.String(), w.Close()
}

func TestRewriting(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		document, request, answer, want string
		everywhere                      bool // the person has one role everywhere
	}{
		"boolean": {
			document: "{canBulkTerminate}", request: "query{canBulkTerminate}",
			answer: `{"data":{"canBulkTerminate":true}}`,
			want:   `{"data":{"canBulkTerminate":false}}`,
		},
		"what Dagster denies stays denied, and space stays": {
			document: "{a:canBulkTerminate version}", request: "query{a:canBulkTerminate version}",
			answer: " {\n\"data\" : {\"a\" : false , \"version\":\"1\\u0041\"} }\n",
			want:   " {\n\"data\" : {\"a\" : false , \"version\":\"1\\u0041\"} }\n",
		},
		"the place is asked for and taken out": {
			document: "{runs{id hasTerminatePermission}}",
			request:  "query{runs{authkit_Run_repositoryOrigin:repositoryOrigin{locationName} id hasTerminatePermission}}",
			answer: `{"data":{"runs":[{"authkit_Run_repositoryOrigin":{"locationName":"mine"},"id":"1","hasTerminatePermission":true},` +
				`{"authkit_Run_repositoryOrigin":{"locationName":"theirs"},"id":"2","hasTerminatePermission":true},` +
				`{"authkit_Run_repositoryOrigin":null,"id":"3","hasTerminatePermission":true}]}}`,
			want: `{"data":{"runs":[{"id":"1","hasTerminatePermission":true},{"id":"2","hasTerminatePermission":false},` +
				`{"id":"3","hasTerminatePermission":false}]}}`,
		},
		"nothing is asked for": {
			document: "{runs{id hasTerminatePermission}}", request: "query{runs{id hasTerminatePermission}}", everywhere: true,
			answer: `{"data":{"runs":[{"id":"1","hasTerminatePermission":true}]}}`,
			want:   `{"data":{"runs":[{"id":"1","hasTerminatePermission":false}]}}`,
		},
		"each selection set asks for the place": {
			document: "{runs{...F id} runs{x:hasDeletePermission}} fragment F on Run{parent{...F2}} fragment F2 on Run{hasTerminatePermission ...{hasDeletePermission}}",
			request: "query{runs{...F id} runs{authkit_Run_repositoryOrigin:repositoryOrigin{locationName} x:hasDeletePermission}}" +
				"fragment F on Run{parent{...F2}}fragment F2 on Run{authkit_Run_repositoryOrigin:repositoryOrigin{locationName} " +
				"hasTerminatePermission ...{authkit_Run_repositoryOrigin:repositoryOrigin{locationName} hasDeletePermission}}",
			answer: `{"data":{"runs":[{"parent":{"authkit_Run_repositoryOrigin":{"locationName":"mine"},"hasTerminatePermission":true,` +
				`"hasDeletePermission":true},"id":"1","authkit_Run_repositoryOrigin":null,"x":true}]}}`,
			want: `{"data":{"runs":[{"parent":{"hasTerminatePermission":true,"hasDeletePermission":true},"id":"1","x":false}]}}`,
		},
		"union": {
			document: "{either{__typename ...on Job{hasLaunchPermission} ...on Pipeline{hasLaunchPermission} ...on NotFound{message}}}",
			request: "query{either{__typename ...on Job{authkit_Job_repository:repository{location{name}} hasLaunchPermission} " +
				"...on Pipeline{authkit_Pipeline_repository:repository{location{name}} hasLaunchPermission} ...on NotFound{message}}}",
			answer: `{"data":{"either":{"__typename":"Job","authkit_Job_repository":{"location":{"name":"theirs"}},"hasLaunchPermission":true}}}`,
			want:   `{"data":{"either":{"__typename":"Job","hasLaunchPermission":true}}}`,
		},
		"a place that the schema does not have": {
			document: "{feed{id ...on Backfill{hasCancelPermission}}}", request: "query{feed{id ...on Backfill{hasCancelPermission}}}",
			answer: `{"data":{"feed":[{"id":"1"},{"id":"2","hasCancelPermission":true},null]}}`,
			want:   `{"data":{"feed":[{"id":"1"},{"id":"2","hasCancelPermission":false},null]}}`,
		},
		"an interface of one type": {
			document: "{runs{...on Runnable{x:hasTerminatePermission}}}",
			request:  "query{runs{...on Runnable{authkit_Runnable_repositoryOrigin:repositoryOrigin{locationName} x:hasTerminatePermission}}}",
			answer:   `{"data":{"runs":[{"authkit_Runnable_repositoryOrigin":{"locationName":"theirs"},"x":true}]}}`,
			want:     `{"data":{"runs":[{"x":false}]}}`,
		},
		"lists in lists": {
			document: "{runs{children{hasDeletePermission}}}", everywhere: true, request: "query{runs{children{hasDeletePermission}}}",
			answer: `{"data":{"runs":[{"children":[[{"hasDeletePermission":true},null],null,[]]},{"children":null}]}}`,
			want:   `{"data":{"runs":[{"children":[[{"hasDeletePermission":false},null],null,[]]},{"children":null}]}}`,
		},
		"permissions": {
			document: "{all:permissions{disabledReason p:permission value}}", request: "query{all:permissions{disabledReason p:permission value}}",
			answer: `{"data":{"all":[{"disabledReason":null,"p":"launch","value":true},{"disabledReason":null,"p":"wipe","value":true},` +
				`{"disabledReason":"Disabled by your administrator","p":"edit","value":false}]}}`,
			want: `{"data":{"all":[{"disabledReason":null,"p":"launch","value":true},{"disabledReason":"Requires the Editor role","p":"wipe","value":false},` +
				`{"disabledReason":"Disabled by your administrator","p":"edit","value":false}]}}`,
		},
		"permissions without a name": {
			document: "{permissions{v:value ...on Permission{r:disabledReason}}}",
			request:  "query{permissions{authkit_permission:permission v:value ...on Permission{r:disabledReason}}}",
			answer:   `{"data":{"permissions":[{"authkit_permission":"launch","v":true,"r":null},{"authkit_permission":"wipe","v":true,"r":null}]}}`,
			want:     `{"data":{"permissions":[{"v":true,"r":null},{"v":false,"r":"Requires the Editor role"}]}}`,
		},
		"a name that may not come": {
			document: "query($x:Boolean=false){permissions{permission@include(if:$x) value}}",
			request:  "query($x:Boolean=false){permissions{authkit_permission:permission permission@include(if:$x) value}}",
			answer:   `{"data":{"permissions":[{"authkit_permission":"wipe","value":true}]}}`,
			want:     `{"data":{"permissions":[{"value":false}]}}`,
		},
		"names in fragments": {
			document: "{permissions{...F} a:permissions{...F@skip(if:true) ...on Permission{p:permission}}} fragment F on Permission{...G value} fragment G on Permission{permission}",
			request:  "query{permissions{...F} a:permissions{...F@skip(if:true) ...on Permission{p:permission}}}fragment F on Permission{...G value}fragment G on Permission{permission}",
			answer:   `{"data":{"permissions":[{"permission":"wipe","value":true}],"a":[{"p":"wipe"}]}}`,
			want:     `{"data":{"permissions":[{"permission":"wipe","value":false}],"a":[{"p":"wipe"}]}}`,
		},
		"permissions of a place": {
			document: "{repositories{location{permissions{permission value}}}}",
			request:  "query{repositories{location{authkit_Location_name:name permissions{permission value}}}}",
			answer: `{"data":{"repositories":[{"location":{"authkit_Location_name":"mine","permissions":[{"permission":"wipe","value":true}]}},` +
				`{"location":{"authkit_Location_name":"theirs","permissions":[{"permission":"wipe","value":true}]}}]}}`,
			want: `{"data":{"repositories":[{"location":{"permissions":[{"permission":"wipe","value":true}]}},` +
				`{"location":{"permissions":[{"permission":"wipe","value":false}]}}]}}`,
		},
		"flags in raw JSON, and nowhere else": {
			document: "{config repositories{assetManifest}}",
			request:  "query{config repositories{authkit_Repository_location:location{name} assetManifest}}",
			answer: `{"data":{"config":{"hasWipePermission":true},"repositories":[{"authkit_Repository_location":{"name":"theirs"},"assetManifest":` +
				`[{"id":1.50,"hasWipePermission":true,"hasMaterializePermission":true,"in":{"h\u0061sWipePermission":true}},{"hasWipePermission":"true"}]},` +
				`{"authkit_Repository_location":{"name":"mine"},"assetManifest":{"hasWipePermission":true}}]}}`,
			want: `{"data":{"config":{"hasWipePermission":true},"repositories":[{"assetManifest":` +
				`[{"id":1.50,"hasWipePermission":false,"hasMaterializePermission":true,"in":{"h\u0061sWipePermission":false}},{"hasWipePermission":"true"}]},` +
				`{"assetManifest":{"hasWipePermission":true}}]}}`,
		},
		"keys by position": {
			document: "{canBulkTerminate:version version:canBulkTerminate config}",
			request:  "query{canBulkTerminate:version version:canBulkTerminate config}",
			answer:   `{"data":{"canBulkTerminate":true,"\u0076ersion":true,"version":true,"config":{"version":true,"data":{"version":true}}},"version":true}`,
			want:     `{"data":{"canBulkTerminate":true,"\u0076ersion":false,"version":false,"config":{"version":true,"data":{"version":true}}},"version":true}`,
		},
		"errors": {
			document: "{runs{hasTerminatePermission} either{...on Job{hasLaunchPermission}}}",
			request: "query{runs{authkit_Run_repositoryOrigin:repositoryOrigin{locationName} hasTerminatePermission} " +
				"either{...on Job{authkit_Job_repository:repository{location{name}} hasLaunchPermission}}}",
			answer: `{"errors":[{"message":"1","path":["runs",0,"authkit_Run_repositoryOrigin","locationName"]},` +
				`{"message":"2","path":["either","authkit_Job_repository","location"]},{"message":"3","path":["either"]},{"message":"4"}],"data":null}`,
			want: `{"errors":[{"message":"2","path":["either"]},{"message":"3","path":["either"]},{"message":"4"}],"data":null}`,
		},
		"errors of ours alone": {
			document: "{runs{hasTerminatePermission}}",
			request:  "query{runs{authkit_Run_repositoryOrigin:repositoryOrigin{locationName} hasTerminatePermission}}",
			answer: `{"data":{"runs":[{"authkit_Run_repositoryOrigin":null,"hasTerminatePermission":true}]},` +
				`"errors":[{"message":"1","path":["runs",0,"authkit_Run_repositoryOrigin"]}]}`,
			want: `{"data":{"runs":[{"hasTerminatePermission":false}]}}`,
		},
		"subscription": {
			document: "subscription{changes{hasDeletePermission}}", request: "subscription{changes{hasDeletePermission}}", everywhere: true,
			answer: `{"data":{"changes":{"hasDeletePermission":true}}}`, want: `{"data":{"changes":{"hasDeletePermission":false}}}`,
		},
		"unknown fields": {
			document: "{nope{a ...on Run{hasDeletePermission}}}", request: "query{nope{a ...on Run{hasDeletePermission}}}", everywhere: true,
			answer: `{"data":{"nope":{"hasDeletePermission":true}}}`, want: `{"data":{"nope":{"hasDeletePermission":false}}}`,
		},
	}
	schema := loadSchema(t, smallSchema)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRewriting(t, schema, tt.document, smallRules(!tt.everywhere))
			if diff := cmp.Diff(tt.request, r.Query()); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			for _, part := range []int{1, 2, 3, 7, len(tt.answer)} {
				got, err := rewritten(r, smallJudge, tt.answer, part)
				if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
					t.Errorf("in parts of %d, error %v (-want +got):\n%s", part, err, diff)
				}
			}
		})
	}
}

func TestNewRewritingFindsNothing(t *testing.T) {
	t.Parallel()
	schema := loadSchema(t, smallSchema)
	for _, document := range []string{
		"{version}", "{__typename __schema{types{name}}}", "{runs{id authkit_x:id config}}", "mutation{launch{id}}",
		"{nope{hasTerminatePermission}}", "{...F} fragment F on Nope{canBulkTerminate}",
	} {
		if r := newRewriting(t, schema, document, smallRules(true)); r != nil {
			t.Errorf("%s: got request %s, want nothing to rewrite", document, r.Query())
		}
	}
	if newRewriting(t, schema, "{canBulkTerminate}", smallRules(true)) == nil {
		t.Error("control: got nothing to rewrite for {canBulkTerminate}")
	}
}

func TestNewRewritingRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"one key for two fields":       "{runOrError{...on Run{x:hasTerminatePermission} ...on NotFound{x:found}}}",
		"one key for two permissions":  "{feed{...on Run{x:hasTerminatePermission} ...on Backfill{x:hasCancelPermission}}}",
		"a key of ours":                "{runs{hasTerminatePermission authkit_x:id}}",
		"two fields of a permission":   "{permissions{x:permission x:value}}",
		"one key in two fragments":     "{runs{...F ...G}} fragment F on Run{x:hasTerminatePermission} fragment G on Run{x:id}",
		"one key in the object around": "{runs{parent{x:hasTerminatePermission}} runs{parent{x:id}}}",
	}
	schema := loadSchema(t, smallSchema)
	for name, document := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewRewriting(mustParseDocument(t, document), schema, smallRules(true))
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest || strings.Contains(refused.Message, "\n") {
				t.Errorf("got error %v, want 400 in one line", err)
			}
		})
	}
}
