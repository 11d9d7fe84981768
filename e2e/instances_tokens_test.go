package e2e

import "testing"

// tokensShared: a token works at each instance, and what ends it ends it at each, open WebSockets included.
func (f *fleet) tokensShared(t *testing.T) {
	f.cli("a-person-of-this-test\n", "add-user", "tom", "--role", "editor", "--password-stdin")
	bystander := f.bearer(f.token("vic", "bystander"))
	for _, tc := range []struct {
		what         string
		change, back []string
	}{
		{"revoked", []string{"revoke-token", "--user", "tom", "--name", "revoked"}, nil},
		{"disabled", []string{"disable-user", "tom"}, []string{"enable-user", "tom"}},
		{"deleted", []string{"delete-user", "tom", "--yes"}, nil},
	} {
		text := f.token("tom", tc.what)
		c := f.bearer(text)
		if got := f.me(c); got != "editor editor editor" {
			t.Fatalf("%s: before: got %q", tc.what, got)
		}
		closed := f.openSockets(t, f.anonymous(), tc.what, "Authorization", "Bearer "+text)
		f.cli("", tc.change...)
		f.soon(t, c, "401 401 401")
		closed.Wait()
		if got := f.me(bystander); got != "viewer viewer viewer" {
			t.Errorf("%s: the bystander got %q", tc.what, got)
		}
		if tc.back != nil {
			f.cli("", tc.back...)
		}
	}
}

// tokensFollow: a token's role is at most its owner's of now, wherever that was changed.
func (f *fleet) tokensFollow(t *testing.T) {
	whole, least := f.bearer(f.token("larry", "whole")), f.bearer(f.token("larry", "least", "--role", "viewer"))
	for _, role := range []string{"editor", "viewer", "launcher"} {
		f.cli("", "change-role", "larry", role)
		f.soon(t, whole, role+" "+role+" "+role)
		if got := f.me(least); got != "viewer viewer viewer" {
			t.Errorf("the owner is %s: a viewer's token got %q", role, got)
		}
		for i, k := range f.instances {
			key := "token-" + role + string(rune('1'+i))
			whole.at(k).tryMutation(key)
			if got, want := f.hasPartition(key), role == "editor"; got != want {
				t.Errorf("the owner is %s, instance %d: the mutation ran: %t, want %t", role, i+1, got, want)
			}
		}
	}
}
