package config

import "strings"

// Mask stands in for a secret wherever settings are listed.
const Mask = "****"

// Secret reports whether the value of a key is nobody's business: the secret
// that cookies are signed with, passwords, the keys of tokens. The hashes of
// [admins] are no secrets to administrators, who need them to set up other
// nodes, as in CouchDB.
func Secret(section, key string) bool {
	key = strings.ToLower(key)
	switch {
	case section == "jwt_keys":
		return strings.HasPrefix(key, "hmac:") // others are public keys
	case key == "password_regexp", key == "password_scheme", strings.HasSuffix(key, "_use_secret"):
		return false
	}
	return strings.Contains(key, "secret") || strings.Contains(key, "password") || strings.Contains(key, "passphrase")
}
