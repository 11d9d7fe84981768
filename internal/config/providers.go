package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// takeProviders reads providers: [{id: google, preset: google, client_id: ..., client_secret_file: ...}].
func (f *file) takeProviders(node ast.Node) {
	f.hasProviders = true
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		f.fail(node, "providers is no list: write - id: company, and issuer: https://id.example.com below it")
		return
	}
	for _, element := range list.Values {
		mapping, ok := element.(*ast.MappingNode)
		if !ok {
			f.fail(element, "a provider has settings of its own: write id: company, and issuer: https://id.example.com below it")
			continue
		}
		f.takeProvider(mapping)
	}
}

func (f *file) takeProvider(mapping *ast.MappingNode) {
	var provider OIDCProvider
	given, good := map[string]int{}, true
	for key, value := range f.each(mapping) {
		given[key] = line(value)
		text, ok := f.words(key, value)
		if !ok {
			good = false
			continue
		}
		if err := f.setProvider(&provider, key, text, value); err != nil {
			f.problems, good = append(f.problems, err), false
		}
	}
	_, inline := given["client_secret"]
	second, inFile := given["client_secret"+fileSuffix]
	switch {
	case inline && inFile:
		f.problems = append(f.problems, f.at(second, "client_secret and client_secret_file are one setting: leave one of them out"))
	case given["id"] == 0:
		f.fail(mapping, "the provider has no id: write id: company")
	case good:
		f.providers, f.providerLines = append(f.providers, provider), append(f.providerLines, line(mapping))
	}
	f.secretInProvider = f.secretInProvider || inline
}

// words is the text of one value, or those of a list with commas between.
func (f *file) words(key string, node ast.Node) (string, bool) {
	field, _ := providerField(key)
	list, ok := node.(*ast.SequenceNode)
	if !ok || !field.list {
		return f.scalar(key, node)
	}
	words, good := make([]string, 0, len(list.Values)), true
	for _, element := range list.Values {
		text, ok := f.scalar(key, element)
		words, good = append(words, text), good && ok
	}
	return strings.Join(words, ","), good
}

func providerField(key string) (oidcField, bool) {
	fields := oidcFields()
	i := slices.IndexFunc(fields, func(field oidcField) bool { return field.key == key })
	if i < 0 {
		return oidcField{}, false
	}
	return fields[i], true
}

func (f *file) setProvider(provider *OIDCProvider, key, text string, value ast.Node) error {
	if key == "id" {
		provider.ID = text
		if !providerID.MatchString(text) {
			return f.at(line(value), "the id %.80q stands in addresses: write up to 32 lower-case letters, digits and -", text)
		}
		if slices.Contains([]string{BackendLDAP, BackendHeader, BackendOIDC}, text) {
			return f.at(line(value), "the id %s is a backend's name, which in rules for groups means that: write another", text)
		}
		return nil
	}
	name, secretFile := strings.CutSuffix(key, fileSuffix)
	field, known := providerField(name)
	if !known || secretFile && !field.secret {
		keys := []string{"id", "client_secret" + fileSuffix}
		for _, field := range oidcFields() {
			keys = append(keys, field.key)
		}
		return f.at(line(value), "%s is not part of a provider%s", shown(key), suggestion(plainKey(key), keys))
	}
	var err error
	if secretFile {
		text, err = readSecretFile(text)
	}
	if err == nil {
		err = field.read(provider, text)
	}
	if err != nil {
		return f.at(line(value), "%s: %w", key, err)
	}
	return nil
}

// oidcProviders are those of the file.
func (f *file) oidcProviders() []OIDCProvider {
	if f == nil {
		return nil
	}
	return f.providers
}

// providerValues are the providers as Inspect shows them, secrets hidden.
func (f *file) providerValues() []Value {
	var values []Value
	for i, p := range f.oidcProviders() {
		from := fmt.Sprintf("%s:%d", f.path, f.providerLines[i])
		secret := ""
		if p.ClientSecret.IsSet() {
			secret = hidden
		}
		for _, field := range []struct{ key, text string }{
			{"preset", p.Preset},
			{"issuer", p.Issuer},
			{"client_id", p.ClientID},
			{"client_secret", secret},
			{"scopes", strings.Join(p.Scopes, " ")},
			{"groups_claim", p.GroupsClaim},
			{"allowed_domains", strings.Join(p.AllowedDomains, ", ")},
			{"allowed_groups", strings.Join(p.AllowedGroups, ", ")},
			{"name", p.Name},
			{"ca_cert", p.CACert},
		} {
			if field.text != "" {
				values = append(values, Value{Name: providersKey + "." + p.ID + "." + field.key, Text: field.text, From: from})
			}
		}
	}
	return values
}
