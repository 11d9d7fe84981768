package graphql

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// maxSchema bounds an introspection answer: that of Dagster 1.13.27 has 0.9 MB.
const maxSchema = 32 << 20

// Schema is what the running Dagster offers, as its own introspection tells it.
type Schema struct {
	raw *ast.Schema
}

// Raw is the schema in gqlparser's form. It must not be changed: everyone shares it.
func (s *Schema) Raw() *ast.Schema { return s.raw }

// MutationFields are the names of all mutations, sorted.
func (s *Schema) MutationFields() []string {
	if s.raw.Mutation == nil {
		return nil
	}
	names := make([]string, 0, len(s.raw.Mutation.Fields))
	for _, f := range s.raw.Mutation.Fields {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// IntrospectionQuery asks for what ParseIntrospection reads: no descriptions, which are most of the full answer, but
// everything deprecated, as Dagster still executes it. Nine levels of ofType are what graphql-core's own query asks for.
func IntrospectionQuery() string {
	return `query AuthKitIntrospection{__schema{queryType{name} mutationType{name} subscriptionType{name} ` +
		`types{kind name fields(includeDeprecated:true){name args(includeDeprecated:true){...Input} type{...Type}} ` +
		`inputFields(includeDeprecated:true){...Input} possibleTypes{name}}}}` +
		`fragment Input on __InputValue{name type{...Type}}` +
		`fragment Type on __Type{kind name ofType{kind name ofType{kind name ofType{kind name ofType{kind name ` +
		`ofType{kind name ofType{kind name ofType{kind name ofType{kind name ofType{kind name}}}}}}}}}}`
}

// introspection is the part of the answer that is read.
type introspection struct {
	Data struct {
		Schema *introspectedSchema `json:"__schema"`
	} `json:"data"`
}

type introspectedSchema struct {
	QueryType, MutationType, SubscriptionType *introspectedName
	Types                                     []introspectedType
}

type introspectedName struct{ Name string }

type introspectedType struct {
	Kind, Name    string
	Fields        []introspectedField
	InputFields   []introspectedInput
	PossibleTypes []introspectedName
}

type introspectedField struct {
	Name string
	Args []introspectedInput
	Type introspectedRef
}

type introspectedInput struct {
	Name string
	Type introspectedRef
}

type introspectedRef struct {
	Kind, Name string
	OfType     *introspectedRef
}

// ParseIntrospection reads Dagster's answer to IntrospectionQuery. A schema that refers to types it does not have is an
// error, so that no one has to look for nil afterwards.
func ParseIntrospection(data []byte) (*Schema, error) {
	if len(data) > maxSchema {
		return nil, fmt.Errorf("introspection answer has %d bytes, more than %d", len(data), maxSchema)
	}
	var answer introspection
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("decode introspection answer: %w", err)
	}
	in := answer.Data.Schema
	if in == nil || in.QueryType == nil {
		return nil, fmt.Errorf("introspection answer holds no schema with a query type")
	}
	b := schemaBuilder{schema: &ast.Schema{
		Types:         make(map[string]*ast.Definition, len(in.Types)),
		PossibleTypes: map[string][]*ast.Definition{},
	}}
	b.build(in)
	if b.err != nil {
		return nil, fmt.Errorf("read introspected schema: %w", b.err)
	}
	return &Schema{raw: b.schema}, nil
}

// schemaBuilder keeps its first error.
type schemaBuilder struct {
	schema *ast.Schema
	err    error
}

func (b *schemaBuilder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// build makes all definitions before anything refers to them.
func (b *schemaBuilder) build(in *introspectedSchema) {
	for _, t := range in.Types {
		if t.Name == "" || b.schema.Types[t.Name] != nil {
			b.fail("type %q has no name or is there twice", t.Name)
			return
		}
		b.schema.Types[t.Name] = &ast.Definition{Kind: ast.DefinitionKind(t.Kind), Name: t.Name}
	}
	for i := range in.Types {
		b.fill(b.schema.Types[in.Types[i].Name], &in.Types[i])
	}
	b.schema.Query = b.root(in.QueryType)
	b.schema.Mutation = b.root(in.MutationType)
	b.schema.Subscription = b.root(in.SubscriptionType)
}

func (b *schemaBuilder) root(name *introspectedName) *ast.Definition {
	if name == nil {
		return nil
	}
	return b.named(name.Name)
}

// named is a definition that something refers to.
func (b *schemaBuilder) named(name string) *ast.Definition {
	def := b.schema.Types[name]
	if def == nil {
		b.fail("type %q is referred to but not there", name)
	}
	return def
}

func (b *schemaBuilder) fill(def *ast.Definition, in *introspectedType) {
	for _, f := range in.Fields {
		field := &ast.FieldDefinition{Name: f.Name, Type: b.typeOf(&f.Type)}
		for _, a := range f.Args {
			field.Arguments = append(field.Arguments, &ast.ArgumentDefinition{Name: a.Name, Type: b.typeOf(&a.Type)})
		}
		def.Fields = append(def.Fields, field)
	}
	for _, f := range in.InputFields {
		def.Fields = append(def.Fields, &ast.FieldDefinition{Name: f.Name, Type: b.typeOf(&f.Type)})
	}
	b.relations(def, in)
}

// relations notes which object types can stand where def is expected.
func (b *schemaBuilder) relations(def *ast.Definition, in *introspectedType) {
	switch def.Kind {
	case ast.Object:
		b.schema.AddPossibleType(def.Name, def)
	case ast.Interface, ast.Union:
		for _, p := range in.PossibleTypes {
			possible := b.named(p.Name)
			if possible == nil {
				return
			}
			b.schema.AddPossibleType(def.Name, possible)
			if def.Kind == ast.Union {
				def.Types = append(def.Types, possible.Name)
			}
		}
	case ast.Scalar, ast.Enum, ast.InputObject:
	default:
		b.fail("type %q is of unknown kind %q", def.Name, def.Kind)
	}
}

// typeOf goes no deeper than the answer is nested, which encoding/json bounds.
func (b *schemaBuilder) typeOf(ref *introspectedRef) *ast.Type {
	switch {
	case ref.OfType == nil:
		b.named(ref.Name)
		return ast.NamedType(ref.Name, nil)
	case ref.Kind == "NON_NULL":
		inner := b.typeOf(ref.OfType)
		inner.NonNull = true
		return inner
	default:
		return ast.ListType(b.typeOf(ref.OfType), nil)
	}
}
