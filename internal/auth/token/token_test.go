package token

import (
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(Pattern)
	seen := map[string]bool{}
	counts := map[byte]int{}
	const made = 2000
	for range made {
		text, hash := New()
		if !Valid(text) || len(text) != 53 || pattern.FindString("x="+text+" y") != text || seen[text] || hash != Sum(text) {
			t.Fatalf("made %q", text)
		}
		seen[text] = true
		for _, c := range []byte(text[4:47]) {
			counts[c]++
		}
	}
	if len(counts) != 62 {
		t.Errorf("%d letters are used, want 62", len(counts))
	}
	for c, n := range counts { // 1387 on average; six standard deviations are 222
		if n < 1387-222 || n > 1387+222 {
			t.Errorf("%c came %d times of %d", c, n, made*43)
		}
	}
}

// TestChecksum has the outside world's CRC: that of "123456789" is cbf43926 in every catalogue.
func TestChecksum(t *testing.T) {
	t.Parallel()
	if crc32.ChecksumIEEE([]byte("123456789")) != 0xcbf43926 {
		t.Fatal("another CRC")
	}
	// Worked out elsewhere: 3421780262 in base 62 has these digits.
	value := 0
	for _, digit := range []int{3, 45, 35, 27, 22, 14} {
		value = value*62 + digit
	}
	if value != 3421780262 {
		t.Fatalf("the digits are worth %d", value)
	}
	if got := checksum("123456789"); got != "3jZRME" {
		t.Errorf("got %s, want 3jZRME", got)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	text, _ := New()
	for i := range []byte(text) {
		for _, other := range []byte("aA0_ .\x00") {
			if text[i] == other {
				continue
			}
			if changed := text[:i] + string(other) + text[i+1:]; Valid(changed) {
				t.Errorf("valid with another letter: %q", changed)
			}
		}
		if i > 0 && text[i] != text[i-1] {
			if swapped := text[:i-1] + string(text[i]) + string(text[i-1]) + text[i+1:]; Valid(swapped) {
				t.Errorf("valid with two letters swapped: %q", swapped)
			}
		}
	}
	for _, bad := range []string{"", "dak_", text[:52], text + "x", " " + text, text + "\n", strings.ToUpper(text), strings.ToLower(text), strings.Repeat("x", 1<<20)} {
		if Valid(bad) {
			t.Errorf("valid: %.80q", bad)
		}
	}
}
