package e2e

import (
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf16"
)

// request makes a case: a document, some way of sending it, and things done to it on the way.
func (m *caseMaker) request(d dice) languageCase {
	switch roll := d.IntN(100); {
	case roll < 68:
		doc, text := m.document(d, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2)
		return m.post(d, doc, text)
	case roll < 80:
		doc, text := m.document(d, 2, 2, 2, 2, 2, 2, 2, 0, 1)
		return m.frame(d, doc, text)
	case roll < 90:
		doc, text := m.document(d, 0, 1, 2)
		return m.anyDoor(d, doc, text)
	case roll < 95:
		return m.oddBody(d)
	default:
		return m.seeded(d)
	}
}

// document is a generated text, or one of the seeds; half of them are changed in some place.
func (m *caseMaker) document(d dice, kinds ...int) (document, string) {
	doc := document{}
	switch roll := d.IntN(100); {
	case roll < 3 && len(m.documents.ui) > 0:
		// The UI's documents are long: a change in one is hardly ever more telling than in a short one.
		doc.tokens = tokenize(pick(d, m.documents.ui))
	case roll < 8:
		doc.tokens = tokenize(pick(d, m.seeds.documents))
	default:
		doc = m.documents.make(d, kinds...)
	}
	tokens := doc.tokens
	if d.chance(15) {
		tokens = mutateTokens(d, tokens)
	}
	text := joinTokens(d, tokens)
	if d.chance(10) {
		text = mutateBytes(d, text)
	}
	return doc, text
}

// post is a JSON body as clients send it, with any document.
func (m *caseMaker) post(d dice, doc document, text string) languageCase {
	members := [][2]string{{`"query"`, jsonEncode(d, text)}}
	if name, given := operationName(d, doc); given {
		members = append(members, [2]string{`"operationName"`, name})
	}
	if len(doc.variables) > 0 || d.chance(30) {
		members = append(members, [2]string{`"variables"`, variablesJSON(d, doc)})
	}
	return postCase(jsonObject(d, members))
}

// operationName is JSON: most times one of the document's own when it has several.
func operationName(d dice, doc document) (string, bool) {
	switch {
	case d.chance(4):
		return pick(d, []string{`""`, "null", "1", `"A"`, `"nope"`, "[]", "{}", "false", `"\u0041"`, `" A"`, `"a"`}), true
	case len(doc.names) == 1 && d.chance(70), len(doc.names) == 0, d.chance(5):
		return "", false
	}
	name := pick(d, doc.names)
	return jsonString(name), name != ""
}

func variablesJSON(d dice, doc document) string {
	members := make([][2]string, 0, len(doc.variables))
	for _, v := range doc.variables {
		members = append(members, [2]string{jsonKey(d, v.name), v.json})
	}
	if d.chance(10) {
		members = append(members, [2]string{`"extra"`, pick(d, []string{"1", "null", "{}", `"v"`, "1e999", "-0"})})
	}
	text := jsonObject(d, members)
	switch roll := d.IntN(100); {
	case roll < 8:
		return jsonEncode(d, text)
	case roll < 10:
		return pick(d, []string{"null", "[]", `""`, `"null"`, `"[]"`, "1", "false", `"{"`, `"{} "`, `" {}"`, `"\ufeff{}"`, `"1"`, `"{\"a\":1,\"a\":2}"`, `"NaN"`, `"{\"a\":\"\u0001\"}"`})
	}
	return text
}

// jsonObject writes members in a random layout, and rarely one of them twice.
func jsonObject(d dice, members [][2]string) string {
	if len(members) > 1 && d.chance(30) {
		d.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	}
	if len(members) > 0 && d.chance(2) {
		members = append(members, pick(d, members))
	}
	space := func() string { return "" }
	if d.chance(10) {
		space = func() string { return pick(d, []string{"", " ", "\n", "\t", "\r\n", "  "}) }
	}
	var out strings.Builder
	out.WriteString(space() + "{")
	for i, member := range members {
		if i > 0 {
			out.WriteString(space() + ",")
		}
		out.WriteString(space() + member[0] + space() + ":" + space() + member[1])
	}
	out.WriteString(space() + "}" + space())
	return out.String()
}

