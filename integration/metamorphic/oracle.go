package metamorphic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// leaf is a revision as it is read, with its history.
type leaf struct {
	ID        string `json:"_id"`
	Rev       string `json:"_rev"`
	Deleted   bool   `json:"_deleted"`
	Revisions struct {
		Start int
		IDs   []string
	} `json:"_revisions"`
	Attachments map[string]struct {
		ContentType string `json:"content_type"`
		Digest      string
		RevPos      int
		Length      int
		Data        []byte
	} `json:"_attachments"`
	body string // canonical, without the _ members
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *leaf) UnmarshalJSON(text []byte) error {
	type plain leaf // without this method
	if err := json.Unmarshal(text, (*plain)(l)); err != nil {
		return err
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	maps.DeleteFunc(members, func(name string, _ any) bool { return strings.HasPrefix(name, "_") })
	l.body = canonical(members)
	return nil
}

// path is the revision and its ancestors, newest first.
func (l *leaf) path() []string {
	path := make([]string, len(l.Revisions.IDs))
	for i, hash := range l.Revisions.IDs {
		path[i] = strconv.Itoa(l.Revisions.Start-i) + "-" + hash
	}
	return path
}

// treeOf gives the parent of every revision that leaves have; the empty text where there is none.
func treeOf(leaves []*leaf) map[string]string {
	tree := map[string]string{}
	for _, l := range leaves {
		parent := ""
		for _, rev := range slices.Backward(l.path()) {
			// Where branches share ancestors, a path may be cut that another shows whole.
			if tree[rev] == "" {
				tree[rev] = parent
			}
			parent = rev
		}
	}
	return tree
}

// readDoc is a document of a database.
type readDoc struct {
	leaves []*leaf // winner first
	tree   map[string]string
}

// leaves reads the leaves of one document, winner first, with stubs for attachments.
func (r *run) leaves(ctx context.Context, replica int, id string) ([]*leaf, error) {
	path := "/" + r.names[replica] + "/" + escapeID(id) + "?open_revs=all&revs=true"
	res, err := r.site(replica).do(ctx, "GET", path, nil, "Accept", "application/json")
	if err != nil {
		return nil, err
	}
	if res.Status == http.StatusNotFound {
		return nil, nil
	}
	var answers []struct{ OK *leaf }
	if err := res.Decode(200, &answers); err != nil {
		return nil, err
	}
	var leaves []*leaf
	for _, a := range answers {
		if a.OK == nil {
			return nil, fmt.Errorf("%s: a leaf cannot be read: %s", path, res.Body)
		}
		leaves = append(leaves, a.OK)
	}
	slices.SortFunc(leaves, winsOver)
	return leaves, nil
}

// read reads a whole database, and checks that its listings agree with each other.
func (r *run) read(ctx context.Context, replica int) (map[string]*readDoc, error) {
	s := r.site(replica)
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := peer{s.direct(), "/" + r.names[replica]}
	rows, err := readChanges(ctx, p)
	if err != nil {
		return nil, err
	}
	docs := map[string]*readDoc{}
	asked := []map[string]string{}
	for _, row := range rows {
		if docs[row.ID] != nil {
			return nil, fmt.Errorf("%s: %s is in _changes twice", letter(replica), row.ID)
		}
		docs[row.ID] = &readDoc{}
		asked = append(asked, map[string]string{"id": row.ID})
	}
	var found struct {
		Results []struct {
			ID   string
			Docs []struct{ OK *leaf }
		}
	}
	err = p.call(ctx, 200, "POST", "/_bulk_get?revs=true&attachments=true", map[string]any{"docs": asked}, &found)
	if err != nil {
		return nil, err
	}
	for _, result := range found.Results {
		for _, d := range result.Docs {
			if d.OK == nil || docs[result.ID] == nil {
				return nil, fmt.Errorf("%s: a leaf of %s cannot be read", letter(replica), result.ID)
			}
			docs[result.ID].leaves = append(docs[result.ID].leaves, d.OK)
		}
	}
	for _, d := range docs {
		slices.SortFunc(d.leaves, winsOver)
		d.tree = treeOf(d.leaves)
	}
	if err := compareListings(ctx, p, rows, docs); err != nil {
		return nil, fmt.Errorf("%s: %w", letter(replica), err)
	}
	return docs, nil
}

// compareListings checks that _changes, _all_docs and the counters tell of the leaves that were read.
func compareListings(ctx context.Context, p peer, rows []changeRow, docs map[string]*readDoc) error {
	for _, row := range rows {
		var revs []string
		for _, l := range docs[row.ID].leaves {
			revs = append(revs, l.Rev)
		}
		if listed := row.revs(); !slices.Equal(revs, listed) {
			return fmt.Errorf("%s: _changes lists the leaves %v, _bulk_get has %v", row.ID, listed, revs)
		}
		if row.Deleted != docs[row.ID].leaves[0].Deleted {
			return fmt.Errorf("%s: _changes says deleted: %t", row.ID, row.Deleted)
		}
	}
	var all struct {
		Rows []struct {
			ID    string
			Value struct{ Rev string }
		}
	}
	if err := p.call(ctx, 200, "GET", "/_all_docs", nil, &all); err != nil {
		return err
	}
	live := 0
	for _, d := range docs {
		if !d.leaves[0].Deleted {
			live++
		}
	}
	for _, row := range all.Rows {
		d := docs[row.ID]
		if d == nil || d.leaves[0].Deleted || d.leaves[0].Rev != row.Value.Rev {
			return fmt.Errorf("%s: _all_docs has %s", row.ID, row.Value.Rev)
		}
	}
	var info struct {
		Live    int `json:"doc_count"`
		Deleted int `json:"doc_del_count"`
	}
	if err := p.call(ctx, 200, "GET", "", nil, &info); err != nil {
		return err
	}
	if live != len(all.Rows) || live != info.Live || len(docs)-live != info.Deleted {
		return fmt.Errorf("%d documents and %d deleted ones in _changes, %d in _all_docs, %d and %d counted",
			live, len(docs)-live, len(all.Rows), info.Live, info.Deleted)
	}
	return nil
}

// check reads all databases and holds them against the model. It returns a description of the end, of one line for
// each leaf, if all of them reach each other and nothing was purged or stemmed.
func (r *run) check(ctx context.Context) (string, error) {
	state := make([]map[string]*readDoc, len(r.Places))
	for i := range state {
		var err error
		if state[i], err = r.read(ctx, i); err != nil {
			return "", err
		}
	}
	var errs []error
	digests := map[revKey]string{}
	for i, docs := range state {
		for _, id := range sortedKeys(docs) {
			errs = append(errs, r.checkDocument(i, id, docs[id], digests))
		}
	}
	group := components(len(state), r.edges())
	for _, id := range sortedKeys(r.model.revs) {
		errs = append(errs, r.checkPresence(id, state, group)...)
	}
	return describe(state[0]), errors.Join(errs...)
}

// checkDocument checks that nothing of a document is invented.
func (r *run) checkDocument(replica int, id string, d *readDoc, digests map[revKey]string) error {
	known, safe := r.model.revs[id], r.model.safe(id)
	for rev, parent := range d.tree {
		w := known[rev]
		if w == nil {
			return fmt.Errorf("%s has %s %s, which nobody wrote", letter(replica), id, rev)
		}
		if parent != w.parent && (parent != "" || safe[w.parent]) {
			return fmt.Errorf("%s has %s %s with parent %q instead of %q", letter(replica), id, rev, parent, w.parent)
		}
	}
	for _, l := range d.leaves {
		w := known[l.Rev]
		if !w.known {
			return fmt.Errorf("%s has %s %s as a leaf, which was never written", letter(replica), id, l.Rev)
		}
		if l.Deleted != w.deleted || l.body != w.body {
			return fmt.Errorf("%s has %s %s as %s (deleted: %t) instead of %s (%t)",
				letter(replica), id, l.Rev, l.body, l.Deleted, w.body, w.deleted)
		}
		files := map[string]file{}
		for name, a := range l.Attachments {
			files[name] = file{checksum(a.Data), len(a.Data), a.ContentType, a.RevPos}
			key := revKey{id + "/" + name, l.Rev}
			if digests[key] == "" {
				digests[key] = a.Digest
			}
			if a.Digest == "" || digests[key] != a.Digest {
				return fmt.Errorf("%s has %s %s/%s with digest %q, others have %q", letter(replica), id, l.Rev, name, a.Digest, digests[key])
			}
		}
		if !maps.Equal(files, w.files) {
			return fmt.Errorf("%s has %s %s with attachments %+v instead of %+v", letter(replica), id, l.Rev, files, w.files)
		}
	}
	return nil
}

// checkPresence checks that a document's revisions are everywhere or, if nobody promised them, nowhere.
func (r *run) checkPresence(id string, state []map[string]*readDoc, group []int) (errs []error) {
	safe := r.model.safe(id)
	for _, rev := range sortedKeys(r.model.revs[id]) {
		key := revKey{id, rev}
		if _, purged := r.model.purged[key]; purged || !safe[rev] {
			continue
		}
		has := make([]bool, len(state))
		wanted := map[int]string{} // by group, why it must be there
		for i, docs := range state {
			if docs[id] != nil {
				_, has[i] = docs[id].tree[rev]
			}
			if why := r.model.must[i][key]; why != "" {
				wanted[group[i]] = why
			} else if has[i] && wanted[group[i]] == "" {
				wanted[group[i]] = letter(i) + " has it"
			}
		}
		for i := range state {
			why := r.model.must[i][key]
			if why == "" {
				why = wanted[group[i]]
			}
			if why != "" && !has[i] {
				errs = append(errs, fmt.Errorf("%s lacks %s %s (%s)", letter(i), id, rev, why))
			}
		}
	}
	return errs
}

// describe writes a database's documents so that equal ones give equal text.
func describe(docs map[string]*readDoc) string {
	var b strings.Builder
	for _, id := range sortedKeys(docs) {
		for _, l := range docs[id].leaves {
			fmt.Fprintf(&b, "%s %v deleted=%t %s\n", id, l.path(), l.Deleted, l.body)
			for _, name := range sortedKeys(l.Attachments) {
				a := l.Attachments[name]
				fmt.Fprintf(&b, "\t%s %s %s %d %s\n", name, a.ContentType, a.Digest, a.RevPos, checksum(a.Data))
			}
		}
	}
	return b.String()
}
