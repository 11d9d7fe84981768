package dagster

import (
	"slices"
	"strconv"
	"strings"
)

// TestedVersions are the versions of Dagster that AuthKit is tested with, oldest first.
func TestedVersions() []string {
	return []string{"1.10.0", "1.10.21", "1.11.16", "1.12.22", "1.13.27"}
}

func newestTested() string {
	tested := TestedVersions()
	return tested[len(tested)-1]
}

// newer compares release numbers. A version that has none, such as a development build's, is not known to be newer.
func newer(version, than string) bool {
	v, ok := release(version)
	other, _ := release(than)
	return ok && slices.Compare(v, other) > 0
}

// release reads "1.14.0" and "1.14rc1" to 1, 14 and 0.
func release(version string) ([]int, bool) {
	end := strings.IndexFunc(version, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(version)
	}
	parts := strings.Split(strings.TrimSuffix(version[:end], "."), ".")
	numbers := make([]int, 3)
	if len(parts) < 2 || len(parts) > len(numbers) || strings.HasPrefix(version[end:], "!") {
		return nil, false
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		numbers[i] = n
	}
	return numbers, true
}
