package api

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends text as it stands, ends the sending if cut is set, and returns the first answer that is not 100.
func (n *node) raw(text string, cut bool) *http.Response {
	n.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		n.Fatal(err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		n.Fatal(err)
	}
	if cut {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			n.Fatal(err)
		}
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		n.Fatalf("%.40q: %v", text, err)
	}
	return answer
}

// head is that of a request of the administrator.
func head(method, path string, headers ...string) string {
	credentials := base64.StdEncoding.EncodeToString([]byte(adminName + ":" + adminPassword))
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\n%s\r\n\r\n", method, path, credentials, strings.Join(headers, "\r\n"))
}

// Bodies that cannot be read to their end are the fault of who sends them.
func TestBrokenBody(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	const chunked = "Transfer-Encoding: chunked"
	for _, c := range []struct{ name, method, path, header, body string }{
		{"document", "PUT", "/db/a", "Content-Length: 100", `{"a":`},
		{"attachment", "PUT", "/db/a/x", "Content-Length: 100", `abc`},
		{"chunk", "PUT", "/db/a/x", chunked, "7\r\nabc"},
		{"last chunk", "PUT", "/db/a/x", chunked, "3\r\nabc\r\n"},
		{"no chunk", "PUT", "/db/a/x", chunked, "zz\r\nabc\r\n"},
		{"no chunk in JSON", "PUT", "/db/a", chunked, "zz\r\n{}\r\n"},
		{"bulk", "POST", "/db/_bulk_docs", chunked + "\r\nContent-Type: application/json", "18\r\n" + `{"docs":[{"_id":"a"}]}  ` + "\r\n"},
	} {
		answer := n.raw(head(c.method, c.path, c.header)+c.body, true)
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", c.name, answer.Status)
		}
	}
	n.refused(http.StatusNotFound, "not_found", "missing", "GET", "/db/a", nil)
}

// Who waits to be told to send the body is answered without it, if it is not wanted.
func TestUnwantedBody(t *testing.T) {
	n := newNode(t)
	for _, header := range []string{"Expect: 100-continue\r\nContent-Length: 7", "Content-Length: 7000000"} {
		if answer := n.raw(head("PUT", "/none/a", header), false); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", header, answer.Status)
		}
	}
}

func TestMethodOverride(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "/db", nil)
	n.must("POST", "/db/a", "{}", "X-HTTP-Method-Override: PUT")
	if a := n.must("POST", "/db/a", nil, "X-HTTP-Method-Override: head"); !strings.Contains(string(a.body), `"_id":"a"`) {
		t.Errorf("a POST for HEAD is answered %q", a.body)
	}
}

func TestEmptyPathParts(t *testing.T) {
	n := newNode(t)
	n.must("PUT", "//db/", nil)
	n.must("PUT", "/db//a", "{}")
	n.must("PUT", "//db/b/c//d/", "text")
	n.must("PUT", "/db/e%2F%2Ff", "{}")
	for path, want := range map[string]string{
		"//":                      `"couchdb":"Welcome"`,
		"/_all_dbs/":              `["db"]`,
		"//db//":                  `"db_name":"db"`,
		"/db//a/":                 `"_id":"a"`,
		"/db/_all_docs/?limit=1":  `"id":"a"`,
		"/db/b/c/d":               "text",
		"/db//e%2F%2Ff":           `"_id":"e//f"`,
		"/_node//_local/_system/": `"uptime"`,
	} {
		if a := n.do("GET", path, nil); a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s %.100s", path, a.Status, a.body)
		}
	}
	// These are no parts: they are escaped, or the path is that of a file.
	n.refused(http.StatusNotFound, "not_found", "missing", "GET", "/db/%2Fa", nil)
	if a := n.do("GET", "/_utils/", nil); a.StatusCode == http.StatusMovedPermanently {
		t.Error("/_utils/ is redirected to itself")
	}
}

func TestQueryText(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a+b": "a b", "%22a%22": `"a"`, "100%": "100%", "%": "%", "%zz%41": "%zzA", "%4": "%4", "a;b": "a;b", "%%41+": "%A ",
	} {
		if got := queryText(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	var got []string
	for name, value := range queryParams("a=1&&b&=c&a=%&d=x=y;z") {
		got = append(got, name+":"+value)
	}
	if want := "a:1 b: a:% d:x=y;z"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
