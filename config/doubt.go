package config

import (
	"fmt"
	"slices"
	"strings"
)

// Doubt is a value that makes no sense, in whose place the default is in force.
type Doubt struct {
	Place string // of the value, "" where it was set while the node runs
	*ValueError
}

func (d Doubt) Error() string {
	text := d.ValueError.Error() + "; the default counts"
	if d.Place != "" {
		text = d.Place + ": " + text
	}
	return text
}

// vital are the keys whose values have to make sense, by section; nil is all
// keys of a section. With the default in their place the node would be open to
// more than was meant, could not be reached, or would look for its data, its
// certificates or its memory where they are not.
var vital = map[string][]string{
	"couchdb":             {"database_dir", "default_security"},
	"chttpd":              {"admin_only_all_dbs", "authentication_handlers", "bind_address", "port", "require_valid_user", "require_valid_user_except_for_up"},
	"chttpd_auth":         nil,
	"chttpd_auth_lockout": nil,
	"jwt_auth":            nil,
	"ssl":                 nil,
	"acme":                nil,
	"prometheus":          nil,
	"mangrove":            nil,
	"replicator":          {"verify_ssl_certificates"},
}

// vital reports whether the value must not be passed over.
func (e *ValueError) vital() bool {
	keys, ok := vital[e.Section]
	return ok && (keys == nil || slices.Contains(keys, e.Key))
}

// sortOut parts what must not be passed over from the rest. What stands in the
// file, or was set while the node runs, is passed over where that does no harm,
// as CouchDB does; flags and variables are not. from may be nil.
func (o *Options) sortOut(errs []*ValueError, from places) (refused []error, doubts []Doubt) {
	for _, e := range errs {
		p := from.of(e)
		switch {
		case !e.vital() && (p == "" || strings.HasPrefix(string(p), o.File+":")):
			doubts = append(doubts, Doubt{string(p), e})
		case p != "":
			refused = append(refused, fmt.Errorf("%s: %w", p, e))
		default:
			refused = append(refused, e)
		}
	}
	return refused, doubts
}
