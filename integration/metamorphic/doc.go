// Package metamorphic tests replication by what must be true of it whatever
// happens: databases are wired up in a random topology, random operations and
// faults befall them, and when everybody has replicated with everybody they
// must agree.
//
// # Scenarios
//
// A [Scenario] is a list of lines that people can read: where the databases
// are, which are neighbours, and the operations, one a line (ops.go). It comes
// from a seed (generator.go, topology.go) or from a file. An operation finds
// out for itself what it applies to at the moment it runs and does nothing if
// there is no such thing, so that a scenario stays one when lines are left
// out; [Shrink] rests on that.
//
// # What must hold
//
// All writes are remembered in a model: each revision with its parent and its
// content. When a scenario has come to its end, neighbours replicate both ways
// until a whole round writes nothing. Then, for the databases that reach each
// other:
//
//   - No revision is there that nobody wrote, and none with another parent,
//     body or attachment than was written.
//   - A revision is in all of these databases or in none; and it is there if a
//     write of it was acknowledged in one of them, or if one of them was the
//     target of a replication that was answered with success and before which
//     the source must have had it. (A request to do what is being done already
//     gets the answer of the job that runs, as in CouchDB; from that one,
//     nothing follows.)
//   - A database tells the same everywhere: _changes, _all_docs, _bulk_get and
//     its counters agree on documents, leaves and winners, and the winner is
//     the one that follows from the leaves.
//
// Two operations take something back, and about what they touch less can be
// promised. With M the lowest revisions limit that any database had:
//
//   - A revision that a purge has removed from some database may be in each
//     database or not: a purge is not replicated, a neighbour may send the
//     revision again or, if it did so before, never again.
//   - A revision with a descendant M or more steps away may have been stemmed,
//     by a database that had it or by one that was just about to get it. It
//     too may be in each database or not; it may be a leaf where the
//     descendant came without the revisions in between; and its children may
//     be without their parent.
//
// All others must be everywhere: whoever has a revision has all its ancestors
// less than M steps back, since no path is ever cut shorter and since a purge
// takes ancestors only together with all their descendants.
//
// A database that is deleted and made again loses what it alone had, and must
// get back all that others have.
package metamorphic
