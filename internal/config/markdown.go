package config

import "strings"

// Markdown is the table of all settings for the README.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| variable | flag | in the config file | default | meaning |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range Settings() {
		names := "`" + strings.Join(append([]string{s.Env}, s.Others...), "`, else `") + "`"
		if s.Secret {
			names += " (or `_FILE`)"
		}
		b.WriteString("| " + names + " | " + flagCell(s) + " | " + codeCell(s.Key()) + " | " + codeCell(s.Default) + " | " + strings.ReplaceAll(s.Meaning, "|", `\|`) + " |\n")
	}
	b.WriteString("|  |  | `" + rolesKey + "` |  | Roles beside the built-in ones, each with a name and permissions. |\n")
	b.WriteString("|  |  | `" + groupsKey + "` |  | What the groups of ldap, oidc and header may do: each with a group, a role and perhaps a location. |\n")
	b.WriteString("|  |  | `" + providersKey + "` |  | Several OpenID Connect providers: each with an id, and the settings of DAGSTER_AUTH_OIDC_* without that. |\n")
	return b.String()
}

func flagCell(s Setting) string {
	switch {
	case s.Flag == "":
		return ""
	case s.Short == "":
		return "`--" + s.Flag + "`"
	}
	return "`-" + s.Short + "`, `--" + s.Flag + "`"
}

func codeCell(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}
