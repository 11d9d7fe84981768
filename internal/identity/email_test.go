package identity

import (
	"strings"
	"testing"
)

func TestCheckEmail(t *testing.T) {
	t.Parallel()
	good := []string{"ada@company.com", "Ada.Lovelace+x@COMPANY.com", "adá.lövelace@company.com", "名前@例え.jp", "ada@x", "ada", strings.Repeat("x", 254)}
	for _, address := range good {
		if err := CheckEmail(address); err != nil {
			t.Errorf("%q: got %v, want nil", address, err)
		}
	}
	for what, address := range map[string]string{
		"empty": "", "too long": strings.Repeat("x", 255), "no UTF-8": "ada\xe9@company.com",
		"a zero byte": "ada@com\x00pany.com", "an escape": "ada@company.com\x1b", "a line break": "ada@company.com\r\n", "DEL": "ada\x7f@company.com",
		"a C1 control": "ada\u009b@company.com", "a tab": "\tada@company.com", "a space": "ada @company.com", "a space at the end": "ada@company.com ",
		"a no-break space": "ada@company.com\u00a0", "a wide space": "ada\u3000@company.com", "a soft hyphen": "a\u00adda@company.com",
		"a zero-width space": "ada\u200b@company.com", "a zero-width joiner": "a\u200dda@company.com", "a word joiner": "a\u2060da@company.com",
		"text that turns": "\u202eada@company.com", "an isolate": "\u2066ada@company.com\u2069", "a left-to-right mark": "ada\u200e@company.com",
		"a byte order mark": "\ufeffada@company.com", "a Hangul filler": "ada\u3164@company.com", "a variation selector": "ada\ufe0f@company.com",
		"a combining joiner": "a\u034fda@company.com", "a braille blank": "ada\u2800@company.com", "a line separator": "ada\u2028@company.com",
		"a tag": "ada\U000e0041@company.com", "for private use": "ada\ue000@company.com", "what stands for no character": "ada\ufffd@company.com",
	} {
		if CheckEmail(address) == nil {
			t.Errorf("%s: %q is taken", what, address)
		}
	}
}
