// Package deflate writes gzip streams that are, byte for byte, the ones the
// zlib library writes with deflateInit2(level, Z_DEFLATED, 15+16, 8,
// Z_DEFAULT_STRATEGY) at the levels 4 to 9.
//
// CouchDB keeps compressible attachments gzipped by zlib at level 8. The MD5 of
// those bytes is the attachment's digest, the digest is part of the document's
// revision id, and two nodes that took the same edit must give it the same
// revision id. A DEFLATE encoder is free in nearly everything it does, and
// compress/gzip uses that freedom differently, so it cannot stand in here.
//
// # What is contractual
//
// Every decision below shows in the output. They are those of zlib 1.2.12 to
// 1.3 (testdata/zlib.txt tells which release the tests compare with), and
// changing one for speed or for ratio breaks the contract.
//
//   - Finding matches (window.go, match.go). Strings of three bytes are hashed
//     into 15 bits, and a chain lists the positions of one hash, newest first;
//     strings that merely share the hash count as steps. A chain is followed
//     for at most maxChain steps, a quarter of that when the match in hand is
//     already goodMatch long; it ends early at a match of niceMatch bytes, or
//     of all the input that is left. Only a strictly longer match replaces an earlier
//     one, so the nearest of equals wins. A link may point at most
//     windowSize-minLookahead bytes back, and inside a chain one byte less.
//     Position 0 of the window doubles as the end of a chain: the first byte
//     of a stream can never be matched, nor can one that sliding moved there.
//   - Lazy matching (match.go). A match waits one byte for a better one, which
//     is looked for only while the waiting one is shorter than maxLazy. A match
//     of three bytes more than tooFar back counts as none.
//   - The sliding window (window.go). It holds twice the 32 KiB a distance can
//     reach and slides when its second half is used up, before matching goes
//     on with less than minLookahead bytes ahead. When it slides matters, by
//     the rule on position 0 above. This package always fills the window
//     before it goes on, as zlib does when it is handed its input whole, so
//     its output does not depend on how the input was cut into writes. (zlib's
//     own output can, where a link of the utmost length meets a slide.)
//   - The end of input (match.go). The last bytes are matched only when no more
//     will come, and strings that would reach beyond the end are not entered
//     into the chains.
//   - Blocks (block.go). A block ends when it holds maxSymbols literals and
//     matches, one less than the buffer of memLevel 8 has room for. It becomes
//     a stored block if that, without its 3 header bits, takes no more bytes
//     than the better of the Huffman forms; it gets the fixed codes if they
//     take no more bytes than dynamic ones. A stored block copies the
//     window's bytes and is out of the question once the window has slid past
//     the first of them.
//   - Huffman codes (tree.go). Codes of equal length for different symbols are
//     settled by the order in which a binary heap yields symbols of equal
//     frequency and subtree depth, by the way too long codes are shortened, by
//     the two symbols each code is padded to, and by the run lengths in which
//     code lengths are sent (lengths.go). All of these follow zlib step by
//     step.
//
// What zlib does besides and does not show in a gzip stream is left out: the
// guess whether data is text (it goes into the caller's structure, not the
// header), zeroing the window's unused end, flushing, dictionaries, and the
// strategies and levels with another matcher.
package deflate
