package token

import "regexp"

// Masked stands in logs for a token.
const Masked = Prefix + "***"

// likeOurs is wider than Pattern: a token with letters missing or too many, with others before it, in another case, or right
// before another one, gives away as much.
var likeOurs = regexp.MustCompile(`(?i)dak[_-]+[0-9a-z]{20}[0-9a-z_-]*`)

// Mask is the text without the tokens of ours in it, for logs and the trail: people put them where they don't belong.
func Mask(text string) string { return likeOurs.ReplaceAllString(text, Masked) }
