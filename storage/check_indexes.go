package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// indexes checks that each index's rows are those that its documents are noted to have, and that the order and the
// counts in its trees are right. What the rows say is for the functions of the design documents.
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
		if h.outdated {
			continue // it is built anew when it is asked for
		}
		if err := c.index(keys, h, bad); err != nil {
			return err
		}
	}
	return nil
}

func (c *inspector) index(keys keyspace, h *header, bad func(string)) error {
	// Sums of the hashes of rows do not depend on their order.
	var noted, found, positions uint64
	t := &treeCheck{c: c, bad: bad, keys: keys}
	err := t.tree(&h.notes, "notes", func(r *storedRow) {
		id := parseIndexID(noteID(r.position))
		n, err := parseNote(r.value, id, len(h.spaces))
		if err != nil {
			bad(fmt.Sprintf("document %s: %v", id, err))
			return
		}
		if !slices.Contains(h.torn, id) { // of which the sum is not known
			noted += n.sum
		}
		for _, s := range n.rows {
			positions += rowSum(s.space, s.position, nil)
		}
	})
	for i := 0; i < len(h.spaces) && err == nil; i++ {
		err = t.tree(&h.spaces[i], fmt.Sprintf("space %d", i), func(r *storedRow) {
			c.checked.Rows++
			row, err := r.row()
			if err != nil {
				bad(err.Error())
			}
			if !slices.Contains(h.torn, row.ID) {
				found += rowSum(i, r.position, r.value)
			}
			positions -= rowSum(i, r.position, nil)
		})
	}
	if err == nil && (noted != found || positions != 0) {
		bad("its rows are others than those that its documents are noted to have")
	}
	return err
}

// treeCheck walks over a tree.
type treeCheck struct {
	c        *inspector
	bad      func(string)
	keys     keyspace
	reducers int
	last     []byte // the position of the last row
	leaf     packedRows
}

func (t *treeCheck) tree(h *treeHeader, name string, each func(*storedRow)) error {
	t.last, t.reducers = t.last[:0], int(h.reducers)
	if h.height == 0 {
		return nil
	}
	rows, err := t.node(h.root, int(h.height)-1, nil, nil, each)
	if err == nil && rows != h.rows {
		t.bad(fmt.Sprintf("%s has %d rows, its header says %d", name, rows, h.rows))
	}
	return err
}

// node returns how many rows are below a node, all of which have to lie from from to before end.
func (t *treeCheck) node(id uint64, level int, from, end []byte, each func(*storedRow)) (sum uint64, err error) {
	if err := t.c.progress(false); err != nil {
		return 0, err
	}
	var n *treeNode
	value, err := getNode(t.c.snap.kv, t.keys, id)
	if err == nil && level == 0 {
		err = t.leaf.parseLeaf(value)
	} else if err == nil {
		n, err = parseNode(value, level, t.reducers)
	}
	if errors.Is(err, ErrCorrupt) {
		t.bad(err.Error())
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if level == 0 {
		for i := range t.leaf.list {
			r := t.leaf.row(i)
			if bytes.Compare(r.position, t.last) <= 0 || bytes.Compare(r.position, from) < 0 || end != nil && bytes.Compare(r.position, end) >= 0 {
				t.bad("rows are not in their order")
			}
			t.last = append(t.last[:0], r.position...)
			each(&r)
		}
		return uint64(len(t.leaf.list)), nil
	}
	for i := range n.entries {
		e := &n.entries[i]
		if i > 0 {
			from = e.start
		}
		rows, err := t.node(e.child, level-1, from, n.end(i, end), each)
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
