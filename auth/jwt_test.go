package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mangrove-db/mangrove/config"
)

// issuer makes tokens, and has told the configuration of its keys.
type issuer struct {
	testing.TB
	*Authenticator
	config  *config.Config
	hmac    []byte
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	ed      ed25519.PrivateKey
	rsaText string // of the public key
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{TB: t, config: newConfig(t, ""), hmac: []byte("a shared secret")}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, i.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	i.rsaText = i.public(i.rsa.Public())
	i.set("jwt_keys", "hmac:_default", base64.StdEncoding.EncodeToString(i.hmac))
	i.set("jwt_keys", "hmac:shared", base64.StdEncoding.EncodeToString(i.hmac))
	i.set("jwt_keys", "rsa:r", i.rsaText)
	i.set("jwt_keys", "ec:e", i.public(i.ec.Public()))
	i.set("jwt_keys", "eddsa:d", i.public(i.ed.Public()))
	i.Authenticator = New(Options{Config: i.config})
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) set(section, key, value string) {
	i.Helper()
	if _, err := i.config.Set(section, key, value, false); err != nil {
		i.Fatal(err)
	}
}

// public is a key as the configuration has it, in one line.
func (i *issuer) public(key crypto.PublicKey) string {
	i.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		i.Fatal(err)
	}
	return strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "\n", `\n`)
}

// token signs claims with an algorithm, after which the kid is named unless it is "".
func (i *issuer) token(method jwt.SigningMethod, kid string, claims jwt.MapClaims) string {
	i.Helper()
	keys := map[string]any{"HS": i.hmac, "RS": i.rsa, "ES": i.ec, "Ed": i.ed, "no": jwt.UnsafeAllowNoneSignatureType}
	return i.signed(method, kid, claims, keys[method.Alg()[:2]])
}

func (i *issuer) signed(method jwt.SigningMethod, kid string, claims jwt.MapClaims, key any) string {
	i.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		i.Fatal(err)
	}
	return text
}

func soon() int64 { return time.Now().Add(time.Minute).Unix() }

func TestTokens(t *testing.T) {
	i := newIssuer(t)
	claims := jwt.MapClaims{"sub": "ann", "exp": soon(), "_couchdb.roles": []string{"r", "_admin"}}
	for _, tt := range []struct {
		method jwt.SigningMethod
		kid    string
	}{
		{jwt.SigningMethodHS256, ""},
		{jwt.SigningMethodHS384, "shared"},
		{jwt.SigningMethodHS512, "shared"},
		{jwt.SigningMethodRS256, "r"},
		{jwt.SigningMethodRS384, "r"},
		{jwt.SigningMethodRS512, "r"},
		{jwt.SigningMethodES256, "e"},
		{jwt.SigningMethodEdDSA, "d"},
	} {
		for range 2 { // the second time the key is remembered
			who, err := i.Token(i.token(tt.method, tt.kid, claims))
			if err != nil || who.Name != "ann" || !slices.Equal(who.Roles, []string{"r", "_admin"}) || who.Handler != "jwt" {
				t.Errorf("%s: %+v, %v", tt.method.Alg(), who, err)
			}
		}
	}
}

