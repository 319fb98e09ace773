package metamorphic

import (
	"strings"
	"testing"
)

// eventful has something of everything that a replicator can get wrong.
const eventful = `
database a 0
database b 1
database c 0
edge a b
edge b c
settle plain
edit a d0 n=1
edit a d0 n=2
edit a d0 n=3
graft a d0 n=4 back=1 grow=2
attach a d1 n=5 file=1 kind=text size=3000 form=inline
edit a d1 n=6 keep
edit a d2 n=7
delete a d2 n=8
edit b d3 n=9
`

// TestOracle checks that a replicator with a mistake is found out, and one without is not.
func TestOracle(t *testing.T) {
	seen := 0
	tests := []struct {
		name  string
		spoil func(doc map[string]any) bool
		want  string
	}{
		{"nothing is wrong", nil, ""},
		{"a document is left out", func(doc map[string]any) bool { return doc["_id"] != documents[3] }, "sync b a plain succeeded"},
		{"a conflict is left out", func(doc map[string]any) bool {
			return doc["_id"] != documents[0] || doc["n"] != 3.0
		}, "sync a b plain succeeded"},
		{"a tombstone is left out", func(doc map[string]any) bool { return doc["_deleted"] == nil }, "sync a b plain succeeded"},
		{"tombstones come alive", func(doc map[string]any) bool {
			delete(doc, "_deleted")
			return true
		}, "deleted: false"},
		{"histories are cut", func(doc map[string]any) bool {
			path := doc["_revisions"].(map[string]any)
			path["ids"] = path["ids"].([]any)[:1]
			return true
		}, "instead of"},
		{"a body changes", func(doc map[string]any) bool {
			doc["list"] = []any{}
			return true
		}, "instead of {"},
		{"attachments are left out", func(doc map[string]any) bool {
			delete(doc, "_attachments")
			return true
		}, "with attachments map[]"},
		{"an attachment changes", func(doc map[string]any) bool {
			if files, ok := doc["_attachments"].(map[string]any); ok {
				f := files["f1"].(map[string]any)
				f["data"] = f["data"].(string)[:400]
			}
			return true
		}, "with digest"},
		{"the position of an attachment changes", func(doc map[string]any) bool {
			if files, ok := doc["_attachments"].(map[string]any); ok {
				files["f1"].(map[string]any)["revpos"] = 2
			}
			return true
		}, "with attachments"},
		{"a revision is made up", func(doc map[string]any) bool {
			doc["_rev"] = "9-" + forged("nobody")
			delete(doc, "_revisions")
			return true
		}, "nobody wrote"},
		{"writing never ends", func(doc map[string]any) bool {
			// The revision made up last becomes another one, and no other passes.
			if seen > 0 && doc["_rev"] != "1-"+forged(seen) {
				return false
			}
			seen++
			doc["_rev"] = "1-" + forged(seen)
			delete(doc, "_revisions")
			return true
		}, "still written to"},
	}
	c := NewCluster(t, false)
	plain := newPlainSyncer()
	t.Cleanup(plain.Close)
	c.plain = plain
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse(strings.NewReader(eventful))
			if err != nil {
				t.Fatal(err)
			}
			plain.spoil = tt.spoil
			_, err = c.Play(t.Context(), s)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("found %q, want %q", err, tt.want)
			}
		})
	}
}
