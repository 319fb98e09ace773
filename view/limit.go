package view

// ReduceLimit is what the reductions of JavaScript functions, and sums, must keep to: CouchDB's reduce_limit,
// reduce_limit_threshold and reduce_limit_ratio in [query_server_config].
type ReduceLimit struct {
	Mode LimitMode
	// A reduction fails that is longer than Threshold bytes and longer than its input divided by Ratio.
	Threshold int
	Ratio     float64
}

// LimitMode says what becomes of a reduction that exceeds the limit.
type LimitMode uint8

// The modes of a limit.
const (
	LimitOn  LimitMode = iota // it is replaced by an error
	LimitLog                  // it is logged
	LimitOff                  // nothing
)

// DefaultReduceLimit is CouchDB's.
var DefaultReduceLimit = ReduceLimit{Mode: LimitOn, Threshold: 5000, Ratio: 2}

func (l ReduceLimit) exceeded(in, out int) bool {
	return l.Mode != LimitOff && out > l.Threshold && float64(out)*l.Ratio > float64(in)
}