func TestTokenAttacks(t *testing.T) {
	i := newIssuer(t)
	good := jwt.MapClaims{"sub": "ann", "exp": soon()}
	with := func(change jwt.MapClaims) jwt.MapClaims {
		c := maps.Clone(good)
		maps.Copy(c, change)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return c
	}
	valid := i.token(jwt.SigningMethodRS256, "r", good)
	parts := strings.Split(valid, ".")
	encode := base64.RawURLEncoding.EncodeToString
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pemText := []byte(strings.ReplaceAll(i.rsaText, `\n`, "\n"))
	tests := map[string]struct {
		token string
		kind  Kind
		want  string
	}{
		"none":            {i.token(jwt.SigningMethodNone, "", good), Malformed, "Invalid alg header parameter"},
		"None":            {encode([]byte(`{"alg":"None"}`)) + "." + parts[1] + ".", Malformed, "Invalid alg header parameter"},
		"no alg":          {encode([]byte(`{}`)) + "." + parts[1] + "." + parts[2], Malformed, "Missing alg header parameter"},
		"alg 5":           {encode([]byte(`{"alg":5}`)) + "." + parts[1] + "." + parts[2], Malformed, "Invalid alg header parameter"},
		"PS256":           {encode([]byte(`{"alg":"PS256","kid":"r"}`)) + "." + parts[1] + "." + parts[2], Malformed, "Invalid alg header parameter"},
		"public as HMAC":  {i.signed(jwt.SigningMethodHS256, "r", good, pemText), Malformed, "Unknown kid"},
		"public, no kid":  {i.signed(jwt.SigningMethodHS256, "", good, pemText), Malformed, "Bad HMAC"},
		"empty secret":    {i.signed(jwt.SigningMethodHS256, "", good, []byte{}), Malformed, "Bad HMAC"},
		"unknown kid":     {i.token(jwt.SigningMethodRS256, "x", good), Malformed, "Unknown kid"},
		"kid of a path":   {i.token(jwt.SigningMethodHS256, "../shared", good), Malformed, "Unknown kid"},
		"kid 5":           {encode([]byte(`{"alg":"RS256","kid":5}`)) + "." + parts[1] + "." + parts[2], Malformed, "Malformed token"},
		"stranger":        {i.signed(jwt.SigningMethodRS256, "r", good, stranger), Malformed, "Bad signature"},
		"no signature":    {parts[0] + "." + parts[1] + ".", Malformed, "Bad signature"},
		"cut signature":   {valid[:len(valid)-8], Malformed, "Bad signature"},
		"other claims":    {parts[0] + "." + encode([]byte(`{"sub":"admin","exp":99999999999}`)) + "." + parts[2], Malformed, "Bad signature"},
		"wrong curve":     {encode([]byte(`{"alg":"ES384","kid":"e"}`)) + "." + parts[1] + "." + parts[2], Malformed, "Bad signature"},
		"expired":         {i.token(jwt.SigningMethodRS256, "r", with(jwt.MapClaims{"exp": time.Now().Unix() - 1})), Unauthorized, "exp not in future"},
		"exp is no time":  {i.token(jwt.SigningMethodRS256, "r", with(jwt.MapClaims{"exp": "99999999999"})), Unauthorized, "exp not in future"},
		"no exp":          {i.token(jwt.SigningMethodRS256, "r", with(jwt.MapClaims{"exp": nil})), Malformed, "Missing exp claim"},
		"not yet":         {i.token(jwt.SigningMethodRS256, "r", with(jwt.MapClaims{"nbf": soon()})), Unauthorized, "nbf not in past"},
		"no sub":          {i.token(jwt.SigningMethodRS256, "r", with(jwt.MapClaims{"sub": nil})), Unauthorized, "Token missing sub claim."},
		"sub 5":           {i.token(jwt.SigningMethodRS256, "r", with(jwt.MapClaims{"sub": 5})), Unauthorized, "Token missing sub claim."},
		"roles of things": {i.token(jwt.SigningMethodRS256, "r", with(jwt.MapClaims{"_couchdb.roles": []any{5}})), Malformed, "Malformed token"},
		"empty":           {"", Malformed, "Malformed token"},
		"dots":            {"..", Malformed, "Malformed token"},
		"two parts":       {parts[0] + "." + parts[1], Malformed, "Malformed token"},
		"four parts":      {valid + ".x", Malformed, "Malformed token"},
		"no base64":       {"%." + parts[1] + "." + parts[2], Malformed, "Malformed token"},
		"claims a list":   {parts[0] + "." + encode([]byte(`[]`)) + "." + parts[2], Malformed, "Malformed token"},
	}
	for name, tt := range tests {
		who, err := i.Token(tt.token)
		fault, ok := err.(*Error)
		if !ok || fault.Kind != tt.kind || fault.Reason != tt.want || who.Name != "" && tt.want != "Malformed token" {
			t.Errorf("%s: %+v, %v; want %s", name, who, err, tt.want)
		}
	}
	if _, err := i.Token(valid); err != nil {
		t.Error(err)
	}
	// A key that is changed counts at once.
	i.set("jwt_keys", "rsa:r", i.public(stranger.Public()))
	if _, err := i.Token(valid); err != errSignature {
		t.Error(err)
	}
	for _, key := range []string{"nonsense", i.public(i.ec.Public()), `-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----`} {
		i.set("jwt_keys", "rsa:r", key)
		if _, err := i.Token(valid); err == nil {
			t.Errorf("%s: no error", key)
		}
	}
}

