package config

import (
	"slices"
	"strings"
)

const (
	// webserverPrefix is that of dagster-webserver's own variables, of which AuthKit has some.
	webserverPrefix = "DAGSTER_WEBSERVER_"
	// fileSuffix makes of a secret's key that of a file which holds it.
	fileSuffix = "_file"
	// rolesKey, groupsKey and providersKey are the keys that no variable has.
	rolesKey     = "roles"
	groupsKey    = "groups"
	providersKey = "providers"
)

// Key is the setting's name in a config file: the variable's without its prefix, in lower case. It is empty for the setting
// that names the file.
func (s Setting) Key() string {
	if s.Env == configVariable {
		return ""
	}
	return plainKey(s.Env)
}

// keys are all names of the setting in a config file.
func (s Setting) keys() []string {
	key := s.Key()
	if key == "" {
		return nil
	}
	keys := []string{key}
	for _, other := range s.Others {
		if strings.HasPrefix(other, ownPrefix) {
			keys = append(keys, plainKey(other))
		}
	}
	if s.Secret {
		keys = append(keys, key+fileSuffix)
	}
	return keys
}

// isSecret reports whether that text of the setting must not be shown. A database's is one when it may have a password.
func (s Setting) isSecret(text string) bool {
	if s.Env == databaseVariable {
		return strings.Contains(text, "://") && (strings.Contains(text, "@") || !strings.HasPrefix(text, "sqlite://"))
	}
	return s.Secret && text != ""
}

// plainKey makes a key of a variable's name, and of what people write by mistake.
func plainKey(name string) string {
	for _, prefix := range []string{ownPrefix, webserverPrefix} {
		if rest, ok := strings.CutPrefix(strings.ToUpper(name), prefix); ok {
			return strings.ToLower(rest)
		}
	}
	return strings.ReplaceAll(strings.ToLower(name), "-", "_")
}

func settingOf(key string) (Setting, bool) {
	all := Settings()
	i := slices.IndexFunc(all, func(s Setting) bool { return slices.Contains(s.keys(), key) })
	if i < 0 {
		return Setting{}, false
	}
	return all[i], true
}

func fileKeys() []string {
	keys := []string{rolesKey, groupsKey, providersKey}
	for _, s := range Settings() {
		keys = append(keys, s.keys()...)
	}
	return keys
}
