package metamorphic

// Shrink looks for a shorter scenario that still fails: it leaves out operations, first many at a time, then fewer,
// as long as fails says yes and budget, in calls of fails, allows.
func Shrink(s *Scenario, budget int, fails func(*Scenario) bool) *Scenario {
	best := *s
	for size := len(best.Ops) / 2; size > 0; {
		removed := false
		for at := 0; at < len(best.Ops) && budget > 0; {
			try := best
			try.Ops = without(best.Ops, at, size)
			budget--
			if fails(&try) {
				best, removed = try, true
			} else {
				at += size
			}
		}
		switch {
		case budget == 0:
			return &best
		case removed && size == 1: // what is left may have become removable
		default:
			size /= 2
		}
	}
	return &best
}

// without returns ops less the n from at on.
func without(ops []Op, at, n int) []Op {
	kept := append([]Op{}, ops[:at]...)
	return append(kept, ops[min(at+n, len(ops)):]...)
}
