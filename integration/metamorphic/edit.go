package metamorphic

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// attempts is how often an edit is tried that meets one which a replication has brought meanwhile.
const attempts = 20

// edit changes, creates or deletes a document, as a client does: read it, send what is to follow.
func (r *run) edit(ctx context.Context, o *Op) error {
	if r.model.limit == 1 {
		// Databases then do not tell what came before an edit, so nothing may get in between.
		if err := r.join(); err != nil {
			return err
		}
	}
	for range attempts {
		leaves, err := r.leaves(ctx, o.Replica, documents[o.Doc])
		if err != nil {
			return err
		}
		live := slices.DeleteFunc(slices.Clone(leaves), func(l *leaf) bool { return l.Deleted })
		var parent *leaf
		tombstone := ""
		switch {
		case len(live) > 0:
			parent = live[o.Leaf%len(live)]
		case o.Verb == Delete:
			return nil
		case len(leaves) > 0:
			tombstone = leaves[0].Rev
		}
		done, err := r.tryEdit(ctx, o, parent, tombstone)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("conflict after conflict")
}

// tryEdit writes one edit of parent or, if that is nil, of a document that is not there or whose winner is the
// tombstone; false if there is another revision by now.
func (r *run) tryEdit(ctx context.Context, o *Op, parent *leaf, tombstone string) (bool, error) {
	id := documents[o.Doc]
	w := revision{body: canonical(bodyOf(o.Number)), files: map[string]file{}}
	query, rev, gen := "", "", 1
	if parent != nil {
		rev, gen = parent.Rev, generation(parent.Rev)+1
		query = "?rev=" + rev
		old := r.model.revs[id][rev]
		if old == nil || !old.known {
			return false, fmt.Errorf("leaf %s %s was never written", id, rev)
		}
		if o.Verb == Attach || o.Keep {
			maps.Copy(w.files, old.files)
		}
		if o.Verb == Attach && o.Form == "put" {
			w.body = old.body
		}
	}
	path := "/" + r.names[o.Replica] + "/" + escapeID(id)
	method, contentType := http.MethodPut, "application/json"
	var body []byte
	switch {
	case o.Verb == Delete:
		method, w.deleted, w.body = http.MethodDelete, true, "{}"
	case o.Verb == Attach && o.Form == "put":
		name := "f" + strconv.Itoa(o.File)
		content, f := contentOf(o)
		if parent == nil {
			w.body = "{}"
		}
		f.revpos, path, contentType, body = gen, path+"/"+name, f.kind, content
		w.files[name] = f
	default:
		body, contentType = composeDocument(o, id, rev, w.files, gen)
	}
	headers := []string{"Accept", "application/json"}
	if body != nil {
		headers = append(headers, "Content-Type", contentType)
	}
	res, err := r.site(o.Replica).do(ctx, method, path+query, body, headers...)
	if err != nil {
		return false, err
	}
	if res.Status == http.StatusConflict || o.Verb == Delete && res.Status == http.StatusNotFound {
		return false, nil
	}
	if res.Status != 201 && res.Status != 200 { // a DELETE is answered with 200
		return false, fmt.Errorf("%s: status %d: %s", path, res.Status, res.Body)
	}
	var answer struct{ Rev string }
	if err := res.Decode(res.Status, &answer); err != nil {
		return false, err
	}
	if parent == nil {
		// It follows the tombstone that won at that moment, which need not be the one that was read.
		if rev, err = r.parentOf(ctx, o.Replica, id, answer.Rev, tombstone); err != nil {
			return false, err
		}
		for name, f := range w.files {
			f.revpos = generation(answer.Rev)
			w.files[name] = f
		}
	}
	w.parent = rev
	if generation(answer.Rev) != generation(rev)+1 {
		return false, fmt.Errorf("%s %s follows %q", id, answer.Rev, rev)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return true, r.model.wrote(o.Replica, id, answer.Rev, w)
}

// composeDocument writes the body of a PUT and notes a new attachment in files. Those that are there stay as stubs.
func composeDocument(o *Op, id, rev string, files map[string]file, gen int) (body []byte, contentType string) {
	members := bodyOf(o.Number)
	members["_id"] = id
	if rev != "" {
		members["_rev"] = rev
	}
	wire := map[string]any{}
	for name, f := range files {
		wire[name] = map[string]any{"stub": true, "content_type": f.kind, "revpos": f.revpos}
	}
	var content []byte
	if o.Verb == Attach {
		name := "f" + strconv.Itoa(o.File)
		var f file
		content, f = contentOf(o)
		f.revpos = gen
		files[name] = f
		if o.Form == "related" {
			wire[name] = map[string]any{"follows": true, "content_type": f.kind, "length": len(content)}
		} else {
			wire[name] = map[string]any{"data": base64.StdEncoding.EncodeToString(content), "content_type": f.kind}
		}
	}
	if len(wire) > 0 {
		members["_attachments"] = wire
	}
	text := canonical(members)
	if o.Verb != Attach || o.Form != "related" {
		return []byte(text), "application/json"
	}
	const boundary = "d41d8cd98f00b204e9800998ecf8427e"
	var b bytes.Buffer
	fmt.Fprintf(&b, "--%s\r\nContent-Type: application/json\r\n\r\n%s\r\n--%s\r\n\r\n", boundary, text, boundary)
	b.Write(content)
	fmt.Fprintf(&b, "\r\n--%s--", boundary)
	return b.Bytes(), `multipart/related; boundary="` + boundary + `"`
}

// parentOf reads which revision another follows, or returns likely if the database has forgotten it.
func (r *run) parentOf(ctx context.Context, replica int, id, rev, likely string) (string, error) {
	if generation(rev) == 1 {
		return "", nil
	}
	var l leaf
	err := r.request(ctx, replica, 200, "GET", "/"+escapeID(id)+"?revs=true&rev="+url.QueryEscape(rev), nil, &l)
	if err != nil {
		return "", err
	}
	if path := l.path(); len(path) > 1 {
		return path[1], nil
	}
	return likely, nil
}

// graft writes a branch that some client might have made elsewhere: it leaves a known branch some steps back.
func (r *run) graft(ctx context.Context, o *Op) error {
	id := documents[o.Doc]
	leaves, err := r.leaves(ctx, o.Replica, id)
	if err != nil {
		return err
	}
	var path []string // newest first
	if len(leaves) > 0 {
		path = leaves[o.Leaf%len(leaves)].path()
		path = path[min(o.Back, len(path)):]
	}
	w := revision{deleted: o.Dead, body: canonical(bodyOf(o.Number)), files: map[string]file{}}
	parent := ""
	if len(path) > 0 {
		parent = path[0]
	}
	for i := range max(1, o.Grow) {
		rev := fmt.Sprintf("%d-%s", generation(parent)+1, forged(id, parent, i, o.Number, o.Grow, o.Dead, o.File, o.Kind, o.Size))
		path, w.parent, parent = slices.Insert(path, 0, rev), parent, rev
	}
	doc := bodyOf(o.Number)
	doc["_id"], doc["_rev"] = id, parent
	doc["_revisions"] = revisionsOf(path)
	if o.Dead {
		doc["_deleted"] = true
	}
	if o.File > 0 && !o.Dead {
		content, f := contentOf(o)
		f.revpos = generation(parent)
		name := "f" + strconv.Itoa(o.File)
		w.files[name] = f
		doc["_attachments"] = map[string]any{name: map[string]any{
			"data": base64.StdEncoding.EncodeToString(content), "content_type": f.kind, "revpos": f.revpos,
		}}
	}
	var refused []json.RawMessage
	err = r.request(ctx, o.Replica, 201, "POST", "/_bulk_docs", map[string]any{"new_edits": false, "docs": []any{doc}}, &refused)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		return fmt.Errorf("refused: %s", refused)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := max(1, o.Grow) - 1; i > 0; i-- { // the oldest of the new ones first
		before := ""
		if i+1 < len(path) {
			before = path[i+1]
		}
		if _, err := r.model.name(id, path[i], before); err != nil {
			return err
		}
	}
	return r.model.wrote(o.Replica, id, parent, w)
}

// revisionsOf writes a path, newest first, as _revisions.
func revisionsOf(path []string) map[string]any {
	ids := make([]string, len(path))
	for i, rev := range path {
		ids[i] = rev[len(strconv.Itoa(generation(rev)))+1:]
	}
	return map[string]any{"start": generation(path[0]), "ids": ids}
}

// purge purges a leaf and notes all that went with it.
func (r *run) purge(ctx context.Context, o *Op) error {
	id := documents[o.Doc]
	leaves, err := r.leaves(ctx, o.Replica, id)
	if err != nil || len(leaves) == 0 {
		return err
	}
	rev := leaves[o.Leaf%len(leaves)].Rev
	var answer struct{ Purged map[string][]string }
	if err := r.request(ctx, o.Replica, 201, "POST", "/_purge", map[string][]string{id: {rev}}, &answer); err != nil {
		return err
	}
	if !slices.Equal(answer.Purged[id], []string{rev}) {
		return fmt.Errorf("purged %v", answer.Purged)
	}
	left, err := r.leaves(ctx, o.Replica, id)
	if err != nil {
		return err
	}
	tree := treeOf(left)
	for gone := range treeOf(leaves) {
		if _, ok := tree[gone]; !ok {
			r.model.purged.add(id, gone, "purged from "+letter(o.Replica))
		}
	}
	return nil
}
