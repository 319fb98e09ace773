package document

import (
	"bytes"
	"testing"
)

func TestTermOfText(t *testing.T) {
	for in, want := range map[string][]byte{
		`"a"`:     {131, 109, 0, 0, 0, 1, 'a'},
		` [1, 2]`: {131, 107, 0, 2, 1, 2},
		`null`:    {131, 100, 0, 4, 'n', 'u', 'l', 'l'},
	} {
		if got, err := Term([]byte(in)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
	if _, err := Term([]byte(`[1`)); err == nil {
		t.Error("no error")
	}
}
