package harness

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func loadText(t *testing.T, text string) (*Transcript, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "t.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file)
}

func TestLoad(t *testing.T) {
	step := func(request, response string) string {
		return `{"name":"n","steps":[{"request":` + request + `,"response":` + response + `}]}`
	}
	get := `{"method":"GET","path":"/"}`
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"json", step(get, `{"status":200,"json":{"a":1}}`), true},
		{"null is a body", step(get, `{"status":200,"json":null}`), true},
		{"no body", step(get, `{"status":200}`), false},
		{"two bodies", step(get, `{"status":200,"json":1,"text":""}`), false},
		{"unknown member", step(get, `{"status":200,"jason":1}`), false},
		{"relative path", step(`{"method":"GET","path":"x"}`, `{"status":200,"none":true}`), false},
		{"two request bodies", step(`{"method":"PUT","path":"/","json":1,"text":""}`, `{"status":200,"none":true}`), false},
		{"bad base64", step(get, `{"status":200,"base64":"*"}`), false},
		{"not JSON", "x", false},
	}
	for _, tt := range tests {
		if _, err := loadText(t, tt.text); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestCompareBody(t *testing.T) {
	const mixed = "--b\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n" +
		"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=\"f\"\r\n\r\nhi\r\n" +
		"--b\r\nContent-Type: multipart/related; boundary=c\r\n\r\n--c\r\n\r\n\xff\r\n--c--\r\n--b--"
	const mixedWant = `"multipart":{"type":"multipart/mixed","parts":[
		{"headers":{"content-type":"application/json"},"json":{"a":1}},
		{"headers":{"<<superset>>":{"content-disposition":"attachment; filename=\"f\""}},"text":"hi"},
		{"headers":"<<any>>","multipart":{"type":"multipart/related","parts":[{"headers":{},"base64":"/w=="}]}}]}`
	tests := []struct {
		name, want, got string
		path            string // of the first difference, "" for none
	}{
		{"json", `"json":{"a":1}`, "{\"a\":1}\n", ""},
		{"json with more behind", `"json":{"a":1}`, `{"a":1}{}`, "$"},
		{"json cut short", `"json":{"a":1}`, `{"a":1`, "$"},
		{"json not in UTF-8", `"json":"<<any>>"`, "\"\xff\"", "$"},
		{"empty for json", `"json":"<<any>>"`, "", "$"},
		{"text", `"text":"ab\n"`, "ab\n", ""},
		{"text with another end", `"text":"ab\n"`, "ab", "body at byte 2"},
		{"wildcards are no text", `"text":"<<any>>"`, "x", "body at byte 0"},
		{"base64", `"base64":"AAE="`, "\x00\x01", ""},
		{"other bytes", `"base64":"AAE="`, "\x00\x02", "body at byte 1"},
		{"none", `"none":true`, "whatever", ""},
		{"lines", `"lines":[{"a":1},{"b":2}]`, "\n{\"a\":1}\n\n{\"b\":2}\n", ""},
		{"a line too many", `"lines":[1]`, "1\n2\n", "lines[1]"},
		{"a line that is not JSON", `"lines":[1]`, "x\n", "lines[0]"},
		{"events", `"events":[{"data":{"a":1},"id":"5"}]`, ": c\n\nevent: heartbeat\ndata: \n\ndata: {\"a\":\ndata: 1}\nid: 5\n\n", ""},
		{"events with carriage returns", `"events":[{"data":1}]`, "data:1\r\n\r\n", ""},
		{"event with another id", `"events":[{"data":1,"id":"5"}]`, "data: 1\nid: 6\n\n", "events[0].id"},
		{"event that does not end", `"events":[{"data":1}]`, "data: 1\n", "events[0]"},
		{"multipart", mixedWant, mixed, ""},
		{"multipart with other JSON", mixedWant, strings.Replace(mixed, `{"a":1}`, `{"a":2}`, 1), "multipart.parts[0].json.a"},
		{"multipart with other text", mixedWant, strings.Replace(mixed, "hi", "ho", 1), "multipart.parts[1].text"},
		{"multipart with other bytes within", mixedWant, strings.Replace(mixed, "\xff", "\xfe", 1), "multipart.parts[2].multipart.parts[0].base64"},
		{"multipart without its end", mixedWant, strings.TrimSuffix(mixed, "--b--"), "multipart.parts[2]"},
		{"not multipart", mixedWant, "{}", "multipart.parts[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr, err := loadText(t, `{"name":"n","steps":[{"request":{"method":"GET","path":"/"},"response":{"status":200,`+tt.want+`}}]}`)
			if err != nil {
				t.Fatal(err)
			}
			got := &rawAnswer{200, http.Header{"Content-Type": {"multipart/mixed; boundary=\"b\""}}, []byte(tt.got)}
			found := compareBody(tr.Steps[0].Response, newPlaceholders(Server{}, nil), got)
			switch {
			case tt.path == "" && len(found) > 0:
				t.Errorf("differences: %v", found)
			case tt.path != "" && (len(found) == 0 || found[0].Path != tt.path):
				t.Errorf("differences: %v, want the first at %s", found, tt.path)
			}
		})
	}
}