// jsonKey spells a key in one of the ways that JSON has for it.
func jsonKey(d dice, name string) string {
	if d.chance(95) || name == "" {
		return jsonString(name)
	}
	i := d.IntN(len(name))
	escaped := `\u00` + string("0123456789abcdef"[name[i]>>4]) + string("0123456789ABCDEF"[name[i]&15])
	return `"` + name[:i] + escaped + name[i+1:] + `"`
}

// jsonText is a JSON string with odd things in it.
func jsonText(d dice) string {
	pieces := []string{
		"a", " ", `\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0041`, `\ud83d\ude00`, "\u2028", "\u0085", "\ufeff", `\u0000`, `\uFFFF`, "😀", "\x7f", "<", "&", `\u003c`, "é", "\ufffd",
	}
	var out strings.Builder
	for range d.IntN(3) {
		if d.chance(2) {
			out.WriteString(pick(d, []string{`\ud800`, `\udc00`, `\ud83d\ud83d`, "\n", "\x01", "\xff", `\x`, `\u12`, `\u{41}`, "\xed\xa0\x80"}))
			continue
		}
		out.WriteString(pick(d, pieces))
	}
	return `"` + out.String() + `"`
}

// jsonEncode writes any bytes as a JSON string: what is no UTF-8 goes in as it is.
func jsonEncode(d dice, text string) string {
	const hex = "0123456789abcdef"
	escapes := d.chance(10)
	var out strings.Builder
	out.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			out.WriteString(`\` + string(rune(c)))
		case c == '\n':
			out.WriteString(`\n`)
		case c < 0x20 || escapes && c < 0x7f && d.chance(20):
			out.WriteString(`\u00` + string(hex[c>>4]) + string(hex[c&15]))
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// frame sends the document over the WebSocket.
func (m *caseMaker) frame(d dice, doc document, text string) languageCase {
	payload := [][2]string{{jsonKey(d, "query"), jsonEncode(d, text)}}
	if name, given := operationName(d, doc); given {
		key := pick(d, []string{`"operation_name"`, `"operationName"`, `"operation_name"`, `"OperationName"`})
		payload = append(payload, [2]string{key, name})
		if d.chance(10) {
			payload = append(payload, [2]string{`"operation_name"`, pick(d, []string{name, `"B"`, "null", `""`})})
		}
	}
	if len(doc.variables) > 0 || d.chance(30) {
		payload = append(payload, [2]string{`"variables"`, variablesJSON(d, doc)})
	}
	kind := `"start"`
	if d.chance(6) {
		kind = pick(d, []string{`"subscribe"`, `"stop"`, `"connection_init"`, `"connection_terminate"`, `"START"`, `"st\u0061rt"`, "null", `"start "`, `"data"`, `["start"]`})
	}
	members := [][2]string{{jsonKey(d, "type"), kind}, {`"payload"`, jsonObject(d, payload)}}
	switch roll := d.IntN(100); {
	case roll < 4:
		members = append(members, [2]string{`"id"`, pick(d, []string{`"é"`, "1", "null", `""`, `"\u0000"`, "[]"})})
	case roll < 98:
		members = append(members, [2]string{`"id"`, `"1"`})
	}
	text = jsonObject(d, members)
	if d.chance(4) {
		text = mutateBytes(d, text)
	}
	return languageCase{Frame: strings.ToValidUTF8(text, "?")}
}

// anyDoor sends the document in one of the other ways in which Dagster takes it, or seems to.
func (m *caseMaker) anyDoor(d dice, doc document, text string) languageCase {
	c := languageCase{Method: pick(d, []string{"GET", "POST", "GET", "POST"}), Target: oddPath(d)}
	if d.chance(80) {
		c.Target = "/graphql"
	}
	if d.chance(5) {
		c.Method = pick(d, []string{"HEAD", "PUT", "post", "QUERY", "OPTIONS", "get"})
	}
	pairs := []string{queryKey(d, "query") + "=" + queryEscape(d, text)}
	if name, given := operationName(d, doc); given {
		pairs = append(pairs, queryKey(d, "operationName")+"="+queryEscape(d, strings.Trim(name, `"`)))
	}
	if len(doc.variables) > 0 {
		pairs = append(pairs, queryKey(d, "variables")+"="+queryEscape(d, variablesJSON(d, doc)))
	}
	if d.chance(15) {
		pairs = append(pairs, pick(d, []string{"op=A", "query=%7Bversion%7D", "query=mutation%7BsetNuxSeen%7D", "Query=x", "query", "=", "", "%71uery=x", "query%00=x", "query[]=x", "a;query=x", "operationName=", "operationName", "variables="}))
	}
	if d.chance(20) {
		d.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	}
	inURL := c.Method == http.MethodGet || d.chance(30)
	if inURL {
		c.Target += "?" + strings.Join(pairs, pick(d, []string{"&", "&", "&", "&", "&&", ";", "&amp;", "&\u00a0"}))
	}
	if d.chance(25) {
		c.Headers = append(c.Headers, [2]string{pick(d, []string{"Accept", "accept"}), pick(d, []string{"text/html", "*/*", "TEXT/HTML", "application/json, text/html;q=0", "text/htmlx", "text/ html"})})
	}
	if c.Method != http.MethodGet || d.chance(10) {
		c.Headers = append(c.Headers, contentTypes(d)...)
		c.Body = pick(d, []string{text, jsonObject(d, [][2]string{{`"query"`, jsonEncode(d, text)}}), strings.Join(pairs, "&")})
	}
	return c
}

func oddPath(d dice) string {
	return pick(d, []string{
		"/graphql/", "//graphql", "/%67raphql", "/graphql%2f", "/GraphQL", "/graphql;x", "/graphql%00", "/a/../graphql", "/./graphql", "/graphql%20", "/graphql%0a",
		"/graphql%3Fquery={version}", "/%2567raphql", "/runs", "/graphql//", "/graphql\\", "/graphql%5c", "/logs/graphql", "/notebook", "/server_info", "/graphq%6C", "/gr%C3%A4phql", "/graphql.", "/", "*", "graphql",
		"http://x/graphql", "//x/graphql", "/graphql%E2%80%A8", "/graphql#", "/%2fgraphql", "/report_asset_check/a",
	})
}

func queryKey(d dice, name string) string {
	if d.chance(92) {
		return name
	}
	return pick(d, []string{strings.ToUpper(name), "%" + hexByte(name[0]) + name[1:], name + "%00", " " + name, name + "+", name + "[]", "\ufeff" + name, "%EF%BB%BF" + name})
}

func hexByte(b byte) string {
	const hex = "0123456789abcdef"
	return string(hex[b>>4]) + string(hex[b&15])
}

// queryEscape writes a value of a query string, most times as a browser would.
func queryEscape(d dice, text string) string {
	escaped := url.QueryEscape(text)
	switch roll := d.IntN(100); {
	case roll < 20:
		return strings.ReplaceAll(escaped, "+", "%20")
	case roll < 25:
		return strings.NewReplacer("%7B", "{", "%7D", "}", "%28", "(", "%3A", ":", "%24", "$").Replace(escaped)
	case roll < 28:
		return escaped + pick(d, []string{"%", "%4", "%GG", "%ff", "%c3%28", "%u0041", "%00", ";", "%ED%A0%80", "+", "%26query%3D", "\xc3\xa9"})
	}
	return escaped
}

func contentTypes(d dice) [][2]string {
	one := func() [2]string {
		return [2]string{pick(d, []string{"Content-Type", "Content-Type", "content-type"}), pick(d, []string{
			"application/json", "application/json", "application/graphql", "application/graphql", "application/json; charset=utf-8", "application/json;charset=UTF-16",
			"Application/JSON", "application/graphql; charset=utf-8", "application/graphql+json", "text/plain", "text/plain; x=application/json", "application/jsonp",
			"application/x-www-form-urlencoded", "multipart/form-data; boundary=application/json", "", "application/json, application/graphql", "application/graphql, application/json",
			"application/json;", "application/json; charset=utf-8; charset=latin-1", "application/json ", "xapplication/json", "application/json\t;x", "application/json;application/graphql", "application/graphql-response+json",
			`application/json; charset="utf-8"`, "application/json; charset=utf8", "application/json; charset=\"", "application /json",
		})}
	}
	switch roll := d.IntN(100); {
	case roll < 5:
		return nil
	case roll < 12:
		return [][2]string{one(), one()}
	case roll < 16:
		return [][2]string{one(), {pick(d, []string{"Content-Encoding", "Content-Charset"}), pick(d, []string{"gzip", "identity", "utf-16", ""})}}
	}
	return [][2]string{one()}
}

