package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/config"
)

// TestIdentityHeaders: what signs somebody in by a header of the operator's choice goes no further than AuthKit.
func TestIdentityHeaders(t *testing.T) {
	t.Parallel()
	token := "DAGSTER_AUTH_SERVICE_TOKEN=a-service-token-of-this-test-0123456789"
	for _, tc := range []struct {
		name string
		env  []string
		want []string
	}{
		{name: "nothing is read"},
		{name: "a header without a token", env: []string{"DAGSTER_AUTH_SERVICE_TOKEN_HEADER=X-Service"}},
		{name: "a token's header", env: []string{token, "DAGSTER_AUTH_SERVICE_TOKEN_HEADER=X-Service"}, want: []string{"X-Service"}},
		{name: "Authorization goes on", env: []string{token, "DAGSTER_AUTH_SERVICE_TOKEN_HEADER=authorization"}},
		{
			name: "a proxy's headers and a token's", want: []string{"Dagster-Cloud-Api-Token", "X-Me", "X-Mine", "Remote-Name", "Remote-Email"},
			env: []string{
				token, "DAGSTER_AUTH_BACKEND=header", "DAGSTER_AUTH_TRUSTED_PROXIES=10.0.0.1", "DAGSTER_AUTH_DEFAULT_ROLE=viewer",
				"DAGSTER_AUTH_PROXY_USER_HEADER=X-Me", "DAGSTER_AUTH_PROXY_GROUPS_HEADER=X-Mine",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := config.Load(config.Source{Environ: tc.env})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, identityHeaders(cfg)); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}
