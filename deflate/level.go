package deflate

// The levels NewWriter accepts. The levels below MinLevel use other matchers in
// zlib, and this package has none of them.
const (
	MinLevel = 4
	MaxLevel = 9
)

// tuning says how hard a level looks for matches. Lengths are in bytes.
type tuning struct {
	goodMatch int // from this length on, a waiting match quarters the search for a better one
	maxLazy   int // from this length on, a waiting match is not improved at all
	niceMatch int // a match of this length ends the search
	maxChain  int // positions tried per search
}

// tunings holds zlib's configuration table, from MinLevel on.
var tunings = [MaxLevel - MinLevel + 1]tuning{
	{goodMatch: 4, maxLazy: 4, niceMatch: 16, maxChain: 16},
	{goodMatch: 8, maxLazy: 16, niceMatch: 32, maxChain: 32},
	{goodMatch: 8, maxLazy: 16, niceMatch: 128, maxChain: 128},
	{goodMatch: 8, maxLazy: 32, niceMatch: 128, maxChain: 256},
	{goodMatch: 32, maxLazy: 128, niceMatch: 258, maxChain: 1024},
	{goodMatch: 32, maxLazy: 258, niceMatch: 258, maxChain: 4096},
}