// oddBody is JSON, or nearly, that readers are known to take in different ways.
func (m *caseMaker) oddBody(d dice) languageCase {
	doc, text := m.documents.make(d, 0, 1), ""
	text = joinTokens(d, doc.tokens)
	members := [][2]string{{`"query"`, jsonEncode(d, text)}, {`"variables"`, variablesJSON(d, doc)}}
	if name, given := operationName(d, doc); given {
		members = append(members, [2]string{`"operationName"`, name})
	}
	other := pick(d, []string{`"{version}"`, `"mutation{setNuxSeen}"`, "null", `""`, "1", "[]"})
	key := pick(d, []string{
		`"query"`, `"Query"`, `"QUERY"`, `"\u0071uery"`, `"quer\u0079"`, `"query\u0000"`, `"query "`, `"\ufeffquery"`, `"operationName"`, `"operationname"`, `"variables"`, `"Variables"`, `"extensions"`,
		`"\uD800query"`, `"operation_name"`, "query", "'query'", `"que\/ry"`, `"qu\u0065ry"`, `"quеry"`, `"variableſ"`, `"documentId"`, `"__proto__"`,
	})
	members = append(members, [2]string{key, other})
	body := jsonObject(d, members)
	switch d.IntN(14) {
	case 0:
		body = "\ufeff" + body
	case 1:
		body = inUTF16(body, pick(d, []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}), d.chance(50))
	case 2:
		body += pick(d, []string{"x", "{}", "\x00", "//c", "\u00a0", ",", "\ufeff", "\n\v"})
	case 3:
		body = "[" + body + "]"
	case 4:
		body = strings.ReplaceAll(body, "{", pick(d, []string{"{,", "{\u00a0", "{/**/", "{\f", "{ \x00"}))
	case 5:
		body = strings.Replace(body, ":", pick(d, []string{": NaN,\"q\":", ":Infinity,\"x\":", ":-0,\"x\":", ":01,\"x\":", ": 1e999,\"x\":", ":+1,\"x\":", ":1.,\"x\":", ":.5,\"x\":"}), 1)
	case 6:
		body = strings.Replace(body, "{", `{"x":`+strings.Repeat("[", d.IntN(1200))+pick(d, []string{"", "1", "null"})+strings.Repeat("]", d.IntN(1200))+",", 1)
	case 7:
		body = mutateBytes(d, body)
	case 8:
		body = strings.Replace(body, `"query":`, `"query":`+other+`,"query":`, 1)
	}
	return postCase(body)
}

func inUTF16(text string, order binary.ByteOrder, mark bool) string {
	var data []byte
	if mark {
		text = "\ufeff" + text
	}
	for _, unit := range utf16.Encode([]rune(text)) {
		data = append(data, 0, 0)
		order.PutUint16(data[len(data)-2:], unit)
	}
	return string(data)
}

// seeded changes a request that was tried before.
func (m *caseMaker) seeded(d dice) languageCase {
	switch d.IntN(3) {
	case 0:
		return languageCase{Frame: strings.ToValidUTF8(mutateBytes(d, pick(d, m.seeds.frames)), "?")}
	case 1:
		query := strings.Map(func(r rune) rune {
			if r <= ' ' || r == 0x7f {
				return -1
			}
			return r
		}, mutateBytes(d, pick(d, m.seeds.queries)))
		return languageCase{Method: http.MethodGet, Target: "/graphql?" + query}
	}
	c := postCase(mutateBytes(d, pick(d, m.seeds.bodies)))
	if d.chance(20) {
		c.Headers = contentTypes(d)
	}
	return c
}
