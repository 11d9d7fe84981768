package graphql

import (
	"math"
	"strings"
)

// plain rewrites a document so that there is one way left to read it: block strings become ordinary strings, comments
// and byte order marks go, brackets are counted. It reads those things as graphql-core does, because the parser used
// here does not: gqlparser 2.5.64 ends a block string at the last three quotes of a run where graphql-core takes the
// first three, and counts its first line's indentation. Counting brackets here keeps deep nesting away from every
// recursion after it; a Go program can't recover from a full stack.
func plain(document string, maxDepth int) (string, error) {
	s := scanner{in: document, maxDepth: maxDepth}
	s.out.Grow(len(document) + len(document)/16)
	for s.pos < len(s.in) {
		if err := s.next(); err != nil {
			return "", err
		}
	}
	return s.out.String(), nil
}

type scanner struct {
	in              string
	pos             int
	depth, maxDepth int
	out             strings.Builder
}

const (
	blockQuote    = `"""`
	byteOrderMark = "\uFEFF"
)

// next copies or rewrites what stands at pos.
func (s *scanner) next() error {
	rest := s.in[s.pos:]
	// 0xEF starts a byte order mark. Of all else that is not listed here only numbers mean different things to lexers.
	if n := lengthUntil(rest, "#\"([{)]}\xEF"); n > 0 {
		if numberBesideName(rest[:n]) {
			return badRequest("a number and the name after it are written as one")
		}
		s.out.WriteString(rest[:n])
		s.pos += n
		return nil
	}
	switch c := rest[0]; {
	case c == '#':
		// As in graphql-core, a comment ends before the next line feed or carriage return.
		s.pos += lengthUntil(rest, "\n\r")
		return nil
	case strings.HasPrefix(rest, blockQuote):
		return s.blockString()
	case c == '"':
		return s.quotedString()
	case strings.HasPrefix(rest, byteOrderMark):
		s.pos += len(byteOrderMark)
		s.out.WriteByte(' ')
		return nil
	case strings.IndexByte("([{", c) >= 0:
		s.depth++
	case strings.IndexByte(")]}", c) >= 0:
		s.depth--
	}
	if s.depth < 0 {
		return badRequest("the document closes a bracket that it did not open")
	}
	if s.depth > s.maxDepth {
		return badRequest("the document is nested more than %d levels deep", s.maxDepth)
	}
	s.out.WriteByte(rest[0])
	s.pos++
	return nil
}

// numberBesideName finds what graphql-core refuses and gqlparser takes for two tokens: 1cursor, 1e3else. What is wrong
// with a number in itself is for the parser to say.
func numberBesideName(text string) bool {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case isNameByte(c) && !isDigit(c):
			for i < len(text) && isNameByte(text[i]) {
				i++
			}
		case isDigit(c):
			i += numberLength(text[i:])
			if i < len(text) && isNameByte(text[i]) {
				return true
			}
		default:
			i++
		}
	}
	return false
}

// numberLength is the length of the digits, fraction and exponent at the start of text, whole or not.
func numberLength(text string) int {
	i := digits(text)
	if i < len(text) && text[i] == '.' {
		i += 1 + digits(text[i+1:])
	}
	if i == len(text) || text[i]|0x20 != 'e' {
		return i
	}
	if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
		i++
	}
	return i + digits(text[i:])
}

// digits counts those at the start of text.
func digits(text string) int {
	i := 0
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isNameByte reports whether names may have the byte in them.
func isNameByte(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)
}

// quotedString copies an ordinary string. What its escapes mean is left to the parser, but for lone surrogates, which
// the parser would turn into U+FFFD and graphql-core refuses.
func (s *scanner) quotedString() error {
	rest := s.in[s.pos:]
	end := 1
	for end < len(rest) && rest[end] != '"' {
		if rest[end] == '\n' || rest[end] == '\r' {
			return badRequest("a string is not closed on its line")
		}
		if rest[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(rest) {
		return badRequest("a string is not closed")
	}
	literal := rest[:end+1]
	if loneSurrogate(literal) {
		return badRequest("a string holds half of a surrogate pair")
	}
	s.out.WriteString(literal)
	// Without the space an empty string and the one after it would look like the start of a block string.
	s.out.WriteByte(' ')
	s.pos += len(literal)
	return nil
}

// blockString writes the value of a block string as an ordinary string, and after it the line ends that went, so that
// the parser's errors name the right line.
func (s *scanner) blockString() error {
	rest := s.in[s.pos+len(blockQuote):]
	var raw strings.Builder
	for i := 0; i < len(rest); i++ {
		switch {
		case strings.HasPrefix(rest[i:], blockQuote):
			lines := strings.Split(raw.String(), "\n")
			appendString(&s.out, dedent(lines))
			s.out.WriteByte(' ')
			s.out.WriteString(strings.Repeat("\n", len(lines)-1))
			s.pos += len(blockQuote) + i + len(blockQuote)
			return nil
		case strings.HasPrefix(rest[i:], `\`+blockQuote):
			raw.WriteString(blockQuote)
			i += len(blockQuote)
		case strings.HasPrefix(rest[i:], "\r\n"):
			raw.WriteByte('\n')
			i++
		case rest[i] == '\r':
			raw.WriteByte('\n')
		default:
			raw.WriteByte(rest[i])
		}
	}
	return badRequest("a block string is not closed")
}

// dedent is BlockStringValue of the GraphQL specification (October 2021, section 2.9.4): the indentation that all lines
// but the first have in common goes, and so do blank lines at either end.
func dedent(lines []string) string {
	common, first, last := math.MaxInt, -1, -1
	for i, line := range lines {
		indent := len(line) - len(strings.TrimLeft(line, " \t"))
		if indent == len(line) {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
		if i > 0 {
			common = min(common, indent)
		}
	}
	if first < 0 {
		return ""
	}
	for i := 1; i < len(lines); i++ {
		lines[i] = lines[i][min(common, len(lines[i])):]
	}
	return strings.Join(lines[first:last+1], "\n")
}

// appendString writes a string literal that every GraphQL reader takes for the same value: printable characters as
// themselves, in UTF-8, and the rest by the escapes that JSON knows too.
func appendString(out *strings.Builder, value string) {
	const hex = "0123456789ABCDEF"
	out.WriteByte('"')
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case strings.IndexByte("\b\f\n\r\t", c) >= 0:
			out.WriteByte('\\')
			out.WriteByte("bfnrt"[strings.IndexByte("\b\f\n\r\t", c)])
		case c < 0x20 || c == 0x7F:
			out.WriteString(`\u00`)
			out.WriteByte(hex[c>>4])
			out.WriteByte(hex[c&0xF])
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
}

// lengthUntil is the length of text before the first of the given bytes.
func lengthUntil(text, stop string) int {
	for i := range len(text) {
		if strings.IndexByte(stop, text[i]) >= 0 {
			return i
		}
	}
	return len(text)
}
