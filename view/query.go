package view

import "math"

// NoLimit is the Limit of a query that has none.
const NoLimit = math.MaxUint64

// Group says how rows are gathered before they are reduced: GroupNone, GroupExact, or how many of the first elements
// of keys that are arrays tell the groups apart (other keys are groups by themselves).
const (
	GroupNone  = 0
	GroupExact = -1
)

// Query says which rows of a view are wanted.
type Query struct {
	// StartKey and EndKey are JSON texts in the direction of travel; nil leaves the end open.
	StartKey, EndKey []byte
	// StartID and EndID narrow the range among the rows with StartKey and EndKey, or with each of Keys; "" does not.
	StartID, EndID string
	ExclusiveEnd   bool // leaves out rows with EndKey (or those of EndID among them)
	Descending     bool
	// Keys, if HasKeys is set, takes the place of StartKey and EndKey: the rows of each key, in their order, or if
	// Descending is set in the reverse of it.
	Keys    [][]byte
	HasKeys bool
	// Skip and Limit count rows, or groups where they are reduced. NoLimit is no limit.
	Skip, Limit uint64
	Group       int
	// Partition is the one whose rows are wanted, where the design document is partitioned.
	Partition string
}
