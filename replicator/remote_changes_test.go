package replicator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mangrove-db/mangrove/revtree"
)

func revs(texts ...string) []revtree.ID {
	list := make([]revtree.ID, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = revtree.ParseID(text); err != nil {
			panic(err)
		}
	}
	return list
}

// collect reads a feed until it ends or n rows have come.
func collect(ctx context.Context, p Peer, r ChangesRequest, n int) (rows []string, err error) {
	for row, err := range p.Changes(ctx, r) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, fmt.Sprint(row.Seq, " ", row.ID, " ", row.Revs))
		if len(rows) == n {
			break
		}
	}
	return rows, nil
}

func TestChangesForms(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       []string
		ok         bool
	}{
		{"strings", `{"results":[
{"seq":"1-abc","id":"a","changes":[{"rev":"1-x"},{"rev":"2-y"}]},
{"seq":"2-\u00e9","id":"b\"","changes":[{"rev":"1-x"}],"deleted":true,"doc":{"seq":[1,{"a":"]}"}]}}
],
"last_seq":"3-z","pending":0}
`, []string{`1-abc a [1-x 2-y]`, `2-é b" [1-x]`, `3-z  []`}, true},
		{"numbers", `{"results":[{"seq":1,"id":"a","changes":[{"rev":"1-x"}]}],"last_seq":1}`, []string{`1 a [1-x]`}, true},
		{"BigCouch", `{"last_seq":[1,"x"],"results":[{"seq":[2,"y"],"id":"a","changes":[{"rev":"1-x"}]}]}`, []string{`[1,"x"]  []`, `[2,"y"] a [1-x]`}, true},
		{"no sequence", `{"results":[{"seq":4,"id":"a","changes":[{"rev":"1-x"}]},{"seq":null,"id":"b","changes":[{"rev":"1-x"}]}],"last_seq":5}`, []string{`4 a [1-x]`, `4 b [1-x]`, `5  []`}, true},
		{"empty", "\n\n{\"results\":[\n\n\n],\"last_seq\":0}", nil, true},
		{"no object", `[]`, nil, false},
		{"row without id", `{"results":[{"seq":1,"changes":[]}]}`, nil, false},
		{"row without revision", `{"results":[{"seq":1,"id":"a","changes":[]}]}`, nil, false},
		{"bad revision", `{"results":[{"seq":1,"id":"a","changes":[{"rev":"x"}]}]}`, nil, false},
		{"bad JSON", `{"results":[{"seq":1,"id":"a","changes":[{"rev":"1-x"}]}}`, []string{`1 a [1-x]`}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, test.body) })
			rows, err := collect(t.Context(), s.remote(RemoteOptions{}), ChangesRequest{}, -1)
			if !slices.Equal(rows, test.want) || (err == nil) != test.ok {
				t.Errorf("%q, %v", rows, err)
			}
		})
	}
}

func TestChangesRequests(t *testing.T) {
	for _, test := range []struct {
		r          ChangesRequest
		want, body string
	}{
		{ChangesRequest{}, "GET feed=normal&heartbeat=10000&since=0&style=main_only", ""},
		{ChangesRequest{Since: `5-"x+y`, Filter: FilterSpec{AllLeaves: true}}, "GET feed=normal&heartbeat=10000&since=5-%22x%2By&style=all_docs", ""},
		{ChangesRequest{Filter: FilterSpec{Name: "_doc_ids", DocIDs: []string{"a", `b"`}}}, "POST feed=normal&filter=_doc_ids&heartbeat=10000&since=0&style=main_only", `{"doc_ids":["a","b\""]}`},
		{ChangesRequest{Filter: FilterSpec{Name: "_selector", Selector: []byte(`{"a":1}`)}}, "POST feed=normal&filter=_selector&heartbeat=10000&since=0&style=main_only", `{"selector":{"a":1}}`},
		{
			ChangesRequest{Filter: FilterSpec{Name: "d/f"}, Query: map[string]string{"x": "ä b", "since": "99", "timeout": "1"}},
			"GET feed=normal&filter=d%2Ff&heartbeat=10000&since=0&style=main_only&x=%C3%A4+b", "",
		},
		{ChangesRequest{Inline: 9, Query: map[string]string{"inline_revs": "5"}}, "GET feed=normal&heartbeat=10000&inline_revs=9&since=0&style=main_only", ""},
		{ChangesRequest{Filter: FilterSpec{Name: "_view", View: "d/v"}}, "GET feed=normal&filter=_view&heartbeat=10000&since=0&style=main_only&view=d%2Fv", ""},
	} {
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if got := r.Method + " " + r.URL.RawQuery; got != test.want || string(b) != test.body {
				t.Errorf("%s %s\nwant %s %s", got, b, test.want, test.body)
			}
			if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json" {
				t.Error(r.Header)
			}
			reply(w, 200, `{"results":[],"last_seq":0}`)
		})
		if _, err := collect(t.Context(), s.remote(RemoteOptions{}), test.r, -1); err != nil {
			t.Error(err)
		}
	}
}

