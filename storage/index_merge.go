package storage

import "bytes"

// merge merges rows of several sources; the zero merge has none. Of those at one position that of the latest pass comes
// alone, or none if it has been removed since.
type merge struct {
	heap   []mergeSource
	begun  bool
	buries bool   // there are removals alone
	last   []byte // the position of the row
	err    error
}

// mergeSource is a source, and the row that it stands at.
type mergeSource struct {
	rowSource
	removals bool // its rows say what has been removed; see removals
	rank     uint64
	row      storedRow
}

// rowRank and removalRank order what different passes say of one position: the greatest counts.
func rowRank(pass uint64) uint64     { return 2 * pass }
func removalRank(pass uint64) uint64 { return 2*pass + 1 }

// add adds the rows of a pass, before the first next.
func (m *merge) add(s rowSource, pass uint64) {
	m.heap = append(m.heap, mergeSource{rowSource: s, rank: rowRank(pass)})
}

// remove adds removals, before the first next.
func (m *merge) remove(s rowSource) {
	m.heap = append(m.heap, mergeSource{rowSource: s, removals: true})
}

// bury merges removals with each other: what comes of it are removals.
func (m *merge) bury(s rowSource) {
	m.buries = true
	m.remove(s)
}

func (m *merge) less(i, j int) bool {
	a, b := &m.heap[i], &m.heap[j]
	if c := bytes.Compare(a.row.position, b.row.position); c != 0 {
		return c < 0
	}
	return a.rank > b.rank
}

// next moves to the next row, which is that of the first source of the heap.
func (m *merge) next() bool {
	for m.step() {
		top := &m.heap[0]
		if bytes.Equal(top.row.position, m.last) {
			continue
		}
		m.last = append(m.last[:0], top.row.position...)
		if !top.removals || m.buries {
			return true
		}
	}
	return false
}

// step is next without regard to positions that are the same.
func (m *merge) step() bool {
	if m.begun {
		m.advance(0)
		m.down(0)
	} else {
		m.begun = true
		for i := len(m.heap) - 1; i >= 0; i-- {
			m.advance(i)
		}
		for i := len(m.heap)/2 - 1; i >= 0; i-- {
			m.down(i)
		}
	}
	return m.err == nil && len(m.heap) > 0
}

// advance moves a source on, and takes it out at its end.
func (m *merge) advance(i int) {
	s := &m.heap[i]
	if s.next() {
		s.row = s.stored()
		if s.removals {
			s.rank = removalRank(removalPass(s.row.value))
		}
		return
	}
	if err := s.failure(); err != nil && m.err == nil {
		m.err = err
	}
	last := len(m.heap) - 1
	m.heap[i] = m.heap[last]
	m.heap[last] = mergeSource{}
	m.heap = m.heap[:last]
}

func (m *merge) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			return
		}
		if child+1 < len(m.heap) && m.less(child+1, child) {
			child++
		}
		if !m.less(child, i) {
			return
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
}

// row returns the row, valid until the next one.
func (m *merge) row() *storedRow { return &m.heap[0].row }

// notes merges the notes of several passes, and returns each document's of its last pass to keep, and those of earlier
// passes to drop. A note without a value says that the document has no rows any more.
func (m *merge) notes(keep func(*storedRow) error, drop func(r *storedRow, pass uint64) error) error {
	var rank uint64
	for m.step() {
		top := &m.heap[0]
		id := noteID(top.row.position)
		var err error
		switch {
		case !bytes.Equal(id, m.last): // the first piece of the last pass
			m.last, rank = append(m.last[:0], id...), top.rank
			fallthrough
		case top.rank == rank:
			if len(top.row.value) > 0 {
				err = keep(&top.row)
			}
		case len(top.row.value) > 0:
			err = drop(&top.row, top.rank/2)
		}
		if err != nil {
			return err
		}
	}
	return m.err
}
