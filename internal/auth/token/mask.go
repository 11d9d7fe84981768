package token

import "regexp"

// Masked stands in logs for a token.
const Masked = Prefix + "***"

// likeOurs is wider than Pattern: a token with letters missing or too many, or with others before it, gives away as much.
var likeOurs = regexp.MustCompile(Prefix + `[0-9A-Za-z]{20,}`)

// Mask is the text without the tokens of ours in it, for logs and the trail: people put them where they don't belong.
func Mask(text string) string { return likeOurs.ReplaceAllString(text, Masked) }
