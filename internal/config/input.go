package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// largestSecretFile is far more than any password or key has, and keeps a wrong path (a log, a device) out of memory.
const largestSecretFile = 64 << 10

// serviceLink is what Kubernetes puts into NAME_PORT of every container when there is a service called NAME.
var serviceLink = regexp.MustCompile(`^(tcp|udp|sctp)://`)

// input finds settings in flags, environment and config file, and remembers which were given.
type input struct {
	flags    Values
	env      map[string]string
	file     *file             // nil: there is none
	values   []Value           // what was read, in the order in which it was asked for
	given    map[string]string // by Setting.Env: where the value came from
	bad      map[string]bool   // by Setting.Env: it was given and is no good
	warnings []Warning
}

func newInput(src Source) *input {
	in := &input{flags: src.Flags, env: map[string]string{}, given: map[string]string{}, bad: map[string]bool{}}
	mayBeEmpty := map[string]bool{}
	for _, s := range Settings() {
		mayBeEmpty[s.Env] = s.MayBeEmpty
	}
	for _, entry := range src.Environ {
		name, text, ok := strings.Cut(entry, "=")
		// The first of two entries counts, as it does for os.Getenv; an empty one is one that was not given, as Docker
		// Compose and Helm charts pass on empty values.
		if _, double := in.env[name]; ok && !double && (text != "" || mayBeEmpty[name]) {
			in.env[name] = text
		}
	}
	return in
}

// openFile opens the config file that was named, if one was, before anything else is looked for.
func (in *input) openFile() error {
	path, from, _, err := in.find(fileSetting().Setting)
	if err != nil || from == "" {
		return err
	}
	if in.file, err = openFile(path); err != nil {
		if _, named := strings.CutPrefix(err.Error(), path+":"); named {
			return err
		}
		return fmt.Errorf("%s: %w", from, err)
	}
	return errors.Join(in.file.problems...)
}

// apply puts the setting's value, or its default, into the Config.
func (in *input) apply(s setting, cfg *Config) error {
	text, from, origin, err := in.find(s.Setting)
	if err != nil {
		return err
	}
	if from != "" {
		in.given[s.Env] = from
	} else {
		text, from, origin = s.Default, "default of "+s.Env, "default"
		if preset, ok := cfg.presetValue(s.Env); ok {
			text = preset
		}
	}
	in.values = append(in.values, newValue(s.Setting, text, origin))
	if text == "" && origin == "default" {
		return nil
	}
	if err := s.read(cfg, text); err != nil {
		in.bad[s.Env] = true
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

// find gives the text, the name by which it was given, and where it stands; from is empty when the setting was not given.
func (in *input) find(s Setting) (text, from, origin string, err error) {
	if text, ok := in.flags[s.Flag]; ok && s.Flag != "" {
		return text, "--" + s.Flag, "--" + s.Flag, nil
	}
	if text, from, err = in.fromEnvironment(s); from != "" || err != nil {
		return text, from, from, err
	}
	text, line, err := in.file.find(s)
	if line == 0 || err != nil {
		return "", "", "", err
	}
	origin = fmt.Sprintf("%s:%d", in.file.path, line)
	return text, origin + ": " + s.Key(), origin, nil
}

func (in *input) fromEnvironment(s Setting) (text, from string, err error) {
	if s.Secret {
		if text, from, err = in.fromFile(s.Env); from != "" || err != nil {
			return text, from, err
		}
	}
	for _, name := range append([]string{s.Env}, s.Others...) {
		text, ok := in.env[name]
		if !ok {
			continue
		}
		if strings.HasSuffix(name, "_PORT") && serviceLink.MatchString(text) {
			in.warn("%s=%s is ignored: Kubernetes sets it for a service of that name, use %s or enableServiceLinks: false", name, text, "--"+s.Flag)
			continue
		}
		return text, name, nil
	}
	return "", "", nil
}

// fromFile reads a secret from the file that NAME_FILE names.
func (in *input) fromFile(name string) (text, from string, err error) {
	fileVar := name + "_FILE"
	path, ok := in.env[fileVar]
	if !ok {
		return "", "", nil
	}
	if _, both := in.env[name]; both {
		return "", "", fmt.Errorf("%s and %s are both given: unset one of them", name, fileVar)
	}
	text, err = readSecretFile(path)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", fileVar, err)
	}
	return text, fileVar, nil
}

// readSecretFile drops the one line ending that editors and echo put at the end; anything more is part of the secret.
func readSecretFile(path string) (string, error) {
	file, err := os.Open(path) //nolint:gosec // The path is the operator's own.
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, largestSecretFile+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case len(data) > largestSecretFile:
		return "", fmt.Errorf("%s is too large for a secret", path)
	case text == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsRune(text, 0):
		return "", errors.New(path + " holds a zero byte: it is no text file")
	}
	return text, nil
}

// givenOr is where the setting was given, or the name by which it can be.
func (in *input) givenOr(env string) string {
	if from, ok := in.given[env]; ok {
		return from
	}
	return env
}

func (in *input) warn(format string, args ...any) {
	in.warnings = append(in.warnings, Warning(fmt.Sprintf(format, args...)))
}
