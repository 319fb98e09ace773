package config

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parseText(text string) map[string]string {
	got := map[string]string{}
	parse(splitLines(text), func(_ int, section, key, value string) {
		got[section+"|"+key] = value
	}, nil)
	return got
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, text string
		want       map[string]string
	}{
		{"pairs", "[s]\nk=v\nk2 = v 2\n", map[string]string{"s|k": "v", "s|k2": "v 2"}},
		{"blanks", "  [s]\n\t k  =\t v  \n", map[string]string{"s|k": "v"}},
		{"line ends", "[s]\r\na=1\rb=2\x1ac=3", map[string]string{"s|a": "1", "s|b": "2", "s|c": "3"}},
		{"byte order mark", "\ufeff[s]\nk=v", map[string]string{"s|k": "v"}},
		{"case is kept", "[S]\nKey=V", map[string]string{"S|Key": "V"}},
		{"same section twice", "[s]\na=1\n[t]\n[s]\nb=2", map[string]string{"s|a": "1", "s|b": "2"}},
		{"colons in keys", "[jwt_keys]\nhmac:_default = aGVsbG8=\n", map[string]string{"jwt_keys|hmac:_default": "aGVsbG8="}},
		{"colons in sections", "[cors:http://example.com]\norigins=*", map[string]string{"cors:http://example.com|origins": "*"}},
		{"equals signs", "[s]\nk==v\nl=v=v\nm= = v\nn = =v", map[string]string{"s|k": "=v", "s|l": "v=v", "s|m=": "v", "s|n": "=v"}},
		{"no interpolation", "[s]\nk = %(x)s ${y} {db} $1", map[string]string{"s|k": "%(x)s ${y} {db} $1"}},
		{"quotes stay", "[s]\na = \"x\"\nb = 'y'\nc = `z`\nd = \"\"\"w\ne = end\\", map[string]string{
			"s|a": `"x"`, "s|b": "'y'", "s|c": "`z`", "s|d": `"""w`, "s|e": `end\`,
		}},
		{"comments", "[s]\n;a=1\n ; b=2\n#c=3\nd = 4 ; four\ne=5\t;five\nf=a;b\ng = a # b", map[string]string{
			"s|d": "4", "s|e": "5", "s|f": "a;b", "s|g": "a # b",
		}},
		{"escaped semicolon", `[s]` + "\n" + `a = x \; y ; z` + "\n" + `b = \;` + "\n" + `c = \\; d\;`, map[string]string{
			"s|a": "x ; y", "s|b": ";", "s|c": `\; d\;`,
		}},
		{"empty is deletion", "[s]\na=\nb = \nc = ; gone", map[string]string{"s|a": "", "s|b": "", "s|c": ""}},
		{"comment after section", "[s] ; here\nk=v", map[string]string{"s|k": "v"}},
		{"nonsense is skipped", "k=v\n[]\nk=v\n[s\nk=v\n[s]x\nk=v\n[s]\ngarbage\n= more\n==\n[x=y\n", map[string]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parseText(tt.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEdit(t *testing.T) {
	const file = "; mine\n[a]\nk = 1 ; one\n\n[b]\nx = 2\n"
	tests := []struct {
		name, text, section, key, value string
		keep                            bool
		want                            string
	}{
		{"replace", file, "a", "k", "9", true, "; mine\n[a]\nk = 9\n\n[b]\nx = 2\n"},
		{"add to section", file, "a", "l", "9", true, "; mine\n[a]\nk = 1 ; one\nl = 9\n\n[b]\nx = 2\n"},
		{"add section", file, "c", "k", "9", true, file + "\n[c]\nk = 9\n"},
		{"into nothing", "", "c", "k", "9", true, "[c]\nk = 9\n"},
		{"empty section", "[a]\n\n[b]\n", "a", "k", "v", true, "[a]\nk = v\n\n[b]\n"},
		{"remove", file, "a", "k", "", false, "; mine\n[a]\n\n[b]\nx = 2\n"},
		{"remove unknown", file, "a", "none", "", false, file},
		{"take back", file, "a", "k", "", true, "; mine\n[a]\nk =\n\n[b]\nx = 2\n"},
		{"line ends stay", "[a]\r\nk=1\r\n", "a", "k", "2", true, "[a]\r\nk = 2\r\n"},
		{"no older copy stays", "[admins]\nme = secret\n[x]\n[admins]\nme = other\n", "admins", "me", "-hash", true, "[admins]\n[x]\n[admins]\nme = -hash\n"},
		{"only the same section", "[a]\nk=1\n[b]\nk=1\n", "b", "k", "2", true, "[a]\nk=1\n[b]\nk = 2\n"},
		{"comments are not the key", "[a]\n;k = 1\n", "a", "k", "2", true, "[a]\n;k = 1\nk = 2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, edit(tt.text, tt.section, tt.key, tt.value, tt.keep)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		section, key, value string
		want                error
	}{
		{"s", "k", "v", nil},
		{"s", "k", "", nil},
		{"s", "k", "[{nodelay, true}]", nil},
		{"s", "a b.c", "x = y ; z", nil},
		{"s", "=k=", "v", nil},
		{"s", "é:Ü", "日本\t語", nil},
		{"", "k", "v", ErrInvalidSection},
		{"s[", "k", "v", ErrInvalidSection},
		{"s]", "k", "v", ErrInvalidSection},
		{"s\n", "k", "v", ErrInvalidSection},
		{"s ;", "k", "v", ErrInvalidSection},
		{"s", "", "v", ErrInvalidKey},
		{"s", "k]", "v", ErrInvalidKey},
		{"s", "k\r", "v", ErrInvalidKey},
		{"s", ";k", "v", ErrInvalidKey},
		{"s", "#k", "v", ErrInvalidKey},
		{"s", "a ;b", "v", ErrInvalidKey},
		{"s", "a = b", "v", ErrInvalidKey},
		{"s", "a =", "v", ErrInvalidKey},
		{"s", " k", "v", ErrInvalidKey},
		{"s", "k", "v\n", ErrInvalidValue},
		{"s", "k", "v\x1a", ErrInvalidValue},
		{"s", "k", "\xff", ErrInvalidValue},
	}
	for _, tt := range tests {
		if err := validate(tt.section, tt.key, tt.value); !errors.Is(err, tt.want) {
			t.Errorf("validate(%q, %q, %q) = %v, want %v", tt.section, tt.key, tt.value, err, tt.want)
		}
	}
}

// FuzzINI: whatever a file holds, a pair written into it is read again as it
// was, nothing else changes, and taking it away restores the rest.
func FuzzINI(f *testing.F) {
	f.Add("[a]\nk = 1 ; one\n\n[b]\nx=2\n", "a", "k", "9")
	f.Add("[a]\r\nk=1\r[a]\x1ak=2", "a", "k", `\; x \\; ;`)
	f.Add("\ufeff[a]\n=k= = 1\ngarbage", "a", "=k=", "= v")
	f.Fuzz(func(t *testing.T, text, section, key, value string) {
		value = strings.TrimSpace(value)
		if validate(section, key, value) != nil || value == "" {
			return
		}
		want := parseText(text)
		id := section + "|" + key
		want[id] = value
		written := edit(text, section, key, value, true)
		if diff := cmp.Diff(want, parseText(written)); diff != "" {
			t.Fatalf("after setting [%s] %q = %q in %q:\n%s", section, key, value, text, diff)
		}
		if again := edit(written, section, key, value, true); again != written {
			t.Fatalf("setting the same twice: %q, then %q", written, again)
		}
		rest := maps.Clone(want)
		delete(rest, id)
		if diff := cmp.Diff(rest, parseText(edit(written, section, key, "", false))); diff != "" {
			t.Fatalf("after removing: %s", diff)
		}
	})
}
