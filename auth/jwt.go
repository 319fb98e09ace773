package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mangrove-db/mangrove/config"
)

// tokenKinds are the algorithms that tokens may be signed with (RFC 7518, RFC
// 8037), and the kind of key that each takes. A key is looked for among those
// of its kind alone, so that no public key is ever taken for a shared secret.
var tokenKinds = map[string]string{
	"HS256": "hmac", "HS384": "hmac", "HS512": "hmac",
	"RS256": "rsa", "RS384": "rsa", "RS512": "rsa",
	"ES256": "ec", "ES384": "ec", "ES512": "ec",
	"EdDSA": "eddsa",
}

// curveBits are the sizes of the curves that go with the algorithms.
var curveBits = map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}

var (
	errToken     = &Error{Malformed, "Malformed token"}
	errSignature = &Error{Malformed, "Bad signature"}
	errMAC       = &Error{Malformed, "Bad HMAC"}
	errKey       = &Error{Malformed, "Not a valid key"}
	errClaims    = &Error{Misconfigured, "JWT is not configured correctly"}
)

// Token tells whose a JSON Web Token is (RFC 7519). The keys are those of the
// section [jwt_keys], "hmac:kid", "rsa:kid", "ec:kid" and "eddsa:kid", kid
// being "_default" for tokens without one. Errors are of type *Error.
//
// Unlike in CouchDB exp and nbf count where a token has them, required or not.
func (a *Authenticator) Token(text string) (Principal, error) {
	c := a.config.Snapshot()
	if c.Auth.JWT.RequiredBroken {
		return Principal{}, errClaims
	}
	claims := jwt.MapClaims{}
	token, parts, err := jwt.NewParser().ParseUnverified(text, claims)
	if err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) {
		return Principal{}, errToken
	}
	if token == nil || len(parts) != 3 {
		return Principal{}, errToken
	}
	algorithm, ok := token.Header["alg"].(string)
	switch {
	case token.Header["alg"] == nil:
		return Principal{}, &Error{Malformed, "Missing alg header parameter"}
	case !ok || tokenKinds[algorithm] == "" || err != nil:
		return Principal{}, &Error{Malformed, "Invalid alg header parameter"}
	}
	if err := checkClaims(&c.Auth.JWT, token.Header, claims); err != nil {
		return Principal{}, err
	}
	key, err := a.tokenKeys.find(c, algorithm, token.Header["kid"])
	if err != nil {
		return Principal{}, err
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return Principal{}, errToken
	}
	if err := token.Method.Verify(parts[0]+"."+parts[1], signature, key); err != nil {
		if tokenKinds[algorithm] == "hmac" {
			return Principal{}, errMAC
		}
		return Principal{}, errSignature
	}
	name, ok := claims["sub"].(string)
	if !ok || name == "" {
		return Principal{}, &Error{Unauthorized, "Token missing sub claim."}
	}
	roles, err := tokenRoles(claims, c.Auth.JWT.RolesPath)
	return Principal{Name: name, Roles: roles, Handler: "jwt"}, err
}

// checkClaims checks what is to be checked of a token beside its signature.
func checkClaims(c *config.JWT, header map[string]any, claims jwt.MapClaims) error {
	for _, required := range c.Required {
		value, where := claims[required.Name], "claim"
		if required.Name == "typ" || required.Name == "alg" || required.Name == "kid" {
			value = header[required.Name]
			if required.Name != "kid" {
				where = "header parameter"
			}
		}
		if value == nil {
			return &Error{Malformed, "Missing " + required.Name + " " + where}
		}
		if required.Name == "typ" && value != "JWT" || required.HasValue && !claimIs(value, required.Value) {
			return &Error{Malformed, "Invalid " + required.Name + " " + where}
		}
		if _, isTime := value.(float64); required.Name == "iat" && !isTime {
			return &Error{Malformed, "Invalid iat claim"}
		}
	}
	now := float64(time.Now().UnixNano()) / float64(time.Second)
	if value, ok := claims["nbf"]; ok {
		if at, ok := value.(float64); !ok || !(at <= now) {
			return &Error{Unauthorized, "nbf not in past"}
		}
	}
	if value, ok := claims["exp"]; ok {
		if at, ok := value.(float64); !ok || !(at > now) {
			return &Error{Unauthorized, "exp not in future"}
		}
	}
	return nil
}

