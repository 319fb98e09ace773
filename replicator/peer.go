package replicator

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
)

// Peer is one side of a replication: a database of this node or of another. The pipeline does not know which. All
// methods may be called by several goroutines. Sequences are opaque texts of the peer's own.
type Peer interface {
	// Name describes the peer for people and logs, without credentials.
	Name() string
	// Info describes the database. It returns ErrNoDatabase if there is none.
	Info(ctx context.Context) (PeerInfo, error)
	// Create makes the database. It is no error if it is there.
	Create(ctx context.Context, p CreateParams) error

	// Changes yields what has changed after r.Since, in order. With r.Continuous it goes on with what comes later,
	// until ctx is done or the peer cannot be reached; otherwise it ends at the present. Where nothing changes for a
	// while it yields rows with an empty ID, whose Seq is how far the peer has looked.
	Changes(ctx context.Context, r ChangesRequest) iter.Seq2[ChangeRow, error]
	// Pending returns how many changes lie behind a sequence; -1 if the peer does not tell.
	Pending(ctx context.Context, since string) (int64, error)
	// RevsDiff returns, for those of asked of which something is missing, what is missing.
	RevsDiff(ctx context.Context, asked []DocRevs) ([]DocRevs, error)
	// Fetch gets revisions with their histories, in any order, and calls visit for each; an error of visit ends it.
	// Revisions that the peer does not have are visited with Err set. Several may be got at the same time, but visit
	// is called for one after the other.
	Fetch(ctx context.Context, wanted []DocRevs, visit func(Revision) error) error
	// Store writes revisions without new edits, and returns for each that was refused for good why. The revisions
	// are durable when it returns without an error.
	Store(ctx context.Context, revs []Revision) ([]Refusal, error)

	// Checkpoint reads a local document; ErrNoCheckpoint if there is none.
	Checkpoint(ctx context.Context, id string) (Checkpoint, error)
	// SaveCheckpoint writes a local document. Its Rev is that which Checkpoint or SaveCheckpoint returned last, or
	// empty; the new one is returned.
	SaveCheckpoint(ctx context.Context, c Checkpoint) (rev string, err error)
	// Commit makes everything durable that was written, and returns the start time of the database's instance, which
	// changes when the database is deleted and made again.
	Commit(ctx context.Context) (startTime string, err error)
}

// Errors of peers.
var (
	// ErrNoDatabase says that a peer has no such database.
	ErrNoDatabase = errors.New("could not open the database")
	// ErrNoCheckpoint says that there is no such local document.
	ErrNoCheckpoint = errors.New("no checkpoint")
	// ErrUnauthorized says that a peer does not accept the credentials, or that they do not suffice.
	ErrUnauthorized = errors.New("unauthorized to access the database")
)

// PeerInfo describes a peer's database.
type PeerInfo struct {
	UpdateSeq string
	StartTime string // of the database's instance
	Docs      int64
	Empty     bool // it has no documents, and no deleted ones either
}

// CreateParams are the parameters with which a database is created.
type CreateParams struct {
	Q, N        int // 0: the peer's default
	Partitioned bool
}

// ChangesRequest says which changes are wanted.
type ChangesRequest struct {
	Since      string // empty: from the beginning
	Continuous bool
	Filter     FilterSpec
	// Query are parameters for a filter function.
	Query map[string]string
	// Inline asks for the revisions themselves along with the rows that name them, where those of a row have no
	// attachments and together at most so many bytes; 0: for none. A peer may leave them out.
	Inline int
}

// ChangeRow is the newest change of a document, with those of its leaves that pass the filter.
type ChangeRow struct {
	Seq  string
	ID   string
	Revs []revtree.ID
	// Inline, if not nil, is the JSON array of the revisions Revs, as documents with _revisions. Nobody has looked at
	// it yet.
	Inline []byte
}

// DocRevs names revisions of a document.
type DocRevs struct {
	ID   string
	Revs []revtree.ID
	// Known are revisions that the other side has, from which attachments need not be sent again; RevsDiff sets it.
	Known []revtree.ID
}

// Revision is a revision on its way between peers. Doc.Rev is the revision and Doc.Revisions its history.
type Revision struct {
	Doc *document.Document
	// Content calls visit for each attachment with Follows set, in the document's order, with its stored bytes (still
	// encoded, if it has an Encoding). It can be called once, and before the next Revision is looked at. It is nil if
	// no attachment follows.
	Content func(visit func(*document.Attachment, io.Reader) error) error
	// BulkGet tells that it came together with others by one _bulk_get.
	BulkGet bool
	// Err says why there is no such revision; Doc then has only ID and Rev.
	Err error
}

// Refusal is a revision that a peer will not take, however often it is sent.
type Refusal struct {
	ID     string
	Rev    revtree.ID
	Name   string // CouchDB's "error"
	Reason string
}

// Checkpoint is a local document with the record of a replication.
type Checkpoint struct {
	ID   string // without "_local/"
	Rev  string
	Body []byte // JSON object without the _ members
}
