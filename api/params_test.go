package api

import (
	"net/url"
	"testing"
)

// FuzzQueryParams checks that nothing in a query is lost or made up: what net/url understands is read as it does, and
// what is written by it comes back.
func FuzzQueryParams(f *testing.F) {
	for _, q := range []string{"", "a=1&b=2", "startkey=%22a%22", "x=%", "x=%4", "a+b=c+d", "a;b=1", "=x&&y", "key=100%25%zz"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := url.Values{}
		for name, value := range queryParams(raw) {
			got.Add(name, value)
		}
		if want, err := url.ParseQuery(raw); err == nil {
			want.Del("")
			if got.Encode() != want.Encode() {
				t.Fatalf("%q: %q instead of %q", raw, got.Encode(), want.Encode())
			}
		}
		again := url.Values{}
		for name, value := range queryParams(got.Encode()) {
			again.Add(name, value)
		}
		if again.Encode() != got.Encode() {
			t.Fatalf("%q: %q came back as %q", raw, got.Encode(), again.Encode())
		}
	})
}