// feedFrom is the text of a feed of n changes after since, and the places at which its rows are complete.
func feedFrom(since, n int, continuous bool) (text string, ends []int) {
	var b strings.Builder
	if !continuous {
		b.WriteString("{\"results\":[\n")
	}
	for i := since + 1; i <= n; i++ {
		fmt.Fprintf(&b, `{"seq":"%d-s","id":"doc%d","changes":[{"rev":"1-x"}]}`, i, i)
		ends = append(ends, b.Len())
		if !continuous && i < n {
			b.WriteByte(',')
		}
		b.WriteString("\n")
	}
	if !continuous {
		b.WriteString("],\n")
	}
	fmt.Fprintf(&b, `{"last_seq":"%d-s","pending":0}`+"\n", n)
	text = b.String()
	if !continuous {
		text = strings.Replace(text, "],\n{", "],\n", 1)
	}
	return text, ends
}

// TestChangesCutAnywhere breaks the first connection at every byte: the feed goes on without losing or repeating a row.
func TestChangesCutAnywhere(t *testing.T) {
	const n = 4
	for _, continuous := range []bool{false, true} {
		whole, ends := feedFrom(0, n, continuous)
		first, at := true, 0
		var sinces []string
		s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
			since := r.URL.Query().Get("since")
			sinces = append(sinces, since)
			if first {
				first = false
				cut(w, whole, at)
				return
			}
			var from int
			_, _ = fmt.Sscanf(since, "%d", &from)
			text, _ := feedFrom(from, n, continuous)
			_, _ = io.WriteString(w, text)
			if continuous {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
		})
		var want []string
		for i := 1; i <= n; i++ {
			want = append(want, fmt.Sprintf("%d-s doc%d [1-x]", i, i))
		}
		r := s.remote(RemoteOptions{})
		for at = 0; at < len(whole); at++ {
			first, sinces = true, nil
			limit := -1
			if continuous {
				limit = n
			}
			rows, err := collect(t.Context(), r, ChangesRequest{Continuous: continuous}, limit)
			if err != nil || !slices.Equal(rows, want) {
				t.Fatalf("cut at %d: %q, %v", at, rows, err)
			}
			complete := 0
			for _, end := range ends {
				if end <= at {
					complete++
				}
			}
			if wanted := "0"; len(sinces) > 1 {
				if complete > 0 {
					wanted = fmt.Sprintf("%d-s", complete)
				}
				if sinces[1] != wanted {
					t.Fatalf("cut at %d: goes on from %q, want %q", at, sinces[1], wanted)
				}
			}
		}
	}
}

func TestChangesContinuous(t *testing.T) {
	n := 0
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		if r.URL.Query().Get("feed") != "continuous" || r.Header.Get("Accept-Encoding") != "" {
			t.Error(r.URL, r.Header)
		}
		_, _ = fmt.Fprintf(w, "\n\n{\"seq\":%d,\"id\":\"a\",\"changes\":[{\"rev\":\"1-x\"}]}\n\n", 2*n)
		_ = http.NewResponseController(w).Flush()
		_, _ = fmt.Fprintf(w, "{\"last_seq\":%d,\"pending\":0}\n", 2*n+1)
	})
	rows, err := collect(t.Context(), s.remote(RemoteOptions{}), ChangesRequest{Continuous: true}, 4)
	if want := []string{"2 a [1-x]", "3  []", "4 a [1-x]", "5  []"}; err != nil || !slices.Equal(rows, want) {
		t.Errorf("%q, %v", rows, err)
	}
	if got := s.requests(); len(got) < 2 || !strings.Contains(got[1], "since=3&") {
		t.Error(got)
	}
}

// TestChangesDeadPeer checks that a peer that says nothing any more is noticed, asked anew, and given up in the end.
func TestChangesDeadPeer(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	r := s.remote(RemoteOptions{ConnectionTimeout: 15 * time.Millisecond, Retries: 2})
	_, err := collect(t.Context(), r, ChangesRequest{Continuous: true}, -1)
	if !errors.Is(err, errSilent) {
		t.Error(err)
	}
	if got := s.requests(); len(got) != 3 || !strings.Contains(got[0], "heartbeat=5&") {
		t.Error(got)
	}
}

