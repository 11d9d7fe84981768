package remote

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/json"
)

// CheckHeader says why a signed token is refused whatever its signature, by the first of its parts (RFC 7515, section 4), or nil. The
// kinds are the values of typ that are taken, in small letters: whoever may have one sort of token of an issuer must not
// use it as another (RFC 8725, sections 2.8 and 3.11). Most providers leave typ out, which is taken. Extensions (crit, and b64,
// which go-jose knows) and packed contents (zip, which means something in encrypted tokens alone) are for no reader here.
func CheckHeader(token string, kinds ...string) error {
	encoded, _, _ := strings.Cut(token, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "=")) // AWS pads it
	if err != nil {
		return errors.New("its header can't be read")
	}
	var header map[string]json.RawMessage
	var kind string
	if json.Unmarshal(decoded, &header) != nil || header["typ"] != nil && json.Unmarshal(header["typ"], &kind) != nil {
		return errors.New("its header is no JSON object, has a name twice, or a typ that is no text")
	}
	for _, name := range []string{"crit", "b64", "zip"} {
		if _, there := header[name]; there {
			return fmt.Errorf("its header has extensions that nobody knows here: %s", name)
		}
	}
	// RFC 7515, section 4.1.9: a media type, of which application/ may be left out.
	if kind != "" && !slices.Contains(kinds, strings.TrimPrefix(strings.ToLower(kind), "application/")) {
		return fmt.Errorf("it is a token of the type %.40q", kind)
	}
	return nil
}
