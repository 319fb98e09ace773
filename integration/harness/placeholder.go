package harness

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// placeholders replaces the names in curly brackets of a transcript: those of
// databases and of the server by fixed values, {{bound}} ones by values taken
// from answers. What it does not know it leaves alone.
type placeholders struct {
	fixed map[string]string
	bound map[string]string
}

var placeholder = regexp.MustCompile(`\{\{pad:([0-9]+)\}\}|\{\{([A-Za-z0-9_]+)\}\}|\{(db[0-9]*|base|authbase|hostport)\}`)

// maxPad bounds {{pad:N}}, so that a slip in a transcript cannot eat all memory.
const maxPad = 64 << 20

func newPlaceholders(s Server, databases []string) *placeholders {
	p := &placeholders{fixed: map[string]string{}, bound: map[string]string{}}
	p.fixed["base"] = s.base()
	p.fixed["authbase"] = s.authBase()
	p.fixed["hostport"] = s.hostPort()
	for _, name := range databases {
		p.fixed[name] = freshDatabase()
	}
	return p
}

// freshDatabase chooses a database name that no other replay uses.
func freshDatabase() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return "conf-" + hex.EncodeToString(b[:])
}

// expand replaces the placeholders of plain text.
func (p *placeholders) expand(s string) string {
	return p.replace(s, func(v string) string { return v })
}

// expandJSON replaces the placeholders inside the strings of a JSON text. The
// text is otherwise kept byte by byte: the order of members matters to a
// document's revision.
func (p *placeholders) expandJSON(text []byte) []byte {
	return []byte(p.replace(string(text), func(v string) string {
		quoted, _ := json.Marshal(v) // a string always marshals
		return string(quoted[1 : len(quoted)-1])
	}))
}

func (p *placeholders) replace(s string, quote func(string) string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	return placeholder.ReplaceAllStringFunc(s, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		switch {
		case m[1] != "":
			n, err := strconv.Atoi(m[1])
			if err != nil || n > maxPad {
				return found
			}
			return strings.Repeat("x", n)
		case m[2] != "":
			if v, ok := p.bound[m[2]]; ok {
				return quote(v)
			}
		default:
			if v, ok := p.fixed[m[3]]; ok {
				return quote(v)
			}
		}
		return found
	})
}

// expandValue replaces the placeholders in all strings and member names of v.
func (p *placeholders) expandValue(v any) any {
	switch v := v.(type) {
	case string:
		return p.expand(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = p.expandValue(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[p.expand(k)] = p.expandValue(e)
		}
		return out
	}
	return v
}
