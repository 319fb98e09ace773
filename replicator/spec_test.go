package replicator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustSpec(t testing.TB, text string) *Spec {
	t.Helper()
	s, err := ParseSpec([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestParseSpec(t *testing.T) {
	yes, no, none := true, false, 0
	remote := Endpoint{URL: "http://h/a/"}
	tests := []struct {
		name, text string
		want       Spec
	}{
		{"names", `{"source":"a","target":"folder%2Fb"}`, Spec{Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "folder/b"}}},
		{"system database", `{"source":"_users","target":"x/_replicator"}`, Spec{Source: Endpoint{Name: "_users"}, Target: Endpoint{Name: "x/_replicator"}}},
		{
			"everything", `{"source":"http://h/a","target":"b","continuous":true,"create_target":true,"create_target_params":{"q":"3","n":1,"partitioned":true},
			"winning_revs_only":true,"since_seq":"5-x","use_checkpoints":false,"use_bulk_get":true,"checkpoint_interval":1500,"connection_timeout":"2000",
			"worker_processes":2,"worker_batch_size":99999999,"http_connections":3,"retries_per_request":0,"user_ctx":{"name":"joe","roles":[]},"heartbeat":1}`,
			Spec{
				Source: remote, Target: Endpoint{Name: "b"}, Continuous: true, CreateTarget: true, CreateParams: CreateParams{Q: 3, N: 1, Partitioned: true},
				WinningRevsOnly: true, Since: "5-x", UseCheckpoints: &no, UseBulkGet: &yes, CheckpointInterval: 1500 * time.Millisecond,
				ConnectionTimeout: 2 * time.Second, Workers: 2, BatchSize: mostBatch, Connections: 3, Retries: &none, ByUser: true, User: "joe", Roles: []string{},
			},
		},
		{
			"doc ids", `{"source":"a","target":"b","doc_ids":["b","a%2Fc","b","100%"]}`,
			Spec{Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}, ByDocIDs: true, DocIDs: []string{"100%", "a/c", "b"}},
		},
		{"null doc ids", `{"source":"a","target":"b","doc_ids":null}`, Spec{Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}}},
		{
			"selector", `{"source":"a","target":"b","selector":{ "x" : 1e2 }}`,
			Spec{Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}, Selector: []byte(`{"x":100.0}`)},
		},
		{
			"filter", `{"source":"a","target":"b","filter":"d/f","query_params":{"a":"1","b":[ 2 ]}}`,
			Spec{Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}, Filter: "d/f", Query: map[string]string{"a": "1", "b": "[2]"}},
		},
		{
			"view", `{"source":"a","target":"b","filter":"_view","query_params":{"view":"d/v"}}`,
			Spec{Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}, Filter: "_view", Query: map[string]string{"view": "d/v"}},
		},
		{"sequence of BigCouch", `{"source":"a","target":"b","since_seq":[5, "x"]}`, Spec{Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}, Since: `[5,"x"]`}},
		{"proxy", `{"source":"a","target":"b","proxy":"socks5://u:p@x:1"}`, Spec{
			Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}, SourceProxy: "socks5://u:p@x:1", TargetProxy: "socks5://u:p@x:1",
		}},
		{"two proxies", `{"source":"a","target":"b","source_proxy":"http://x","target_proxy":"https://y"}`, Spec{
			Source: Endpoint{Name: "a"}, Target: Endpoint{Name: "b"}, SourceProxy: "http://x", TargetProxy: "https://y",
		}},
		{"cancel by id", `{"cancel":true,"replication_id":"x+continuous"}`, Spec{Cancel: true, CancelID: "x+continuous"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(&tt.want, mustSpec(t, tt.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseSpecRefuses(t *testing.T) {
	with := func(more string) string { return `{"source":"a","target":"b",` + more + `}` }
	tests := map[string]string{
		`[]`:                                                 "Request body must be a JSON object",
		`{}`:                                                 "Missing replicator database",
		`{"source":"a"}`:                                     "Missing replicator database",
		`{"source":1,"target":"b"}`:                          "endpoint has an invalid url",
		`{"source":{},"target":"b"}`:                         "endpoint has an invalid url",
		`{"source":"ftp://x","target":"b"}`:                  "endpoint has an invalid url",
		`{"source":"http://","target":"b"}`:                  "endpoint has an invalid url",
		`{"source":"A","target":"b"}`:                        "endpoint has an invalid database name",
		with(`"continuous":"true"`):                          "parameter `continuous` must be a boolean",
		with(`"continuous":null`):                            "parameter `continuous` must be a boolean",
		with(`"create_target":1`):                            "parameter `create_target` must be a boolean",
		with(`"winning_revs_only":1`):                        "parameter `winning_revs_only` must be a boolean",
		with(`"use_bulk_get":1`):                             "parameter `use_bulk_get` must be a boolean",
		with(`"use_checkpoints":1`):                          "parameter `use_checkpoints` must be a boolean",
		with(`"cancel":1`):                                   "parameter `cancel` must be a boolean",
		with(`"create_target_params":[]`):                    "parameter `create_target_params` must be a JSON object",
		with(`"doc_ids":"a"`):                                "parameter `doc_ids` must be an array",
		with(`"doc_ids":[1]`):                                "parameter `doc_ids` must be an array",
		with(`"selector":[]`):                                "parameter `selector` must be a JSON object",
		with(`"query_params":[]`):                            "parameter `query_params` must be an object",
		with(`"doc_ids":[],"selector":{}`):                   "`doc_ids`,`filter`,`selector` are mutually exclusive",
		with(`"filter":"x"`):                                 "Invalid filter. Must match `ddocname/filtername`.",
		with(`"filter":"_view"`):                             "`view` must be of the form `designname/viewname`",
		with(`"worker_processes":"few"`):                     "parameter `worker_processes` must be an integer of at least 1",
		with(`"worker_batch_size":0`):                        "parameter `worker_batch_size` must be an integer of at least 1",
		with(`"proxy":"x"`):                                  "proxy has an invalid url",
		with(`"proxy":"http://x","source_proxy":"http://y"`): "`proxy` is mutually exclusive with `source_proxy`",
		with(`"proxy":"http://x","target_proxy":"http://y"`): "`proxy` is mutually exclusive with `target_proxy`",
	}
	for text, want := range tests {
		if _, err := ParseSpec([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestEndpointCredentials(t *testing.T) {
	const basic = "Basic aGVhZGVyOnNlY3JldA==" // header:secret
	tests := []struct{ name, text, user, password string }{
		{"none", `"http://h/a"`, "", ""},
		{"url", `"https://joe:p%40ss@h:6984/a"`, "joe", "p@ss"},
		{"object", `{"url":"http://h/a","auth":{"basic":{"username":"ann","password":"pass"}}}`, "ann", "pass"},
		{"object before url", `{"url":"http://joe:x@h/a","auth":{"basic":{"username":"ann","password":"pass"}}}`, "ann", "pass"},
		{"header", `{"url":"http://h/a","headers":{"authorization":"` + basic + `"}}`, "header", "secret"},
		{"url before header", `{"url":"http://joe:x@h/a","headers":{"Authorization":"` + basic + `"}}`, "joe", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := mustSpec(t, `{"source":`+tt.text+`,"target":"b"}`).Source
			if e.Auth == nil {
				e.Auth = &BasicAuth{}
			}
			if e.Auth.Username != tt.user || e.Auth.Password != tt.password || e.Headers != nil {
				t.Errorf("%s:%s and headers %v", e.Auth.Username, e.Auth.Password, e.Headers)
			}
			if strings.Contains(e.URL, "@") || !strings.HasSuffix(e.URL, "/a/") {
				t.Error(e.URL)
			}
		})
	}
	bearer := mustSpec(t, `{"source":{"url":"http://h/a","headers":{"Authorization":"Bearer x","X-More":"1"}},"target":"b"}`)
	if bearer.Source.Auth != nil || len(bearer.Source.Headers) != 2 {
		t.Errorf("%v", bearer.Source.Headers)
	}
}

func TestNothingShowsCredentials(t *testing.T) {
	const secret = "s3cret/word"
	s := mustSpec(t, `{"source":"https://joe:s3cret%2Fword@h/a","target":{"url":"http://h/b","headers":{"Authorization":"Bearer s3cret/word"}},
		"source_proxy":"http://u:s3cret%2Fword@proxy:3128"}`)
	var st Status
	st.describe(s)
	for what, text := range map[string]string{
		"spec": fmt.Sprintf("%v %+v %#v", s.Source, s.Target, s.Source), "status": fmt.Sprintf("%+v", st),
		"message": s.redact(`Get "https://joe:s3cret%2Fword@h/a": no; s3cret/word; Bearer s3cret/word; ` + "am9lOnMzY3JldC93b3Jk"),
	} {
		if strings.Contains(text, secret) || strings.Contains(text, "s3cret") || strings.Contains(text, "am9lOnMzY3JldC93b3Jk") {
			t.Errorf("%s shows a password: %s", what, text)
		}
	}
	if _, err := ParseSpec([]byte(`{"source":"http://joe:s3cret@h:port/a","target":"b"}`)); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("an error shows a password: %v", err)
	}
}

func TestSpecID(t *testing.T) {
	const node = "0123456789abcdef0123456789abcdef"
	id := func(text string) string { return mustSpec(t, text).JobID(node) }
	plain := id(`{"source":"http://joe:a@H/a","target":"b"}`)
	if len(plain) != 32 || strings.Trim(plain, "0123456789abcdef") != "" {
		t.Errorf("%q is no id", plain)
	}
	for _, same := range []string{
		`{"source":"http://joe:other@h:80/a/","target":"b"}`,
		`{"source":"https://joe:other@h:443/a","target":"b","worker_processes":9,"checkpoint_interval":5}`,
		`{"source":{"url":"http://h/a","auth":{"basic":{"username":"joe","password":"x"}},"headers":{"Cookie":"x"}},"target":"b"}`,
	} {
		if got := id(same); got != plain {
			t.Errorf("%s: another id", same)
		}
	}
	seen := map[string]string{plain: "the first"}
	for _, other := range []string{
		`{"source":"b","target":"http://joe:a@H/a"}`,
		`{"source":"http://ann:a@H/a","target":"b"}`,
		`{"source":"http://joe:a@H:81/a","target":"b"}`,
		`{"source":{"url":"http://joe:a@H/a","headers":{"X":"1"}},"target":"b"}`,
		`{"source":"http://joe:a@H/a","target":"b","doc_ids":[]}`,
		`{"source":"http://joe:a@H/a","target":"b","doc_ids":["a","b"]}`,
		`{"source":"http://joe:a@H/a","target":"b","doc_ids":["winning_revs_only"]}`,
		`{"source":"http://joe:a@H/a","target":"b","selector":{}}`,
		`{"source":"http://joe:a@H/a","target":"b","filter":"a/b"}`,
		`{"source":"http://joe:a@H/a","target":"b","filter":"a/b","query_params":{"a":"1"}}`,
		`{"source":"http://joe:a@H/a","target":"b","winning_revs_only":true}`,
		`{"source":"http://joe:a@H/a","target":"b","since_seq":"1-x"}`,
	} {
		got := id(other)
		if before, ok := seen[got]; ok {
			t.Errorf("%s has the id of %s", other, before)
		}
		seen[got] = other
	}
	filtered := mustSpec(t, `{"source":"a","target":"b","filter":"d/f"}`)
	one, two := *filtered, *filtered
	one.FilterText, two.FilterText = "1", "2"
	if one.ID(node) == two.ID(node) {
		t.Error("the filter's text does not matter")
	}
	if got := id(`{"source":"http://joe:a@H/a","target":"b","continuous":true,"create_target":true}`); got != plain+"+continuous+create_target" || checkpointID(got) != plain {
		t.Errorf("%s for %s", got, plain)
	}
	if mustSpec(t, `{"source":"a","target":"b"}`).ID("other") == mustSpec(t, `{"source":"a","target":"b"}`).ID(node) {
		t.Error("the node does not matter")
	}
}

func TestBadQueryParam(t *testing.T) {
	for text, want := range map[string]string{
		`{"query_params":{"a":"1","c":2,"b":null}}`: "b", `{"query_params":{"a":"1"}}`: "", `{}`: "", `{"query_params":1}`: "",
	} {
		if got, bad := BadQueryParam([]byte(text)); got != want || bad != (want != "") {
			t.Errorf("%s: %q %v", text, got, bad)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, seed := range []string{
		`{"source":"a","target":"http://joe:secret@h/b","doc_ids":["%20"],"continuous":true}`,
		`{"source":{"url":"http://h/a","auth":{"basic":{"username":"u","password":"p"}},"headers":{"A":"b"}},"target":"b","selector":{"a":{"$gt":1}}}`,
		`{"cancel":true,"id":"x"}`, `{"source":"a","target":"b","since_seq":[1,"x"],"filter":"_view","query_params":{"view":"a/b"}}`, `{}`, `[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSpec(text)
		if err != nil {
			return
		}
		again, err := ParseSpec(text)
		if err != nil || !s.same(again) || s.JobID("n") != again.JobID("n") {
			t.Fatal("read twice, it is not the same")
		}
		for _, e := range []Endpoint{s.Source, s.Target} {
			if e.Auth != nil && len(e.Auth.Password) > 12 && strings.Contains(s.redact(e.Auth.Password), e.Auth.Password) {
				t.Fatal("a password is shown")
			}
		}
	})
}
