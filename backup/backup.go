// Package backup writes databases into files and brings them back.
//
// # The file
//
// A backup is a file of lines, each a JSON text, that the tool couchbackup (npm @cloudant/couchbackup) reads as well:
//
//	{"name":"mangrove","version":"1.2.3","mode":"full","attachments":true,"mangrove":{...}}
//	[{"_id":...,"_rev":...,"_revisions":{...},...},...]
//	...
//	{"marker":"@cloudant/couchbackup:resume","mangrove":{...}}
//
// The first line says what is there; its member "mangrove" is an Origin: the settings of the database and its figures.
// Lines that are arrays hold documents: every leaf revision with its ancestry, conflicts and deletions too, attachments
// inline. Design documents come after all others, so that no function of theirs has a say while a file is restored, and
// local documents, but for the checkpoints of replications, come last. The last line is an Ending, with the SHA-256 of
// everything before it: a file that was cut or changed is not taken for a good one. To couchbackup it is a mark that it
// skips.
//
// Reader reads files of couchbackup too, of any version. Those can only be checked for their form.
//
// # Both sides
//
// A node writes the file itself, from one snapshot (Write); from a server that cannot do that, such as CouchDB, a
// client gathers the documents through the replication protocol, and gets a file that has everything up to the moment
// the backup began, and perhaps some of what came later. Everything else is the client's side, and talks HTTP.
package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Path is what a database's backup is found under, below the database; it answers with ContentType.
const (
	Path        = "_backup"
	ContentType = "application/x-ndjson"
)

// FormatVersion is the version of the members "mangrove". Readers refuse newer ones.
const FormatVersion = 1

// resumeMarker is what couchbackup marks a line with from which a backup went on.
const resumeMarker = "@cloudant/couchbackup:resume"

var (
	// ErrCut says that a backup ends before its end: it was cut, or the backup did not finish.
	ErrCut = errors.New("the backup is cut: its end is missing")
	// ErrChanged says that a backup is not what was written.
	ErrChanged = errors.New("the backup was changed after it was written, or damaged")
	// ErrFormat says that something is not a backup, or of a newer form.
	ErrFormat = errors.New("not a backup")
)

// header is the first line.
type header struct {
	Name        string  `json:"name"`
	Version     string  `json:"version"`
	Mode        string  `json:"mode"`
	Attachments bool    `json:"attachments,omitempty"`
	Mangrove    *Origin `json:"mangrove,omitempty"`
}

// Origin says where a backup comes from.
type Origin struct {
	Format   int       `json:"format"`
	Database string    `json:"database"`
	Started  time.Time `json:"started"`
	// Snapshot tells that everything is of one moment.
	Snapshot  bool   `json:"snapshot"`
	UpdateSeq string `json:"update_seq"`
	// Documents and Deleted are the figures of the database, not of the file. Bytes is roughly their size.
	Documents uint64 `json:"documents"`
	Deleted   uint64 `json:"deleted"`
	Bytes     uint64 `json:"bytes"`

	Partitioned      bool            `json:"partitioned,omitempty"`
	Q                int             `json:"q,omitempty"`
	N                int             `json:"n,omitempty"`
	Security         json.RawMessage `json:"security,omitempty"`
	RevsLimit        int             `json:"revs_limit,omitempty"`
	PurgedInfosLimit int             `json:"purged_infos_limit,omitempty"`
}

// Counts are what has been written to a file, or read from it.
type Counts struct {
	Documents uint64 `json:"documents"` // different ids, but for local ones
	Revisions uint64 `json:"revisions"`
	Local     uint64 `json:"local"`
}

// Ending is the member "mangrove" of the last line.
type Ending struct {
	Format int `json:"format"`
	Counts
	// Missing are leaves whose bodies the database does not have.
	Missing   uint64 `json:"missing,omitempty"`
	UpdateSeq string `json:"update_seq"`
	Bytes     int64  `json:"bytes"`  // before this line
	SHA256    string `json:"sha256"` // of them, in hex
}

// lastLine is the last line of a backup of ours, or a mark of couchbackup's.
type lastLine struct {
	Marker   string  `json:"marker"`
	Mangrove *Ending `json:"mangrove,omitempty"`
}

// lineError adds where in a file something is wrong.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }
