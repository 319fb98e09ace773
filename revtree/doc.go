// Package revtree holds the revision tree of one document: which revisions are
// known, which follows which, and which of them is shown. It is pure data and
// does no I/O.
//
// # Shape
//
// A [Tree] is a list of nodes in ascending order of [ID], which is the
// generation first and then the bytes of the hash. A parent's generation is
// exactly one less than its child's, so this order is also a topological one:
// every parent stands before its children, and each algorithm here is one or
// two passes over the list, forwards or backwards, without recursion. A
// document may have several roots: replication hands over histories that were
// cut short, and stemming cuts them here.
//
// A node is identified by its ID alone. CouchDB identifies it by the whole path
// instead, but a revision's hash covers its parent's, so that both come to the
// same for every history that was made by editing.
//
// # Algebra
//
// [Merge] is commutative, associative and idempotent: trees form a
// join-semilattice. Each part of a node is merged by such an operation itself.
//
//   - The nodes of a merge are the union of both sides' nodes.
//   - A parent is the greater of those named, and none is below any. Honest
//     histories never name two; forged ones end in the same tree everywhere.
//   - A stored revision beats one known only by name. Of two that are stored the
//     first stands, as in CouchDB: Deleted, Seq and Size come from the lower Seq.
//     Kept is or'ed.
//
// The winner and the order of the leaves follow from the tree alone, so servers
// that have merged the same paths, in whatever order, agree on them. Only where
// one revision was forged in two versions may each server hold to the one that
// it saw first.
//
// [Tree.Stem] is not part of this algebra: it forgets, and what it forgets
// decides whether a fragment that arrives later joins or stands apart. It
// belongs at the very end of a write, after all merging, and [Tree.Add] does
// both, the way CouchDB does.
package revtree
