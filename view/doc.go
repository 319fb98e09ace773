// Package view builds the indexes that design documents ask for, and answers queries of them: CouchDB's map/reduce
// views, and whatever else turns documents into rows (see [Language]).
//
// # Indexes
//
// All views of a design document live in one [storage.Index], whose signature is an MD5 over everything that decides
// which rows it has. Views with the same map function and options share a space of rows, over which the reducers of
// each are kept; design documents of the same signature share the index. So a design document can be tried out under
// another name, and once its index is built be copied to its place, at no cost.
//
// # Building
//
// An index follows the sequence of its database. A build (build.go, pipeline.go) takes a snapshot, reads what has
// changed since the index's own sequence, lets several mappers turn winners into rows, and commits these in the order
// of sequences with the sequence that they reach: whatever happens, the index is what its sequence says. All who need
// an index wait for the same build, which goes on if they go away.
//
// Indexes are built when a query asks for it, and in the background as documents arrive ([Indexer.Serve], CouchDB's
// ken), which also drops the indexes that no design document asks for any more.
//
// # Rows
//
// A row's place is given by sortable bytes of its key (package collate), behind the partition if the design document
// is partitioned. Its value holds the key's text, from which the bytes cannot be told, and the value's; see row.go.
// Rows that one document emits with equal keys are in the order of their values, numbers first, as in CouchDB.
//
// # Queries
//
// A [Reader] is an index at one moment together with the documents of that moment. Offsets and skips cost O(log n),
// and so does a reduction of any range, because storage keeps counts and reductions of stretches of rows.
package view
