package config

// Setting describes one setting. The help text and the README's table are made from these.
type Setting struct {
	// Env is the variable's name; Others are read, in order, when it is not set.
	Env    string
	Others []string
	// Flag is the long flag without dashes and Short its letter, both empty for settings that only the environment has.
	Flag  string
	Short string
	// List settings may be a list in the config file; elsewhere they are words separated by commas.
	List bool
	// Switch marks flags that stand alone; all others take a value.
	Switch bool
	// Secret settings are also read from the file that Env with _FILE after it names.
	Secret bool
	// MayBeEmpty settings have a meaning for the empty value; to all others, an empty variable is one that was not given.
	MayBeEmpty bool
	Default    string
	Meaning    string
}

// setting adds how the text becomes part of the Config. The same function reads the default, so that what is
// documented is what happens.
type setting struct {
	Setting
	read func(c *Config, text string) error
}

// Settings lists all settings, in the order in which people read about them.
func Settings() []Setting {
	all := settings()
	list := make([]Setting, len(all))
	for i, s := range all {
		list[i] = s.Setting
	}
	return list
}

func settings() []setting {
	var all []setting
	for _, group := range [][]setting{
		{fileSetting()},
		listenSettings(), databaseSettings(), userSettings(), backendSettings(), ldapSettings(), oidcSettings(),
		proxySettings(), accessSettings(), sessionSettings(), tokenSettings(), limitSettings(), speedSettings(), logSettings(),
		childSettings(),
	} {
		all = append(all, group...)
	}
	return all
}

// into stores a parsed value where it belongs, or passes the error on.
func into[T any](field *T) func(T, error) error {
	return func(value T, err error) error {
		*field = value
		return err
	}
}
