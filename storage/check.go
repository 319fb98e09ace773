package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// Problem is something that is wrong with what is stored.
type Problem struct {
	Database string // "": the store as a whole
	What     string // of what kind the thing is: "document", "sequence", "attachment", "index" and so on
	Name     string // which one
	Detail   string // what is wrong with it
	Remedy   string // what to do
}

func (p Problem) String() string {
	s := p.What
	if p.Name != "" {
		s += " " + p.Name
	}
	if p.Database != "" {
		s = p.Database + ": " + s
	}
	return s + ": " + p.Detail
}

// CheckOptions say what Check looks at.
type CheckOptions struct {
	// Contents has the content of attachments read and compared with its digests.
	Contents bool
	// Progress, if it is not nil, is called now and then with what has been looked at. It must be quick.
	Progress func(Checked)
	// Report takes each problem.
	Report func(Problem)
}

// Checked counts what Check has looked at.
type Checked struct {
	Databases, Documents, Revisions, Attachments, Indexes, Rows uint64
	Bytes                                                       uint64 // of bodies and contents
	Problems                                                    uint64
}

// The remedies.
const (
	remedyRestore = "Replicate the database into a new one from a node that has it, or restore a backup; what can be read of it can be copied first, by replication."
	remedyCompact = "Compact the database."
	remedyIndex   = "Delete the index: it is built again when it is asked for. POST /{db}/_view_cleanup does that after a change of its design document."
	remedyCounts  = "Counts and offsets are wrong, documents are not. Replicate the database into a new one to count anew."
)

// Check looks at everything that is stored and tells what is not as it should be. Documents, their trees, bodies and
// places in the update sequence, attachments and their references, counters, and indexes are compared with each other.
// It changes nothing. The error is set if the check itself could not go on.
func (s *Store) Check(ctx context.Context, o CheckOptions) (Checked, error) {
	c := &inspector{ctx: ctx, store: s, options: o}
	if err := s.engine.Verify(); err != nil {
		c.problem(Problem{What: "key-value engine", Detail: err.Error(), Remedy: remedyRestore})
		return c.checked, nil // reading on could end the process
	}
	var names []string
	for name, err := range s.Names(NameRange{Limit: -1}) {
		if err != nil {
			return c.checked, err
		}
		names = append(names, name)
	}
	for _, name := range names {
		db, snap, err := s.Snapshot(name)
		if errors.Is(err, ErrNoDatabase) {
			continue // deleted meanwhile
		}
		if errors.Is(err, ErrCorrupt) {
			c.problem(Problem{Database: name, What: "state", Detail: err.Error(), Remedy: remedyRestore})
			continue
		}
		if err != nil {
			return c.checked, err
		}
		err = c.database(db, snap)
		snap.Close()
		if err != nil {
			return c.checked, err
		}
		c.checked.Databases++
		c.progress(true)
	}
	return c.checked, nil
}

type inspector struct {
	ctx     context.Context
	store   *Store
	options CheckOptions
	checked Checked
	steps   int

	db   *DB
	snap *Snapshot
}

func (c *inspector) problem(p Problem) {
	c.checked.Problems++
	if p.Database == "" && c.db != nil {
		p.Database = c.db.name
	}
	if c.options.Report != nil {
		c.options.Report(p)
	}
}

// progress tells how far the check has come, and whether it is to go on.
func (c *inspector) progress(now bool) error {
	if c.steps++; now || c.steps%1024 == 0 {
		if c.options.Progress != nil {
			c.options.Progress(c.checked)
		}
		return c.ctx.Err()
	}
	return nil
}

// walk calls f for each key of a space of the database, without what all keys of the space start with.
func (c *inspector) walk(keys keyspace, space byte, f func(key, value []byte) error) error {
	it := c.snap.kv.Iterate(kv.Range{Prefix: keys.space(space, 0)})
	defer it.Close()
	for it.Next() {
		value, err := it.Value()
		if err == nil {
			err = f(it.Key()[spacePrefixLen:], value)
		}
		if err == nil {
			err = c.progress(false)
		}
		if err != nil {
			return outer(err)
		}
	}
	return outer(it.Err())
}

