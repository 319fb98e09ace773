package auth

import (
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// Proxy tells whom a proxy vouches for: a name, roles with commas between
// them, and a token, which is the HMAC of the name under the node's secret, in
// hex. It is asked for a token if the configuration says so. ok is false if the
// proxy is not believed.
func (a *Authenticator) Proxy(name, roles, token string) (p Principal, ok bool) {
	if name == "" {
		return p, false
	}
	c := a.config.Snapshot()
	if c.Auth.ProxyUseSecret {
		if c.Auth.Secret == "" {
			return p, false
		}
		good := 0
		for _, algorithm := range c.Auth.HashAlgorithms {
			want := hex.EncodeToString(seal(pseudorandom[algorithm], c.Auth.Secret, nil, name))
			good |= subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(token)))
		}
		if good != 1 {
			return p, false
		}
	}
	return Principal{Name: name, Roles: splitRoles(roles), Handler: "proxy"}, true
}