func TestChangesErrors(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"results":[{"error":"timeout","reason":"no"}]}`)
	})
	if _, err := collect(t.Context(), s.remote(RemoteOptions{}), ChangesRequest{}, -1); !errors.Is(err, errFeedFailed) {
		t.Error(err)
	}
	if n := len(s.requests()); n != 6 {
		t.Errorf("%d requests", n)
	}
	s = newScript(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 404, `{"error":"not_found","reason":"missing json key: filters"}`)
	})
	_, err := collect(t.Context(), s.remote(RemoteOptions{}), ChangesRequest{}, -1)
	if err == nil || errors.Is(err, ErrNoDatabase) || !strings.Contains(err.Error(), "missing json key: filters") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rows, err := collect(ctx, s.remote(RemoteOptions{}), ChangesRequest{}, -1); rows != nil || err != nil {
		t.Error(rows, err)
	}
}

// FuzzChangesStream feeds both readers of a feed. They must not panic, and what they accept must be what encoding/json
// finds in it.
func FuzzChangesStream(f *testing.F) {
	for _, continuous := range []bool{false, true} {
		text, _ := feedFrom(0, 2, continuous)
		f.Add([]byte(text), continuous)
	}
	f.Add([]byte(`{"results":[{"seq":[1,"\\\""],"id":"\u00e9","changes":[{"rev":"1-x"}]}],"last_seq":null}`), false)
	f.Add([]byte("\n{\"error\":\"x\"}"), true)
	f.Add([]byte(`{"results":[{"seq":1,"id":"a","changes":[{"rev":"1-x"}],"revisions":[{"_id":"a","_rev":"1-x"}]}],"last_seq":1}`), false)
	f.Add([]byte(`{"results":[{"seq":1,"id":"a","changes":[{"rev":"1-x"},{"rev":"1-y"}],"revisions":[{"_id":"a","_rev":"1-x"},{"_id":"a","_rev":"1-y"}]}]}`), false)
	f.Fuzz(func(t *testing.T, text []byte, continuous bool) {
		r := &Remote{c: &client{base: &url.URL{}}}
		var rows []ChangeRow
		fd := &feed{r: r, since: "0", request: ChangesRequest{Continuous: continuous, Inline: 1000}, yield: func(row ChangeRow, err error) bool {
			if err != nil || row.ID != "" && len(row.Revs) == 0 || row.Seq == "" && row.ID == "" {
				t.Errorf("%+v, %v", row, err)
			}
			if revs, ok := inlined(&row); ok {
				for i, rev := range revs {
					if rev.Doc.ID != row.ID || rev.Doc.Rev != row.Revs[i] || len(rev.Doc.Attachments) > 0 || len(revs) != len(row.Revs) {
						t.Errorf("%+v brings %+v", row, rev.Doc)
					}
				}
			}
			rows = append(rows, row)
			return true
		}}
		src := &slowReader{text: text}
		a := &answer{client: r.c, status: http.StatusOK, body: &answerBody{src: src, release: func() {}}}
		if err := fd.read(a); err != nil || continuous {
			return
		}
		var whole map[string]json.RawMessage
		var want []json.RawMessage
		if json.Unmarshal(text, &whole) != nil || json.Unmarshal(whole["results"], &want) != nil {
			return // it is looser than JSON
		}
		n := 0
		for _, row := range rows {
			if row.ID != "" {
				n++
			}
		}
		if n < len(want) { // of members with equal names all are read
			t.Errorf("%d rows of %d in %s", n, len(want), text)
		}
	})
}

// slowReader gives few bytes at a time.
type slowReader struct {
	text []byte
	n    int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	r.n = r.n%7 + 1
	n := copy(p, r.text[:min(r.n, len(r.text))])
	r.text = r.text[n:]
	return n, nil
}

func BenchmarkChangesStream(b *testing.B) {
	text, _ := feedFrom(0, 1000, false)
	r := &Remote{c: &client{base: &url.URL{}}}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		fd := &feed{r: r, yield: func(ChangeRow, error) bool { return true }}
		a := &answer{client: r.c, status: http.StatusOK, body: &answerBody{src: strings.NewReader(text), release: func() {}}}
		if err := fd.read(a); err != nil {
			b.Fatal(err)
		}
	}
}
