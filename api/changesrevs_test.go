package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// inlineRow is a row of a feed with its revisions.
type inlineRow struct {
	ID      string
	Changes []struct{ Rev string }
	// Revisions is nil if the row has no such member.
	Revisions []json.RawMessage
}

func (n *node) inline(query string) map[string]inlineRow {
	n.Helper()
	var c struct{ Results []inlineRow }
	n.must(http.MethodGet, "/db/_changes"+query, nil).json(n.TB, &c)
	rows := map[string]inlineRow{}
	for _, row := range c.Results {
		rows[row.ID] = row
	}
	return rows
}

// TestChangesInlineRevs checks that what comes with the rows is what _bulk_get would give.
func TestChangesInlineRevs(t *testing.T) {
	n := newChanges(t, "plain")
	revision := func(id string, gen int, rest string) json.RawMessage {
		hashes := make([]string, gen)
		for i := range hashes {
			hashes[i] = fmt.Sprintf(`"%032x"`, gen-i)
		}
		return json.RawMessage(fmt.Sprintf(`{"_id":%q,"_revisions":{"start":%d,"ids":[%s]}%s}`, id, gen, strings.Join(hashes, ","), rest))
	}
	large := `,"text":"` + strings.Repeat("x", 8000) + `"`
	n.must(http.MethodPost, "/db/_bulk_docs", map[string]any{"new_edits": false, "docs": []any{
		revision("history", 5, `,"v":1`),
		json.RawMessage(`{"_id":"conflict","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"v":"\u00e9\n"}`),
		json.RawMessage(`{"_id":"conflict","_rev":"2-c","_revisions":{"start":2,"ids":["c","a"]},"v":2}`),
		json.RawMessage(`{"_id":"conflict","_rev":"3-d","_revisions":{"start":3,"ids":["d","x","a"]},"_deleted":true}`),
		json.RawMessage(`{"_id":"gone","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true,"why":1}`),
		revision("attached", 1, `,"_attachments":{"f":{"data":"aGk=","content_type":"text/plain"}}`),
		revision("large", 1, large),
		revision("long", 300, large[:len(large)-600]+`"`),
		revision("_design/d", 1, `,"views":{}`),
	}})
	rows := n.inline("?style=all_docs&inline_revs=8192")
	for _, id := range []string{"attached", "long"} {
		if rows[id].Revisions != nil {
			t.Errorf("%s comes with its row: %s", id, rows[id].Revisions)
		}
	}
	if len(rows) != 8 {
		t.Errorf("%d rows", len(rows))
	}
	for id, row := range rows {
		if id == "attached" || id == "long" {
			continue
		}
		if len(row.Revisions) != len(row.Changes) {
			t.Errorf("%s: %s for %v", id, row.Revisions, row.Changes)
			continue
		}
		for i, change := range row.Changes {
			var got struct {
				Results []struct {
					Docs []struct{ OK json.RawMessage }
				}
			}
			n.must(http.MethodPost, "/db/_bulk_get?revs=true&latest=true", map[string]any{"docs": []any{map[string]any{"id": id, "rev": change.Rev}}}).json(t, &got)
			if want := string(got.Results[0].Docs[0].OK); string(row.Revisions[i]) != want {
				t.Errorf("%s: %s, want %s", id, row.Revisions[i], want)
			}
		}
	}
	for query, want := range map[string]int{
		"": 0, "?inline_revs=0": 0, "?inline_revs=60": 0, "?inline_revs=8192": 1, "?INLINE_REVS=99999999999999999999": 1,
		"?inline_revs=8192&style=all_docs": 3, "?inline_revs=8192&include_docs=true&feed=longpoll": 1,
	} {
		if row := n.inline(query)["conflict"]; len(row.Revisions) != want || (row.Revisions == nil) != (want == 0) {
			t.Errorf("%s: %s", query, row.Revisions)
		}
	}
	for _, bad := range []string{"-1", "x", "1.5", ""} {
		n.refused(http.StatusBadRequest, "bad_request", errInlineRevs.Reason, http.MethodGet, "/db/_changes?inline_revs="+bad, nil)
	}
}

// TestChangesInlineRevsFiltered checks that no revision comes along that the filter does not pass.
func TestChangesInlineRevsFiltered(t *testing.T) {
	n := newChanges(t, "other")
	n.must(http.MethodPost, "/db/_bulk_docs", map[string]any{"new_edits": false, "docs": []any{
		json.RawMessage(`{"_id":"a","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"v":1}`),
		json.RawMessage(`{"_id":"a","_rev":"2-c","_revisions":{"start":2,"ids":["c","a"]},"v":2}`),
	}})
	var c struct{ Results []inlineRow }
	body := map[string]any{"selector": map[string]any{"v": 1}, "fields": []string{"x"}}
	n.must(http.MethodPost, "/db/_changes?filter=_selector&style=all_docs&inline_revs=8192", body).json(t, &c)
	if len(c.Results) != 1 || len(c.Results[0].Revisions) != 1 || !strings.Contains(string(c.Results[0].Revisions[0]), `"_rev":"2-b"`) {
		t.Errorf("%+v", c.Results)
	}
}
