package oidc

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"dagster-authkit/internal/seal"
)

func TestClaimPath(t *testing.T) {
	t.Parallel()
	const document = `{"groups":["a","b"],"realm_access":{"roles":["r"]},"resource_access":{"dagster":{"roles":["x"]},"my.app":{"roles":["y"]}},
		"https://example.com/groups":["ns"],"one":"alone","mixed":["a",1,null,{"b":1},"","c\u0000"],"number":7,"a.b":1,"a":{"b":["inner"]}}`
	var all claims
	if err := json.Unmarshal([]byte(document), &all); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]string{
		"groups": {"a", "b"}, "realm_access.roles": {"r"}, "resource_access.dagster.roles": {"x"}, "resource_access.my.app.roles": {"y"},
		"https://example.com/groups": {"ns"}, "one": {"alone"}, "mixed": {"a"}, "number": {}, "a.b": {}, "nothing": nil, "groups.x": nil, "realm_access.roles.x": nil,
	} {
		path, err := parseClaimPath(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		value, found := path.find(all)
		got, err := groupsOf(value)
		if found != (want != nil) || err != nil || want != nil && !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %t, %v, want %v", text, got, found, err, want)
		}
	}
	for _, text := range []string{"", ".", "a.", ".a", "a..b", "a.b.c.d.e.f.g.h.i", strings.Repeat("a", 300), "a\nb", "\xff"} {
		if _, err := parseClaimPath(text); err == nil {
			t.Errorf("%q is a path", text)
		}
	}
	if _, err := groupsOf(make([]any, mostGroups+1)); err == nil {
		t.Error("too many groups are taken")
	}
}

func FuzzClaimPath(f *testing.F) {
	f.Add("realm_access.roles", `{"realm_access":{"roles":["a"]}}`)
	f.Add("a.b.c", `{"a.b":{"c":"x"},"a":{"b.c":["y"]}}`)
	f.Fuzz(func(t *testing.T, text, document string) {
		path, err := parseClaimPath(text)
		if err != nil {
			return
		}
		if strings.Join(path, ".") != text {
			t.Fatalf("%q became %q", text, path)
		}
		var all claims
		if json.Unmarshal([]byte(document), &all) != nil {
			return
		}
		value, found := path.find(all)
		if direct, there := all[text]; there && !found {
			t.Fatalf("%q is there as %v and was not found", text, direct)
		}
		groups, err := groupsOf(value)
		if err != nil {
			return
		}
		for _, group := range groups {
			if group == "" || cleanText(group) != group || !strings.Contains(document, group[:1]) && !strings.Contains(document, `\`) {
				t.Fatalf("the group %q of %q", group, document)
			}
		}
	})
}

func FuzzEmailDomain(f *testing.F) {
	for _, seed := range []string{"ada@company.com", "attacker@evil.com@company.com", `"a@b"@company.com`, "a@b\x00.com", "@", "a@ｃompany.com"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		domain, ok := emailDomain(address)
		if !ok {
			return
		}
		// Whatever is taken has one reading: whoever cuts at the first @ and whoever cuts at the last get the same.
		first, last := strings.Index(address, "@"), strings.LastIndex(address, "@")
		if first != last || first <= 0 || domain != strings.ToLower(address[first+1:]) || strings.ContainsAny(address, " \t\r\n\x00\"<>,;") {
			t.Fatalf("%q has the domain %q", address, domain)
		}
	})
}

func FuzzTicket(f *testing.F) {
	aead, err := seal.New([]byte(strings.Repeat("k", 32)), "tickets")
	if err != nil {
		f.Fatal(err)
	}
	good, err := sealTicket(aead, ticket{State: "s"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-1])
	f.Add("")
	f.Add(strings.Repeat("A", 5000))
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := openTicket(aead, text); ok && text != good {
			t.Fatalf("%q was taken", text)
		}
	})
	if _, ok := openTicket(aead, good); !ok {
		f.Error("the control is refused")
	}
}
