package collate

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzKey feeds pairs of texts, valid or not: nothing may panic, and for valid
// ones the keys must order as the texts do.
func FuzzKey(f *testing.F) {
	for _, s := range [][2]string{
		{`{"a":[1,2.5,"x"]}`, `{"a":[1,2.5,"X"]}`},
		{`"é"`, `"e\u0301"`},
		{`-12345678901234567890`, `-1.2345678901234567e19`},
		{`[[[`, `]]]`},
		{`"\ud800"`, `"\u12"`},
		{``, `nul`},
	} {
		f.Add([]byte(s[0]), []byte(s[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := Compare(a, b)
		key := bytes.Compare(AppendKey(nil, a), AppendKey(nil, b))
		gotRaw := CompareRaw(a, b)
		keyRaw := bytes.Compare(AppendRawKey(nil, a), AppendRawKey(nil, b))
		if !json.Valid(a) || !json.Valid(b) {
			return
		}
		if key != got {
			t.Errorf("texts %d, keys %d", got, key)
		}
		if keyRaw != gotRaw {
			t.Errorf("raw texts %d, keys %d", gotRaw, keyRaw)
		}
	})
}
