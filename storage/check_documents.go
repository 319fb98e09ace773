package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage/kv"
)

// documents checks each document, and the counters that sum them up.
func (c *inspector) documents() error {
	var sum state
	err := c.walk(c.db.keys, spaceDoc, func(key, value []byte) error {
		c.checked.Documents++
		id := string(key)
		row, err := c.snap.row(id, value)
		if err == nil {
			var tree revtree.Tree
			if tree, err = row.Tree(); err == nil {
				doc := docState{exists: true, rec: row.rec, tree: tree, size: len(value)}
				sum.account(id, &docState{}, &doc)
				return c.document(&row, tree)
			}
		}
		c.problem(Problem{What: "document", Name: id, Detail: err.Error(), Remedy: remedyRestore})
		return nil
	})
	if err != nil {
		return err
	}
	is := c.snap.state
	for _, n := range []struct {
		what     string
		is, want uint64
	}{
		{"documents", is.docs, sum.docs},
		{"deleted documents", is.deleted, sum.deleted},
		{"bytes of documents as they were sent", is.external, sum.external},
		{"bytes of documents as they are stored", is.active, sum.active},
	} {
		if n.is != n.want {
			c.problem(Problem{What: "state", Detail: fmt.Sprintf("it says %d %s, and there are %d", n.is, n.what, n.want), Remedy: remedyCounts})
		}
	}
	return nil
}

// document checks that a document's record agrees with its tree, its entry in the update sequence is there, and all
// bodies that it should have can be read.
func (c *inspector) document(row *Row, tree revtree.Tree) error {
	bad := func(detail string) {
		c.problem(Problem{What: "document", Name: row.ID, Detail: detail, Remedy: remedyRestore})
	}
	leaves := tree.Leaves()
	winner, ok := tree.Winner()
	switch {
	case !ok:
		bad("its revision tree is empty")
		return nil
	case winner.ID != row.Rev || winner.Deleted != row.Deleted:
		bad(fmt.Sprintf("it names %v as the winner, which is %v", row.Rev, winner.ID))
	case row.Branching() != (len(leaves) > 1):
		bad(fmt.Sprintf("it has %d leaves and says otherwise", len(leaves)))
	}
	if err := c.logged(row, leaves, bad); err != nil {
		return err
	}
	for i := range tree.Len() {
		n := tree.Node(i)
		if n.Stored {
			c.checked.Revisions++
		}
		if !n.Kept {
			continue
		}
		d, err := row.Revision(tree, i)
		if err == nil && !json.Valid(d.Body) {
			err = errors.New("its body is not JSON")
		}
		if errors.Is(err, kv.ErrClosed) || errors.Is(err, ErrClosed) {
			return err
		}
		if err != nil {
			bad(fmt.Sprintf("revision %v: %v", n.ID, err))
			continue
		}
		c.checked.Bytes += uint64(len(d.Body))
		for j := range d.Attachments {
			if err := c.attached(row.ID, n.ID, &d.Attachments[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// logged checks a document's entry in the update sequence.
func (c *inspector) logged(row *Row, leaves []revtree.Leaf, bad func(string)) error {
	value, err := c.snap.kv.Get(c.db.keys.seq(row.Seq))
	if errors.Is(err, kv.ErrNotFound) {
		bad(fmt.Sprintf("the update sequence has no entry %d for it", row.Seq))
		return nil
	}
	if err != nil {
		return outer(err)
	}
	change, err := parseChange(row.Seq, value)
	if err != nil {
		return nil // told when the sequence is read
	}
	same := change.ID == row.ID && len(change.Revs) == len(leaves)
	for i := range leaves {
		same = same && change.Revs[i] == leaves[i].ID
	}
	if !same {
		bad(fmt.Sprintf("entry %d of the update sequence tells of other revisions", row.Seq))
	}
	return nil
}

// attached checks that an attachment of a revision is there, and noted as used.
func (c *inspector) attached(id string, rev revtree.ID, a *document.Attachment) error {
	bad := func(detail string) {
		c.problem(Problem{What: "attachment", Name: id + "/" + a.Name, Detail: fmt.Sprintf("%s (revision %v)", detail, rev), Remedy: remedyRestore})
	}
	rec, err := readAttachmentRecord(c.snap.kv, c.db.keys, a.Address)
	if errors.Is(err, kv.ErrNotFound) {
		bad("its content is not there")
		return nil
	}
	if err != nil {
		return outer(err)
	}
	if rec.size != uint64(a.EncodedLength) {
		bad(fmt.Sprintf("it should have %d bytes and has %d", a.EncodedLength, rec.size))
	}
	_, err = c.snap.kv.Get(c.db.keys.reference(a.Address, id))
	if errors.Is(err, kv.ErrNotFound) {
		bad("its content is not noted as used, and would be swept")
		return nil
	}
	return outer(err)
}

// attachments checks the contents.
func (c *inspector) attachments() error {
	return c.walk(c.db.keys, spaceAttachment, func(key, value []byte) error {
		c.checked.Attachments++
		bad := func(detail string) {
			c.problem(Problem{What: "content of attachments", Name: hex.EncodeToString(key), Detail: detail, Remedy: remedyRestore})
		}
		rec, err := parseAttachmentRecord(value)
		if err != nil || len(key) != len(address{}) {
			bad("its record makes no sense")
			return nil
		}
		a := document.Attachment{Address: address(key), EncodedLength: int64(rec.size)}
		content, err := c.snap.OpenAttachment(&a)
		if err != nil {
			bad(err.Error())
			return nil
		}
		defer content.Close()
		if !c.options.Contents {
			return nil
		}
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(sum, counter{c}), content)
		switch {
		case err != nil:
			bad(err.Error())
		case uint64(n) != rec.size:
			bad(fmt.Sprintf("it should have %d bytes and has %d", rec.size, n))
		case [32]byte(sum.Sum(nil)) != address(key):
			bad("it is not what was stored: its SHA-256 is another")
		}
		return c.ctx.Err()
	})
}

// counter counts bytes that are read.
type counter struct{ c *inspector }

func (w counter) Write(p []byte) (int, error) {
	w.c.checked.Bytes += uint64(len(p))
	return len(p), w.c.progress(len(p) >= 1<<20)
}

// references checks that what is noted as used is there.
func (c *inspector) references() error {
	return c.walk(c.db.keys, spaceReference, func(key, _ []byte) error {
		if len(key) < len(address{}) {
			c.problem(Problem{What: "reference to an attachment", Name: fmt.Sprintf("%x", key), Detail: "it makes no sense", Remedy: remedyCompact})
			return nil
		}
		_, err := readAttachmentRecord(c.snap.kv, c.db.keys, address(key[:len(address{})]))
		if errors.Is(err, kv.ErrNotFound) {
			c.problem(Problem{What: "reference to an attachment", Name: string(key[len(address{}):]), Detail: "there is no such content", Remedy: remedyRestore})
			return nil
		}
		return outer(err)
	})
}
