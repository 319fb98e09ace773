package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// profiles are sets of values for a purpose. What any source says of a key
// overrules its profile.
var profiles = map[string]sections{
	// What the Obsidian plug-in Self-hosted LiveSync sets on a server: its pages
	// are of other origins, sign in, and store large documents.
	"livesync": {
		"couchdb": {
			"max_document_size": "50000000",
			"single_node":       "true",
		},
		"chttpd": {
			"enable_cors":           "true",
			"max_http_request_size": "4294967296",
			"require_valid_user":    "true",
		},
		"chttpd_auth": {
			"require_valid_user": "true",
		},
		"httpd": {
			"WWW-Authenticate": `Basic realm="couchdb"`,
			"enable_cors":      "true",
		},
		"cors": {
			"credentials": "true",
			"origins":     "app://obsidian.md,capacitor://localhost,http://localhost",
		},
	},
}

// Profiles are the names that Options.Profile may have.
func Profiles() []string { return slices.Sorted(maps.Keys(profiles)) }

// profile is the profile's name, "" for none: what the options say, or else
// the file.
func (o *Options) profile(lines []string) (string, error) {
	name, from := o.Profile, place("--profile")
	if name == "" {
		parse(lines, func(line int, section, key, value string) {
			if section == "mangrove" && key == "profile" {
				name, from = value, o.placeOf(line)
			}
		}, nil)
	}
	if _, ok := profiles[name]; name != "" && !ok {
		return "", fmt.Errorf("%s: [mangrove] profile = %s: must be one of %s", from, name, strings.Join(Profiles(), ", "))
	}
	return name, nil
}
