package config

import (
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/rs/zerolog"
)

// hidden is what every way of printing a Secret gives, whether it is set or not.
const hidden = "[hidden]"

// Secret is a setting that must never be printed: fmt with any verb, JSON, text encodings and zerolog all show
// "[hidden]". The text is behind a pointer because fmt can't call methods on an unexported field of somebody else's
// struct, and would print the text itself there; so it prints an address. The zero Secret is one that was not given.
type Secret struct{ text *string }

// NewSecret wraps text. An empty text gives the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal gives the text itself. Whoever calls it answers for where the text goes.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether the setting was given.
func (s Secret) IsSet() bool { return s.text != nil }

// Equal compares the texts, not the pointers, in a time that does not depend on where they differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String hides the text from anything that prints a fmt.Stringer.
func (s Secret) String() string { return hidden }

// Format hides the text from every verb and flag of fmt, %#v and %x among them.
func (s Secret) Format(f fmt.State, _ rune) {
	// A failing writer is the printer's concern; there is nobody to tell here.
	_, _ = io.WriteString(f, hidden)
}

// MarshalText hides the text from encoding/json, and from every other encoding that asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalZerologObject hides the text from zerolog's Object and EmbedObject.
func (s Secret) MarshalZerologObject(e *zerolog.Event) { e.Str("secret", hidden) }
