package integration

// sequential are the modules whose transcripts change the state of the whole
// server; they are replayed one after the other.
var sequential = map[string]bool{
	"auth": true, "config": true, "cors": true, "server": true,
}

// later are the modules of transcripts that wait for a capability which the
// server does not have yet.
var later = map[string]string{}

// skips are single transcripts that are not replayed, and why.
// docs/compatibility.md names each of them.
var skips = map[string]string{
	"server/db-updates": "the feed needs no _global_changes database to be made first",
}
