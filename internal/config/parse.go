package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// longestDuration is ten years. No setting means more, and seconds beyond 292 years would overflow time.Duration.
const longestDuration = 10 * 365 * 24 * time.Hour

// parseDuration reads "86400" as seconds, as the Python AuthKit did, and "24h" or "1h30m" as Go does.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if seconds, numErr := strconv.ParseInt(text, 10, 64); numErr == nil {
		if seconds > int64(longestDuration/time.Second) {
			return 0, fmt.Errorf("%q is longer than ten years", text)
		}
		d, err = time.Duration(max(seconds, -1))*time.Second, nil
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no duration: write seconds (86400) or a number with a unit (24h, 30m, 10s)", text)
	case d < 0:
		return 0, fmt.Errorf("%q is negative: write seconds (86400) or a number with a unit (24h)", text)
	case d > longestDuration:
		return 0, fmt.Errorf("%q is longer than ten years", text)
	}
	return d, nil
}

// parseBool reads the words people write in environment files.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no: write true or false", text)
}

// parseInt reads a whole number between least and most.
func parseInt(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is no whole number from %d to %d", text, least, most)
	}
	return n, nil
}

// parseSize reads a number of bytes: "10485760", "10MiB" or "10MB".
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "KMGBikb ")
	factors := map[string]int64{
		"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
	}
	factor, known := factors[strings.TrimSpace(text[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !known || err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is no size: write bytes (10485760) or a number with a unit (10MiB)", text)
	}
	return n * factor, nil
}

// parsePrefixes reads networks and single addresses, separated by commas or blanks. All bad ones are named at once.
func parsePrefixes(text string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var bad []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		prefix, err := parsePrefix(word)
		if err != nil {
			bad = append(bad, strconv.Quote(word))
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	if bad != nil {
		return nil, fmt.Errorf("%s: not an address or network: write 10.0.0.0/8 or 192.168.1.4, separated by commas", strings.Join(bad, ", "))
	}
	return prefixes, nil
}

// parsePrefix unmaps IPv4-mapped IPv6 forms, as the peers that it is compared with are unmapped too, and masks the host
// bits, so that two spellings of one network are one value.
func parsePrefix(word string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(word); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, errors.New("a zone means nothing here")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(word)
	if err != nil {
		return netip.Prefix{}, err
	}
	if addr := prefix.Addr(); addr.Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, errors.New("it is wider than all of IPv4")
		}
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// parseLevel reads zerolog's names and those of Python's logging, which the Python AuthKit used.
func parseLevel(text string) (zerolog.Level, error) {
	switch strings.ToLower(text) {
	case "trace":
		return zerolog.TraceLevel, nil
	case "debug":
		return zerolog.DebugLevel, nil
	case "info":
		return zerolog.InfoLevel, nil
	case "warn", "warning":
		return zerolog.WarnLevel, nil
	case "error", "critical":
		return zerolog.ErrorLevel, nil
	}
	return zerolog.NoLevel, fmt.Errorf("%q is no log level: write trace, debug, info, warn or error", text)
}
