package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// indexes checks that each index's rows are those that its documents are noted to have, and that the counts in its
// trees are right. What the rows say is for the functions of the design documents.
func (c *inspector) indexes() error {
	entries, err := indexEntries(c.snap.kv, c.db.keys)
	if err != nil {
		return err
	}
	for _, e := range entries {
		c.checked.Indexes++
		bad := func(detail string) {
			c.problem(Problem{What: "index", Name: e.signature, Detail: detail, Remedy: remedyIndex})
		}
		keys := newKeyspace(e.id)
		value, err := c.snap.kv.Get(keys.header())
		if errors.Is(err, kv.ErrNotFound) {
			bad("it has no header")
			continue
		}
		if err != nil {
			return outer(err)
		}
		h, err := parseHeader(value)
		if err != nil {
			bad(err.Error())
			continue
		}
		if err := c.index(keys, h, bad); err != nil {
			return err
		}
	}
	return nil
}

func (c *inspector) index(keys keyspace, h *header, bad func(string)) error {
	noted := make([]uint64, len(h.spaces))
	err := c.walk(keys, spaceSource, func(key, value []byte) error {
		if len(key) < 6 {
			bad("the key of a document's rows makes no sense")
			return nil
		}
		id := parseIndexID(key[:len(key)-4])
		_, list, err := parseSources(slices.Clone(value), keys, id, len(h.spaces))
		if err != nil {
			bad(fmt.Sprintf("document %s: %v", id, err))
			return nil
		}
		for i := range list {
			s := &list[i]
			noted[s.space]++
			row, err := c.snap.kv.Get(s.rowKey)
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return outer(err)
			}
			parsed, perr := parseIndexRow(s.position(), row)
			if err != nil || perr != nil || hashBytes(parsed.Value) != s.hash || parsed.ID != id {
				bad(fmt.Sprintf("a row of document %s is missing or another", id))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for space := range h.spaces {
		n, err := c.indexRows(keys, h, space, bad)
		if err != nil {
			return err
		}
		c.checked.Rows += n
		if n != h.spaces[space].rows || n != noted[space] {
			bad(fmt.Sprintf("space %d has %d rows, its header says %d, its documents %d", space, n, h.spaces[space].rows, noted[space]))
		}
	}
	return nil
}

// indexRows counts the rows of a space, and compares the counts in its tree with them.
func (c *inspector) indexRows(keys keyspace, h *header, space int, bad func(string)) (uint64, error) {
	t := &treeCheck{c: c, bad: bad, keys: keys, reducers: int(h.spaces[space].reducers)}
	t.rows = c.snap.kv.Iterate(kv.Range{Prefix: keys.rows(space)})
	defer t.rows.Close()
	t.more = t.rows.Next()
	if s := h.spaces[space]; !h.bare && s.root != 0 {
		if _, err := t.node(s.root, int(s.height), nil); err != nil {
			return t.seen, err
		}
	}
	n, err := t.run(nil)
	if err == nil && n > 0 && !h.bare {
		bad(fmt.Sprintf("%d rows of space %d are not in its tree", n, space))
	}
	return t.seen, err
}

// treeCheck walks over a tree and the rows below it side by side.
type treeCheck struct {
	c        *inspector
	bad      func(string)
	keys     keyspace
	reducers int
	rows     kv.Iterator
	more     bool
	seen     uint64
}

// run counts the rows before end.
func (t *treeCheck) run(end []byte) (n uint64, err error) {
	for t.more && (end == nil || bytes.Compare(t.rows.Key()[rowPrefixLen:], end) < 0) {
		n++
		t.seen++
		t.more = t.rows.Next()
		if err := t.c.progress(false); err != nil {
			return n, err
		}
	}
	return n, outer(t.rows.Err())
}

// node returns how many rows are below a node that ends at end.
func (t *treeCheck) node(id uint64, level int, end []byte) (sum uint64, err error) {
	var n *treeNode
	value, err := getNode(t.c.snap.kv, t.keys, id)
	if err == nil {
		n, err = parseNode(value, t.reducers)
	}
	if err == nil && n.level != level {
		err = corrupt("a node of an index on the wrong level", nil)
	}
	if errors.Is(err, ErrCorrupt) {
		t.bad(err.Error())
		return t.run(end)
	}
	if err != nil {
		return 0, err
	}
	for i := range n.entries {
		e := &n.entries[i]
		var rows uint64
		if level == 1 {
			rows, err = t.run(n.end(i, end))
		} else {
			rows, err = t.node(e.child, level-1, n.end(i, end))
		}
		if err != nil {
			return sum, err
		}
		if rows != e.count {
			t.bad(fmt.Sprintf("a node on level %d counts %d rows where there are %d", level, e.count, rows))
		}
		sum += rows
	}
	return sum, nil
}
