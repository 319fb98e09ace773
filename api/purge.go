package api

import (
	"io"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

// postPurge removes revisions as if they had never been here.
func postPurge(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	purges, err := q.readPurges()
	if err != nil {
		return err
	}
	purged, err := db.Purge(q.Context(), purges)
	if err != nil {
		return err
	}
	q.api.stats.purges.Add(1)
	q.api.stats.writes.Add(uint64(len(purges)))
	b := append(make([]byte, 0, 128*len(purges)+64), `{"purge_seq":null,"purged":{`...)
	for i := range purges {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, purges[i].ID)
		b = append(b, ':')
		b = appendRevs(b, purged[i])
	}
	return q.replyText(http.StatusCreated, append(b, "}}"...))
}

// readPurges reads which revisions of which documents are to be purged. Of a document that is named twice the last
// list counts.
func (q *request) readPurges() ([]storage.Purge, error) {
	maxDocs := q.setting("purge", "max_document_id_number", 100)
	maxRevs := q.setting("purge", "max_revisions_number", 1000)
	s := document.NewStream(q.Body, q.limits())
	defer s.Close()
	var purges []storage.Purge
	places := map[string]int{}
	count := 0
	for {
		id, err := s.Next()
		if err == io.EOF {
			return purges, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := s.Value()
		if err != nil {
			return nil, err
		}
		revs, err := parseRevList(nil, text)
		if err != nil {
			return nil, err
		}
		if count += len(revs); count > maxRevs {
			return nil, badRequest("Exceeded maximum number of revisions.")
		}
		if i, ok := places[id]; ok {
			purges[i].Revs = revs
			continue
		}
		if len(purges) == maxDocs {
			return nil, badRequest("Exceeded maximum number of documents.")
		}
		places[id] = len(purges)
		purges = append(purges, storage.Purge{ID: id, Revs: revs})
	}
}

// setting returns a configured number, or fallback if there is none that makes sense.
func (q *request) setting(section, key string, fallback int) int {
	if text, ok := q.config.Get(section, key); ok {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			return n
		}
	}
	return fallback
}

func getPurgedInfos(q *request) error {
	_, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	out := q.newStream()
	_, _ = out.WriteString(`{"purged_infos":[`)
	var b []byte
	first := true
	for p, err := range snap.Purges(q.Context(), 0) {
		if err != nil {
			return err
		}
		b = b[:0]
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"id":`...)
		b = document.AppendString(b, p.ID)
		b = append(b, `,"revs":`...)
		b = appendRevs(b, p.Revs)
		b = append(b, '}')
		if _, err := out.Write(b); err != nil {
			return q.lost(err)
		}
	}
	_, _ = out.WriteString("]}\n")
	return q.lost(out.end())
}