func (c *inspector) database(db *DB, snap *Snapshot) error {
	c.db, c.snap = db, snap
	defer func() { c.db, c.snap = nil, nil }()
	for _, part := range []func() error{c.documents, c.sequence, c.bodies, c.counts, c.attachments, c.references, c.locals, c.indexes} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// sequence checks that each entry of the update sequence is its document's only one. That each document has one was
// seen when the documents were read.
func (c *inspector) sequence() error {
	return c.walk(c.db.keys, spaceSeq, func(key, value []byte) error {
		seq := Seq(binary.BigEndian.Uint64(key))
		bad := func(detail string) error {
			c.problem(Problem{What: "sequence", Name: fmt.Sprint(uint64(seq)), Detail: detail, Remedy: remedyRestore})
			return nil
		}
		change, err := parseChange(seq, value)
		if err != nil {
			return bad(err.Error())
		}
		if seq > c.snap.state.seq {
			return bad("it is ahead of the database, which is at " + fmt.Sprint(uint64(c.snap.state.seq)))
		}
		row, err := c.snap.Lookup(change.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			return bad("its document " + change.ID + " is not there")
		case errors.Is(err, ErrCorrupt):
			return nil // told before
		case err != nil:
			return err
		case row.Seq != seq:
			return bad(fmt.Sprintf("its document %s changed last at %d", change.ID, row.Seq))
		}
		return nil
	})
}

// bodies checks that all stored bodies belong to revisions that are known.
func (c *inspector) bodies() error {
	return c.walk(c.db.keys, spaceBody, func(key, _ []byte) error {
		id, rev, ok := parseBody(append(make([]byte, spacePrefixLen), key...))
		if !ok {
			c.problem(Problem{What: "body", Name: fmt.Sprintf("%x", key), Detail: "its key makes no sense", Remedy: remedyCompact})
			return nil
		}
		row, err := c.snap.Lookup(id)
		if err == nil {
			tree, terr := row.Tree()
			if terr != nil {
				return nil // told before
			}
			if i, known := tree.Find(rev); known && tree.Node(i).Kept {
				return nil
			}
			err = ErrNotFound
		}
		if errors.Is(err, ErrNotFound) {
			c.problem(Problem{What: "body", Name: id + " " + rev.String(), Detail: "no document has this revision", Remedy: remedyCompact})
			return nil
		}
		if errors.Is(err, ErrCorrupt) {
			return nil
		}
		return err
	})
}

// counts compares counted ranges with what is in them.
func (c *inspector) counts() error {
	for which := range c.db.ranks {
		space := c.db.ranks[which].space
		var end []byte
		first := true
		err := c.walk(c.db.keys, spaceRank, func(key, value []byte) error {
			if key[0] != space {
				return nil
			}
			start := slices.Clone(key[1:])
			r, err := parseCountedRange(value)
			bad := func(detail string) {
				c.problem(Problem{What: "counted range", Name: fmt.Sprintf("%c %q", space, start), Detail: detail, Remedy: remedyCounts})
			}
			if err != nil {
				bad(err.Error())
				return nil
			}
			if first && len(start) > 0 || !first && !bytes.Equal(start, end) {
				bad("it does not begin where the one before ends")
			}
			first, end = false, slices.Clone(r.end)
			n, err := c.snap.countLive(space, start, r.end, nil)
			if err != nil {
				return err
			}
			if n != r.count {
				bad(fmt.Sprintf("it says %d entries and has %d", r.count, n))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !first && len(end) > 0 {
			c.problem(Problem{What: "counted range", Name: fmt.Sprintf("%c %q", space, end), Detail: "it is missing", Remedy: remedyCounts})
		}
	}
	return nil
}

// locals checks that local documents can be read.
func (c *inspector) locals() error {
	return c.walk(c.db.keys, spaceLocal, func(key, value []byte) error {
		if _, err := parseLocal(string(key), value); err != nil {
			c.problem(Problem{What: "local document", Name: string(key), Detail: err.Error(), Remedy: "Delete it."})
		}
		return nil
	})
}
