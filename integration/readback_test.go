package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// seq is an update sequence as it came, a number or text that starts with one.
type seq string

// UnmarshalJSON implements json.Unmarshaler.
func (s *seq) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		text = string(b) // a number
	}
	*s = seq(text)
	if s.number() < 0 {
		return fmt.Errorf("update sequence %s", b)
	}
	return nil
}

// number is the part that orders, -1 if there is none.
func (s seq) number() int64 {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(string(s[:end]), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// stored is a document as it reads back.
type stored struct {
	ID          string                `json:"_id"`
	Rev         string                `json:"_rev"`
	Deleted     bool                  `json:"_deleted"`
	Attachments map[string]attachment `json:"_attachments"`
	body
}

type attachment struct {
	Digest string `json:"digest"`
	Length int    `json:"length"`
}

// change is a row of _changes.
type change struct {
	Seq     seq
	ID      string
	Deleted bool
	Changes []struct{ Rev string }
}

func (c change) rev() string {
	if len(c.Changes) != 1 {
		return ""
	}
	return c.Changes[0].Rev
}

// state is all of a database, read through several doors that must agree.
type state struct {
	docs    map[string]stored // live ones, by _all_docs
	changes []change
	byID    map[string]change
	lastSeq seq
}

func changesSince(ctx context.Context, c *harness.Client, since seq, query string) (rows []change, last seq, err error) {
	var feed struct {
		Results []change
		LastSeq seq `json:"last_seq"`
	}
	err = c.Get(ctx, "/"+crashDB+"/_changes?since="+url.QueryEscape(string(since))+query, &feed)
	return feed.Results, feed.LastSeq, err
}

// readState reads the whole database and checks that its views of itself
// agree: the error joins all that does not.
func readState(ctx context.Context, c *harness.Client) (*state, error) {
	s := &state{docs: map[string]stored{}, byID: map[string]change{}}
	var err error
	if s.changes, s.lastSeq, err = changesSince(ctx, c, "0", ""); err != nil {
		return nil, fmt.Errorf("_changes: %w", err)
	}
	if err := s.readDocs(ctx, c); err != nil {
		return nil, err
	}
	var info struct {
		UpdateSeq   seq `json:"update_seq"`
		DocCount    int `json:"doc_count"`
		DocDelCount int `json:"doc_del_count"`
	}
	if err := c.Get(ctx, "/"+crashDB, &info); err != nil {
		return nil, fmt.Errorf("database information: %w", err)
	}

	var wrong []error
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	before, deleted := int64(0), 0
	for _, row := range s.changes {
		if row.Seq.number() <= before {
			complain("_changes: sequence %s after %d", row.Seq, before)
		}
		before = row.Seq.number()
		if _, twice := s.byID[row.ID]; twice {
			complain("_changes: two rows of %s", row.ID)
		}
		s.byID[row.ID] = row
		doc, live := s.docs[row.ID]
		switch {
		case row.Deleted && live:
			complain("%s is deleted by _changes, live by _all_docs", row.ID)
		case row.Deleted:
			deleted++
		case !live:
			complain("%s is in _changes and not in _all_docs", row.ID)
		case doc.Rev != row.rev():
			complain("%s: revision %s by _changes, %s by _all_docs", row.ID, row.rev(), doc.Rev)
		}
	}
	for id := range s.docs {
		if _, ok := s.byID[id]; !ok {
			complain("%s is in _all_docs and not in _changes", id)
		}
	}
	if s.lastSeq.number() < before || info.UpdateSeq.number() < before {
		complain("last_seq %s, update_seq %s, but a change at %d", s.lastSeq, info.UpdateSeq, before)
	}
	if info.DocCount != len(s.docs) || info.DocDelCount != deleted {
		complain("doc_count %d and doc_del_count %d, but there are %d and %d", info.DocCount, info.DocDelCount, len(s.docs), deleted)
	}
	return s, errors.Join(wrong...)
}

// readDocs reads _all_docs page by page.
func (s *state) readDocs(ctx context.Context, c *harness.Client) error {
	const page = 1000
	start := ""
	for {
		var list struct {
			TotalRows int `json:"total_rows"`
			Rows      []struct {
				ID    string
				Value struct{ Rev string }
				Doc   *stored
			}
		}
		path := fmt.Sprintf("/%s/_all_docs?include_docs=true&limit=%d&start_key=%s", crashDB, page, url.QueryEscape(strconv.Quote(start)))
		if err := c.Get(ctx, path, &list); err != nil {
			return fmt.Errorf("_all_docs: %w", err)
		}
		for _, row := range list.Rows {
			if row.Doc == nil || row.Doc.ID != row.ID || row.Doc.Rev != row.Value.Rev {
				return fmt.Errorf("_all_docs: row %s %s with document %+v", row.ID, row.Value.Rev, row.Doc)
			}
			s.docs[row.ID] = *row.Doc
		}
		if len(list.Rows) < page {
			if list.TotalRows != len(s.docs) {
				return fmt.Errorf("_all_docs: total_rows %d, but there are %d", list.TotalRows, len(s.docs))
			}
			return nil
		}
		start = list.Rows[len(list.Rows)-1].ID
	}
}

// is reports whether the stored document is this version, body and stub.
func (d stored) is(v version) bool {
	if v.deleted || v.rev != "" && v.rev != d.Rev || d.body != bodyOf(d.ID, v.n) {
		return false
	}
	if v.att == 0 {
		return len(d.Attachments) == 0
	}
	content := attachmentOf(d.ID, v.att)
	return len(d.Attachments) == 1 && d.Attachments["f"] == attachment{digestOf(content), len(content)}
}

// version tells which of the candidates the document is now; nil with no error
// if it was never written.
func (s *state) version(id string, candidates []version) (*version, error) {
	row, exists := s.byID[id]
	if !exists {
		return nil, nil
	}
	for _, v := range candidates {
		doc, live := s.docs[id]
		found := live && doc.is(v) || row.Deleted && v.deleted && (v.rev == "" || v.rev == row.rev())
		if found {
			v.rev = row.rev()
			return &v, nil
		}
	}
	return nil, fmt.Errorf("%s: %+v (%+v) is nothing that was written to it", id, s.docs[id], row)
}

// readLocal is as version, of a _local document, which is in no list.
func readLocal(ctx context.Context, c *harness.Client, id string, candidates []version) (*version, error) {
	res, err := c.Do(ctx, http.MethodGet, "/"+crashDB+"/"+id, nil)
	if err != nil {
		return nil, err
	}
	if res.Status == http.StatusNotFound {
		return nil, nil
	}
	var doc stored
	if err := res.Decode(http.StatusOK, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	for _, v := range candidates {
		if doc.is(v) {
			v.rev = doc.Rev
			return &v, nil
		}
	}
	return nil, fmt.Errorf("%s: %s is nothing that was written to it", id, res.Body)
}

// readWhole reads one document and its attachment by themselves.
func readWhole(ctx context.Context, c *harness.Client, id string, v version) error {
	var doc stored
	if err := c.Get(ctx, "/"+crashDB+"/"+id, &doc); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	if !doc.is(v) {
		return fmt.Errorf("%s: %+v is not what was written: %+v", id, doc, v)
	}
	if v.att == 0 {
		return nil
	}
	res, err := c.Do(ctx, http.MethodGet, "/"+crashDB+"/"+id+"/f", nil)
	if err != nil {
		return fmt.Errorf("%s: attachment: %w", id, err)
	}
	if want := attachmentOf(id, v.att); res.Status != http.StatusOK || !bytes.Equal(res.Body, want) {
		return fmt.Errorf("%s: attachment: status %d, %d bytes with digest %s instead of %d bytes with digest %s",
			id, res.Status, len(res.Body), digestOf(res.Body), len(want), digestOf(want))
	}
	return nil
}