// claimIs reports whether a claim has a value. An audience may be a list.
func claimIs(claim any, want string) bool {
	if list, ok := claim.([]any); ok {
		for _, value := range list {
			if value == want {
				return true
			}
		}
		return false
	}
	return claim == want
}

// tokenRoles reads the roles of a token: a list, or a text with commas.
func tokenRoles(claims jwt.MapClaims, path []string) ([]string, error) {
	var value any = map[string]any(claims)
	for _, part := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, errToken
		}
		value = object[part]
		if value == nil {
			return nil, nil
		}
	}
	switch v := value.(type) {
	case string:
		return splitRoles(v), nil
	case []any:
		roles := make([]string, len(v))
		for i, role := range v {
			text, ok := role.(string)
			if !ok {
				return nil, errToken
			}
			roles[i] = text
		}
		return roles, nil
	}
	return nil, errToken
}

// splitRoles splits a list of roles at its commas.
func splitRoles(list string) []string {
	var roles []string
	for role := range strings.SplitSeq(list, ",") {
		if role = strings.TrimSpace(role); role != "" {
			roles = append(roles, role)
		}
	}
	return roles
}

// tokenKeys remembers keys that were read, by the text they were read from.
type tokenKeys struct {
	mu   sync.Mutex
	keys map[string]any
}

// maxTokenKeys bounds the keys remembered: all are in the configuration, or were.
const maxTokenKeys = 256

// find returns the key of a token.
func (k *tokenKeys) find(c *config.Snapshot, algorithm string, id any) (any, error) {
	name := "_default"
	if id != nil {
		var ok bool
		if name, ok = id.(string); !ok {
			return nil, errToken
		}
	}
	kind := tokenKinds[algorithm]
	text, ok := c.Get("jwt_keys", kind+":"+name)
	if !ok || text == "" {
		return nil, &Error{Malformed, "Unknown kid"}
	}
	key, err := k.read(kind, text)
	if err != nil {
		return nil, err
	}
	if public, ok := key.(*ecdsa.PublicKey); ok && public.Curve.Params().BitSize != curveBits[algorithm] {
		return nil, errSignature
	}
	return key, nil
}

func (k *tokenKeys) read(kind, text string) (any, error) {
	known := kind + ":" + text
	k.mu.Lock()
	key, ok := k.keys[known]
	k.mu.Unlock()
	if ok {
		return key, nil
	}
	key, err := parseTokenKey(kind, text)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil || len(k.keys) >= maxTokenKeys {
		k.keys = map[string]any{}
	}
	k.keys[known] = key
	return key, nil
}

// parseTokenKey reads a key as the configuration has it: a shared secret in
// base 64, a public key as PEM, whose line ends may be written as \n.
func parseTokenKey(kind, text string) (any, error) {
	if kind == "hmac" {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) == 0 {
			return nil, errKey
		}
		return key, nil
	}
	block, _ := pem.Decode([]byte(strings.ReplaceAll(text, `\n`, "\n")))
	if block == nil {
		return nil, errKey
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil && block.Type == "RSA PUBLIC KEY" {
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	}
	if err != nil {
		return nil, errKey
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if kind == "rsa" {
			return key, nil
		}
	case *ecdsa.PublicKey:
		if kind == "ec" {
			return key, nil
		}
	case ed25519.PublicKey:
		if kind == "eddsa" {
			return key, nil
		}
	}
	return nil, &Error{Malformed, map[string]string{"rsa": "not an RSA public key", "ec": "not an EC public key", "eddsa": "not an EdDSA public key"}[kind]}
}
