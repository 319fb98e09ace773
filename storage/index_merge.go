package storage

import "bytes"

// merge merges rows of several sources. Where rows of several sources have the same position, that of the latest pass
// comes alone.
type merge struct {
	heap  []mergeSource
	begun bool
	err   error
}

type mergeSource struct {
	rowSource
	pass uint64
	row  storedRow
}

func newMerge() *merge { return &merge{} }

// add adds a source, before the first next.
func (m *merge) add(s rowSource, pass uint64) {
	m.heap = append(m.heap, mergeSource{rowSource: s, pass: pass})
}

func (m *merge) less(i, j int) bool {
	a, b := &m.heap[i], &m.heap[j]
	if c := bytes.Compare(a.row.position, b.row.position); c != 0 {
		return c < 0
	}
	return a.pass > b.pass
}

// next moves to the next row, which is that of the first source of the heap.
func (m *merge) next() bool {
	if !m.begun {
		m.begun = true
		for i := len(m.heap) - 1; i >= 0; i-- {
			m.advance(i)
		}
		for i := len(m.heap)/2 - 1; i >= 0; i-- {
			m.down(i)
		}
		return m.err == nil && len(m.heap) > 0
	}
	m.advance(0)
	m.down(0)
	return m.err == nil && len(m.heap) > 0
}

// advance moves a source on, and takes it out at its end.
func (m *merge) advance(i int) {
	s := &m.heap[i]
	if s.next() {
		s.row = s.stored()
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

// row returns the row, valid until the next one, and its pass.
func (m *merge) row() (*storedRow, uint64) { return &m.heap[0].row, m.heap[0].pass }

// superseded says for documents that several passes have seen which was the last.
type superseded map[string]uint64

// notes merges the notes of several passes and returns them to each: those of each document's last pass.
func (s superseded) notes(m *merge, each func(*storedRow) error) error {
	var last []byte // the position of the last first piece
	var pass uint64
	for m.next() {
		row, from := m.row()
		if len(row.position) < 4 {
			return corrupt("rows of a document in an index", nil)
		}
		id := row.position[:len(row.position)-4]
		if !bytes.Equal(id, last) {
			last, pass = append(last[:0], id...), from // the first piece; the latest pass comes first
		} else if from != pass {
			s[string(id)] = pass
			continue
		}
		if len(row.value) == 0 {
			continue // it has no rows any more
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return m.err
}

// rows merges rows and returns those to each that are not superseded.
func (s superseded) rows(m *merge, each func(*storedRow) error) error {
	for m.next() {
		row, from := m.row()
		if len(s) > 0 {
			id, ok := cutIndexID(row.position, row.key)
			if !ok {
				return corrupt("row of an index", nil)
			}
			if pass, ok := s[string(id)]; ok && from < pass {
				continue
			}
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return m.err
}
