package graphql

import "bytes"

// What follows is for speed alone: most of a large answer are members that nothing is done with, whole in what was read.
// They are passed over here, and whatever is in any way special is left to the answerWriter, which reads it again.

// literalByte are the bytes of numbers, true, false and null, and of Python's NaN and Infinity.
var literalByte = func() (table [256]bool) {
	for c := range table {
		table[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '+' || c == '-' || c == '.'
	}
	return table
}()

// structural are the bytes between which everything can be passed over.
var structural = [256]bool{'"': true, '{': true, '}': true, '[': true, ']': true}

// stringEnd is where the string ends that goes on at i, or -1 and whether the next byte stands after a backslash.
func stringEnd(in []byte, i int) (end int, escaped bool) {
	start := i
	for {
		n := bytes.IndexByte(in[i:], '"')
		if n < 0 {
			return -1, backslashes(in[start:])%2 == 1
		}
		i += n + 1
		if i-1 == start || in[i-2] != '\\' || backslashes(in[start:i-1])%2 == 0 {
			return i, false
		}
	}
}

// backslashes counts those at the end.
func backslashes(text []byte) int {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '\\' {
		n++
	}
	return n
}

// skim passes over members that have no entry, from where an earlier member of the object ended.
func (n *node) skim(in []byte, i int) int {
	for {
		end := n.skimMember(in, i)
		if end < 0 {
			return i
		}
		i = end
	}
}

// skimMember is where the member ends that begins with the comma at i, or -1.
func (n *node) skimMember(in []byte, i int) int {
	if i+1 >= len(in) || in[i] != ',' || in[i+1] != '"' {
		return -1
	}
	end, _ := stringEnd(in, i+2)
	if end < 0 || end >= len(in) || in[end] != ':' || n.mayHave(in[i+2:end-1]) {
		return -1
	}
	return skimValue(in, end+1)
}

// mayHave goes by the length of the key, which is enough for nearly all.
func (n *node) mayHave(key []byte) bool {
	if n.rest != nil || bytes.IndexByte(key, '\\') >= 0 {
		return true
	}
	return n.lengths&lengthBit(len(key)) != 0 && n.entries[string(key)] != nil
}

func lengthBit(n int) uint64 { return 1 << (n & 63) }

// skimValue is where the value at i ends, or -1. A number that ends with what was read may not be whole.
func skimValue(in []byte, i int) int {
	if i >= len(in) {
		return -1
	}
	switch c := in[i]; {
	case c == '"':
		end, _ := stringEnd(in, i+1)
		return end
	case c == '{' || c == '[':
		return skimContainer(in, i)
	case literalByte[c]:
		for ; i < len(in); i++ {
			if !literalByte[in[i]] {
				return i
			}
		}
	}
	return -1
}

// skimContainer is where the object or list at i ends, or -1.
func skimContainer(in []byte, i int) int {
	const deepest = 16             // of a deeper one that is not whole, each level would be scanned again
	objects, depth := uint64(0), 0 // one bit for each that is open
	for ; i < len(in); i++ {
		c := in[i]
		if !structural[c] {
			continue
		}
		switch c {
		case '"':
			end, _ := stringEnd(in, i+1)
			if end < 0 {
				return -1
			}
			i = end - 1
		case '{', '[':
			if depth++; depth > deepest {
				return -1
			}
			objects <<= 1
			if c == '{' {
				objects |= 1
			}
		default:
			if (c == '}') != (objects&1 == 1) {
				return -1
			}
			objects >>= 1
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
