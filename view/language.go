package view

import (
	"context"

	"github.com/mangrove-db/mangrove/document"
)

// Language turns the definitions of design documents that name it into programs. It is safe for concurrent use.
type Language interface {
	// Compile checks the spaces of d and returns what fills them. It is called once for a Design, when an index is
	// first needed.
	Compile(d *Design) (Program, error)
}

// Program fills the spaces of a design document. It is safe for concurrent use.
type Program interface {
	// NewMapper returns a mapper for one goroutine.
	NewMapper() (Mapper, error)
}

// Mapper turns documents into rows. It is used by one goroutine at a time.
type Mapper interface {
	// Map emits the rows of a document. json is the text of d as map functions see it: with _id and _rev, and if it
	// has any _attachments (as stubs), _conflicts, _deleted_conflicts, and _local_seq if the design document asks for
	// it. Neither may be kept. emit takes the index of a space of the Design, and a key and a value as JSON, of which
	// it keeps copies; its error ends the call. An error of Map ends the build of the index: a document that just has
	// no rows is none.
	Map(ctx context.Context, d *document.Document, json []byte, emit Emit) error
	// Close frees what the mapper holds.
	Close()
}

// Emit takes a row for a space.
type Emit func(space int, key, value []byte) error
