package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const text = "hunter2"
	secret := NewSecret(text)
	type unexported struct{ s Secret }
	values := map[string]any{
		"value": secret, "pointer": &secret, "slice": []Secret{secret}, "map": map[string]Secret{"k": secret},
		"config": Config{SecretKey: secret, AdminPassword: secret, MetricsToken: secret}, "unexported": unexported{secret},
		"pointer to unexported": &unexported{secret},
	}
	for name, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "% x", "%10.3v"} {
			printed := fmt.Sprintf(verb, value)
			if strings.Contains(printed, text) || strings.Contains(strings.ToLower(printed), fmt.Sprintf("%x", text)) {
				t.Errorf("%s with %s: got %q, which shows the secret", name, verb, printed)
			}
		}
		encoded, err := json.Marshal(value)
		if err != nil || strings.Contains(string(encoded), text) {
			t.Errorf("%s as JSON: got %s, %v", name, encoded, err)
		}
		var log bytes.Buffer
		logger := zerolog.New(&log)
		logger.Info().Any("any", value).Interface("interface", value).Object("object", secret).EmbedObject(secret).
			Stringer("stringer", secret).Str("printed", fmt.Sprint(value)).Msg("")
		if strings.Contains(log.String(), text) {
			t.Errorf("%s in the log: got %s", name, log.String())
		}
	}
	if got := fmt.Sprint(secret); got != "[hidden]" {
		t.Errorf("Sprint: got %q, want [hidden]", got)
	}
	if secret.Reveal() != text || !secret.IsSet() || NewSecret("").IsSet() || (Secret{}).Reveal() != "" {
		t.Error("Reveal or IsSet is wrong")
	}
}