func TestTokenSettings(t *testing.T) {
	i := newIssuer(t)
	claims := jwt.MapClaims{"sub": "ann", "exp": soon(), "iss": "me", "aud": []string{"x", "us"}, "names": "a, b", "deep": map[string]any{"er.roles": []string{"c"}}}
	check := func(required, path, want string, roles ...string) {
		t.Helper()
		i.set("jwt_auth", "required_claims", required)
		i.set("jwt_auth", "roles_claim_path", path)
		who, err := i.Token(i.token(jwt.SigningMethodHS256, "", claims))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want || err == nil && !slices.Equal(who.Roles, roles) {
			t.Errorf("%s, %s: %+v, %q; want %q", required, path, who, got, want)
		}
	}
	check(`exp`, `names`, "", "a", "b")
	check(`exp,sub , {iss, "me"}`, `deep.er\.roles`, "", "c")
	check(`{aud, "us"}`, `none.at.all`, "")
	check(`{iss, "you"}`, "names", "Invalid iss claim")
	check(`iat`, "names", "Missing iat claim")
	check(`typ`, "sub.x", "Malformed token")
	check(`kid`, "names", "Missing kid claim")
}

func TestProxy(t *testing.T) {
	cfg := newConfig(t, "[chttpd_auth]\nsecret = s3cret\n")
	a := New(Options{Config: cfg})
	defer a.Close()
	try := func(name, roles, token string, want bool) Principal {
		t.Helper()
		who, ok := a.Proxy(name, roles, token)
		if ok != want || ok && who.Name != name {
			t.Errorf("%q, %q, %q: %+v, %v", name, roles, token, who, ok)
		}
		return who
	}
	if who := try("ann", "a, b ,,c", "", true); !slices.Equal(who.Roles, []string{"a", "b", "c"}) || who.Handler != "proxy" {
		t.Errorf("%+v", who)
	}
	try("", "a", "", false)
	if _, err := cfg.Set("chttpd_auth", "proxy_use_secret", "true", false); err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"sha", "sha256"} {
		token := hex.EncodeToString(seal(pseudorandom[algorithm], "s3cret", nil, "ann"))
		try("ann", "", token, true)
		try("bob", "", token, false)
		try("ann", "", token[1:], false)
	}
	try("ann", "", hex.EncodeToString(seal(pseudorandom["sha512"], "s3cret", nil, "ann")), false)
	try("ann", "", "", false)
	if _, _, err := cfg.Delete("chttpd_auth", "secret", false); err != nil {
		t.Fatal(err)
	}
	try("ann", "", hex.EncodeToString(seal(pseudorandom["sha"], "", nil, "ann")), false)
}

// FuzzToken: nothing that is sent as a token makes it panic or gets in.
func FuzzToken(f *testing.F) {
	i := newIssuer(f)
	f.Add(i.token(jwt.SigningMethodNone, "", jwt.MapClaims{"sub": "ann", "exp": soon()}))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		if who, err := i.Token(text); err == nil {
			t.Errorf("%q is %+v", text, who)
		}
	})
}

// FuzzCookie likewise.
func FuzzCookie(f *testing.F) {
	cfg := newConfig(f, "[admins]\nann = "+hashes[0]+"\n[chttpd_auth]\nsecret = x\n")
	a := New(Options{Config: cfg})
	f.Add("YW5uOjVGNjAwMDAwOkFBQUFBQUFBQUFBQUFBQUFBQUFB")
	f.Fuzz(func(t *testing.T, text string) {
		if who, _, _ := a.Cookie(text); !who.Anonymous() {
			t.Errorf("%q is %+v", text, who)
		}
	})
}
