package api

import (
	"net/http"
	"strings"
	"testing"
)

// TestBulksWithoutRoom sends bodies of every size while others have taken all room in memory: they go by way of the disk.
func TestBulksWithoutRoom(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	for range cap(n.api.bulks.memory) {
		n.api.bulks.memory <- struct{}{}
	}
	text := strings.Repeat("x", 1000)
	for _, docs := range []int{1, 500, 3000} { // 3 MB are more than is kept
		body := `{"docs":[` + strings.Repeat(`{"text":"`+text+`"},`, docs-1) + `{"_id":"last"}]}`
		var rows []struct {
			ID string
			OK bool
		}
		n.must(http.MethodPost, "/db/_bulk_docs", body).json(t, &rows)
		if len(rows) != docs || rows[docs-1].ID != "last" {
			t.Errorf("%d rows for %d documents", len(rows), docs)
		}
	}
	asks := strings.Repeat(`{"id":"last","atts_since":["1-`+text+`"]},`, 1500) + `{"id":"last"}`
	var got struct{ Results []struct{ ID string } }
	n.must(http.MethodPost, "/db/_bulk_get", `{"docs":[`+asks+`]}`).json(t, &got)
	if len(got.Results) != 1501 || got.Results[1500].ID != "last" {
		t.Errorf("%d results", len(got.Results))
	}
	if len(n.api.bulks.memory) != cap(n.api.bulks.memory) || len(n.api.bulks.loads) != 0 {
		t.Error("room was given back that was not taken, or not given back")
	}
}
