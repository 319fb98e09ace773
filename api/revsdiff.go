package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/spool"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// diffSpoolMemory is how much of an answer stays off the disk until its question is known to be good to the end.
const diffSpoolMemory = 1 << 20

// diffBuffer is how much of an answer is gathered before it goes there.
const diffBuffer = 32 << 10

func postRevsDiff(q *request) error {
	return q.diff(`{`, "}\n", func(b []byte, m *storage.Missing) []byte {
		b = append(b, `{"missing":`...)
		b = appendRevs(b, m.Revs)
		if len(m.PossibleAncestors) > 0 {
			b = append(b, `,"possible_ancestors":`...)
			b = appendRevs(b, m.PossibleAncestors)
		}
		return append(b, '}')
	})
}

func postMissingRevs(q *request) error {
	return q.diff(`{"missing_revs":{`, "}}\n", func(b []byte, m *storage.Missing) []byte {
		return appendRevs(b, m.Revs)
	})
}

// diff compares revisions that a client has with those that are here. The answer is made while the question is read,
// so that neither is ever held as a whole; but as a fault at the question's end has to be told, the answer waits for
// it in a spool.
func (q *request) diff(head, tail string, appendMissing func([]byte, *storage.Missing) []byte) error {
	_, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if err := q.requireJSON(); err != nil {
		return err
	}
	answer := spool.New(q.limits().SpoolDir, diffSpoolMemory)
	defer answer.Close()

	s := document.NewStream(q.Body, q.limits())
	defer s.Close()
	b := append(make([]byte, 0, 1<<10), head...)
	var revs []revtree.ID
	for count := 0; ; {
		id, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		text, err := s.Value()
		if err != nil {
			return err
		}
		if revs, err = parseRevList(revs[:0], text); err != nil {
			return err
		}
		missing, err := snap.RevsDiff(id, revs)
		if err != nil {
			return err
		}
		if len(missing.Revs) == 0 {
			continue
		}
		if count++; count > 1 {
			b = append(b, ',')
		}
		b = document.AppendString(b, id)
		b = append(b, ':')
		if b = appendMissing(b, &missing); len(b) < diffBuffer {
			continue
		}
		if _, err := answer.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	if answer.Size() == 0 {
		return q.replyText(http.StatusOK, append(b, tail[:len(tail)-1]...))
	}
	out := q.newStream()
	_, err = io.Copy(out, io.NewSectionReader(answer, 0, answer.Size()))
	if err != nil {
		return err
	}
	_, _ = out.Write(append(b, tail...))
	return q.lost(out.end())
}

// appendRevs appends revisions as a JSON array.
func appendRevs(b []byte, revs []revtree.ID) []byte {
	b = append(b, '[')
	for i := range revs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRev(b, revs[i])
	}
	return append(b, ']')
}

var errRevisionList = badRequest("Invalid list of revisions")

// parseRevList reads an array of revisions, given as canonical JSON text, onto revs.
func parseRevList(revs []revtree.ID, text []byte) ([]revtree.ID, error) {
	if text[0] != '[' {
		return nil, errRevisionList
	}
	if bytes.IndexByte(text, '\\') >= 0 {
		return parseEscapedRevs(revs, text)
	}
	// Without escapes a quote always ends a string.
	for rest := text[1 : len(text)-1]; len(rest) > 0; {
		if rest[0] != '"' {
			return nil, errInvalidRev
		}
		end := 1 + bytes.IndexByte(rest[1:], '"')
		rev, err := parseRev(string(rest[1:end]))
		if err != nil {
			return nil, err
		}
		revs = append(revs, rev)
		if rest = rest[end+1:]; len(rest) > 0 {
			rest = rest[1:] // the comma
		}
	}
	return revs, nil
}

func parseEscapedRevs(revs []revtree.ID, text []byte) ([]revtree.ID, error) {
	var list []string
	if json.Unmarshal(text, &list) != nil {
		return nil, errInvalidRev
	}
	for _, s := range list {
		rev, err := parseRev(s)
		if err != nil {
			return nil, err
		}
		revs = append(revs, rev)
	}
	return revs, nil
}
