// Package storage keeps databases of documents in one ordered key-value engine.
//
// # Key spaces
//
// The first byte of a key names its family. Integers are big-endian, so that they sort by value.
//
//	00 name                      node: "format", "uuid", "clean", "epoch", "next"; see format.go
//	01 database name             catalogue: the database's entry
//	02 database id:4             a dropped database whose keys are still to be removed
//	03 "n" database name         database updates: the number of the newest update of a name
//	03 "s" number:8              database updates: name and kind, by number
//	10 database id:4 space key   everything of one database:
//
//	   m  name                   state (counters, update sequence), epochs, security, limits, generation of design documents
//	   d  docid                  by-id: winner, its body when small, revision tree
//	   s  sequence:8             by-seq: docid and leaves, one entry per document
//	   b  docid revision         bodies that are not inline: large ones, other leaves, superseded revisions
//	   l  docid                  local documents
//	   a  address:32             attachments: where the content is
//	   c  address:32             content of small attachments (large ones are blobs of the engine)
//	   r  address:32 docid       which documents have an attachment
//	   p  purge sequence:8       purges
//	   k  space key              counted ranges over d and s; see rank.go
//	   i  signature              indexes: the id of each one's key space; see index.go
//
// A document id sorts by its bytes, which is CouchDB's order of _all_docs. In the body space it stands behind its
// length, so that all bodies of one document, and nothing else, share a prefix.
//
// # Writes
//
// All edits of a database pass through one writer, which commits whatever is waiting in one transaction; the store
// syncs once for all databases that have committed meanwhile, and only then are the callers answered (writer.go).
// Sequence order is commit order, because the sequence is read and written in the transaction that uses it.
//
// # Reads
//
// Every read happens on a Snapshot of one moment. See snapshot.go.
package storage

import (
	"encoding/binary"

	"github.com/mangrove-db/mangrove/revtree"
)

// The families of keys.
const (
	familyNode      = 0x00
	familyCatalogue = 0x01
	familyDropped   = 0x02
	familyUpdates   = 0x03
	familyDatabase  = 0x10
)

// The spaces of a database.
const (
	spaceMeta       = 'm'
	spaceDoc        = 'd'
	spaceSeq        = 's'
	spaceBody       = 'b'
	spaceLocal      = 'l'
	spaceAttachment = 'a'
	spaceContent    = 'c'
	spaceReference  = 'r'
	spacePurge      = 'p'
	spaceRank       = 'k'
)

func nodeKey(name string) []byte      { return append([]byte{familyNode}, name...) }
func catalogueKey(name string) []byte { return append([]byte{familyCatalogue}, name...) }
func droppedKey(id uint32) []byte     { return binary.BigEndian.AppendUint32([]byte{familyDropped}, id) }

func updateNameKey(name string) []byte {
	return append([]byte{familyUpdates, 'n'}, name...)
}

func updateSeqKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{familyUpdates, 's'}, n)
}

// databasePrefix is what all keys of a database start with.
func databasePrefix(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{familyDatabase}, id)
}

// keyspace builds the keys of one database.
type keyspace [5]byte

func newKeyspace(id uint32) (k keyspace) {
	copy(k[:], databasePrefix(id))
	return k
}

const spacePrefixLen = len(keyspace{}) + 1

// space starts a key, with room for n more bytes.
func (k keyspace) space(space byte, n int) []byte {
	b := make([]byte, 0, spacePrefixLen+n)
	b = append(b, k[:]...)
	return append(b, space)
}

func (k keyspace) text(space byte, s string) []byte {
	return append(k.space(space, len(s)), s...)
}

func (k keyspace) meta(name string) []byte { return k.text(spaceMeta, name) }
func (k keyspace) doc(id string) []byte    { return k.text(spaceDoc, id) }
func (k keyspace) local(id string) []byte  { return k.text(spaceLocal, id) }

func (k keyspace) number(space byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(k.space(space, 8), n)
}

func (k keyspace) seq(s Seq) []byte { return k.number(spaceSeq, uint64(s)) }

// bodies is the prefix of all bodies of a document.
func (k keyspace) bodies(id string) []byte {
	b := binary.AppendUvarint(k.space(spaceBody, len(id)+24), uint64(len(id)))
	return append(b, id...)
}

func (k keyspace) body(id string, rev revtree.ID) []byte {
	b := binary.AppendUvarint(k.bodies(id), uint64(rev.Gen))
	return append(b, rev.Hash...)
}

// parseBody takes a key of the body space apart.
func parseBody(key []byte) (id string, rev revtree.ID, ok bool) {
	key = key[spacePrefixLen:]
	n, w := binary.Uvarint(key)
	if w <= 0 || n > uint64(len(key)-w) {
		return "", rev, false
	}
	id, key = string(key[w:w+int(n)]), key[w+int(n):]
	gen, w := binary.Uvarint(key)
	if w <= 0 {
		return "", rev, false
	}
	return id, revtree.ID{Gen: int(gen), Hash: string(key[w:])}, true
}

// address is the content address of an attachment: the SHA-256 of its stored bytes.
type address = [32]byte

func (k keyspace) attachment(a address) []byte {
	return append(k.space(spaceAttachment, len(a)), a[:]...)
}

func (k keyspace) content(a address) []byte { return append(k.space(spaceContent, len(a)), a[:]...) }

func (k keyspace) references(a address) []byte {
	return append(k.space(spaceReference, len(a)+32), a[:]...)
}

func (k keyspace) reference(a address, id string) []byte { return append(k.references(a), id...) }

// id returns the number of the database or index.
func (k keyspace) id() uint32 { return binary.BigEndian.Uint32(k[1:]) }
