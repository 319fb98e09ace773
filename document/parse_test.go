package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		" { \"a\" : [ 1 , 2 ] }\n\t\r": `{"a":[1,2]}`,
		`{}`:                           `{}`,
		`[]`:                           `[]`,
		`"x"`:                          `"x"`,
		` null `:                       `null`,
		`{"a":1,"a":2}`:                `{"a":2}`,
		`{"a":1,"b":2,"a":3}`:          `{"b":2,"a":3}`,
		`{"a":1,"\u0061":2}`:           `{"a":2}`,
		`{"a":{"x":1,"x":2},"a":{"y":1,"z":0,"y":2}}`: `{"a":{"z":0,"y":2}}`,
		`[{"a":1,"a":[{"b":1,"b":2}]},3]`:             `[{"a":[{"b":2}]},3]`,
		`"\u0000\u0001\u001f\u007f\u0080"`:            "\"\\u0000\\u0001\\u001F\u007f\u0080\"",
		`"\"\\\/\b\f\n\r\t"`:                          `"\"\\/\b\f\n\r\t"`,
		`"\ud83d\ude00 \uD83D\uDE00"`:                 `"😀 😀"`,
		`"\uffff\ufffe"`:                              "\"\uffff\ufffe\"",
		`-0`:                                          `0`,
		`-0.0`:                                        `0.0`,
		`1e2`:                                         `100.0`,
		`1E+2`:                                        `100.0`,
		`1e-400`:                                      `0.0`,
		`5e-324`:                                      `5e-324`,
		`1.50`:                                        `1.5`,
		`100.0`:                                       `100.0`,
		`0.000001`:                                    `0.000001`,
		`0.0000001`:                                   `1e-7`,
		`999999999999999900000.0`:                     `999999999999999900000.0`,
		`1e21`:                                        `1e+21`,
		`-9223372036854775809`:                        `-9223372036854775809`,
		strings.Repeat("9", maxIntegerDigits):         strings.Repeat("9", maxIntegerDigits),
	} {
		got, err := Canonical([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestInvalidJSON(t *testing.T) {
	for _, in := range []string{
		"", " ", "{", "[", "}", "]", "nul", "nulll", "tru", "True", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1.e1",
		"1e400", "-1e999", "0x10", "{} {}", "1 2", "{,}", "[,]", "[1,]", "[1 2]", `{"a":}`, `{"a"}`, `{"a" 1}`, `{"a":1,}`, `{a:1}`, `{'a':1}`,
		`{1:1}`, `[}`, `{]`, `{"a":1]`, `[1}`, `"`, `"a`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud800"`, `"\ud800\u0041"`, `"\udc00\ud800"`, `"\ud800\`,
		"\"\n\"", "\"\x00\"", "\"\x1f\"", "\"\xff\"", "\"\xc3a\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "\"\xf4\x90\x80\x80\"", "\ufeff{}", "/**/{}",
		`"\`, "\"\\", "\v1", "\x00", strings.Repeat("9", maxIntegerDigits+1), "-" + strings.Repeat("9", maxIntegerDigits+1),
	} {
		if got, err := Canonical([]byte(in)); !errors.Is(err, ErrInvalidJSON) {
			t.Errorf("%q: %s, %v", in, got, err)
		}
		if _, err := DecodeStream(strings.NewReader(in), Limits{}); !errors.Is(err, ErrInvalidJSON) {
			t.Errorf("%q as a stream: %v", in, err)
		}
	}
}

func TestDepth(t *testing.T) {
	for depth, want := range map[int]error{MaxDepth: nil, MaxDepth + 1: errTooDeep, 1 << 20: errTooDeep} {
		text := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		if got, err := Canonical([]byte(text)); !errors.Is(err, want) || err == nil && string(got) != text {
			t.Errorf("depth %d: %v, want %v", depth, err, want)
		}
	}
	// Unclosed brackets are no JSON, however many.
	if _, err := DecodeStream(strings.NewReader(strings.Repeat(`{"a":`, 1<<18)), Limits{}); err == nil {
		t.Error("no error for unclosed objects")
	}
}

// Duplicates on every level must not cost quadratic time.
func TestNestedDuplicates(t *testing.T) {
	text := `{"b":0}`
	for range 5000 {
		text = `{"a":1,"a":` + text + `}`
	}
	got, err := Canonical([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat(`{"a":`, 5000) + `{"b":0}` + strings.Repeat("}", 5000); string(got) != want {
		t.Errorf("%.100s", got)
	}
}

func TestManyMembers(t *testing.T) {
	for _, n := range []int{fewMembers, fewMembers + 1, 1000} {
		var in, want strings.Builder
		for i := range n {
			fmt.Fprintf(&in, `"k%d":0,`, i)
		}
		for i := range n {
			fmt.Fprintf(&in, `"k%d":1,`, i)
			fmt.Fprintf(&want, `"k%d":1,`, i)
		}
		got, err := Canonical([]byte("{" + strings.TrimSuffix(in.String(), ",") + "}"))
		if err != nil || string(got) != "{"+strings.TrimSuffix(want.String(), ",")+"}" {
			t.Errorf("%d: %.100s, %v", n, got, err)
		}
	}
}

func TestTerm(t *testing.T) {
	for in, want := range map[string][]byte{
		`{}`:                     {104, 1, 106},
		`[]`:                     {106},
		`[1,255]`:                {107, 0, 2, 1, 255},
		`[1,256]`:                {108, 0, 0, 0, 2, 97, 1, 98, 0, 0, 1, 0, 106},
		`[[0]]`:                  {108, 0, 0, 0, 1, 107, 0, 1, 0, 106},
		`[1,"a"]`:                {108, 0, 0, 0, 2, 97, 1, 109, 0, 0, 0, 1, 'a', 106},
		`[1,1.0]`:                {108, 0, 0, 0, 2, 97, 1, 70, 63, 240, 0, 0, 0, 0, 0, 0, 106},
		`{"a":null}`:             {104, 1, 108, 0, 0, 0, 1, 104, 2, 109, 0, 0, 0, 1, 'a', 100, 0, 4, 'n', 'u', 'l', 'l', 106},
		`-1`:                     {98, 255, 255, 255, 255},
		`-2147483648`:            {98, 128, 0, 0, 0},
		`2147483648`:             {110, 4, 0, 0, 0, 0, 128},
		`-2147483649`:            {110, 4, 1, 1, 0, 0, 128},
		`18446744073709551616`:   {110, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		`-10000000000000000000`:  {110, 8, 1, 0, 0, 0xe8, 0x89, 0x04, 0x23, 0xc7, 0x8a},
		"\"\\u00e9\"":            {109, 0, 0, 0, 2, 0xc3, 0xa9},
		`{"a":1,"b":2,"a":[{}]}`: append([]byte{104, 1, 108, 0, 0, 0, 2, 104, 2, 109, 0, 0, 0, 1, 'b', 97, 2, 104, 2, 109, 0, 0, 0, 1, 'a'}, 108, 0, 0, 0, 1, 104, 1, 106, 106, 106),
		`-0.0`:                   {70, 128, 0, 0, 0, 0, 0, 0, 0},
		`9223372036854775808`:    {110, 8, 0, 0, 0, 0, 0, 0, 0, 0, 128},
		`-0`:                     {97, 0},
		`[-0,0]`:                 {107, 0, 2, 0, 0},
	} {
		if got, err := bodyTerm([]byte(in)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
	long := "[" + strings.TrimSuffix(strings.Repeat("7,", maxTermString), ",")
	for in, tag := range map[string]byte{long + "]": termString, long + ",7]": termList} {
		if got, err := bodyTerm([]byte(in)); err != nil || got[0] != tag {
			t.Errorf("tag %d, %v; want %d", got[0], err, tag)
		}
	}
}

// jsonText draws JSON text, with white space, escapes and duplicate keys.
func jsonText(t *rapid.T, depth int) string {
	space := func() string { return rapid.SampledFrom([]string{"", "", "", " ", "\n\t"}).Draw(t, "space") }
	kind := rapid.IntRange(0, 8).Draw(t, "kind")
	if depth == 0 {
		kind %= 6
	}
	var b strings.Builder
	b.WriteString(space())
	switch kind {
	case 0:
		b.WriteString(rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "literal"))
	case 1:
		b.WriteString(rapid.StringMatching(`-?(0|[1-9][0-9]{0,40})`).Draw(t, "integer"))
	case 2:
		b.WriteString(rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number"))
	case 3, 4, 5:
		b.WriteString(jsonString(t))
	case 6, 7:
		b.WriteByte('[')
		for i := range rapid.IntRange(0, 5).Draw(t, "elements") {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(jsonText(t, depth-1))
		}
		b.WriteString(space() + "]")
	default:
		b.WriteString(jsonObject(t, depth))
	}
	b.WriteString(space())
	return b.String()
}

func jsonObject(t *rapid.T, depth int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range rapid.IntRange(0, 16).Draw(t, "members") {
		if i > 0 {
			b.WriteByte(',')
		}
		key := rapid.SampledFrom([]string{`"a"`, `"b"`, `"\u0061"`, ` "c" `, `"\n"`, ""}).Draw(t, "key")
		if key == "" {
			key = jsonString(t)
		}
		b.WriteString(key + ":" + jsonText(t, depth-1))
	}
	b.WriteByte('}')
	return b.String()
}

func jsonString(t *rapid.T) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "plain text longer than eight", "é", "日本", "😀", `\n`, `\"`, `\\`, `\/`, `\u0000`, `\u001F`, `\u00e9`, `\ud83d\ude00`, "\u007f", `_`,
	}), 0, 6).Draw(t, "string")
	return `"` + strings.Join(parts, "") + `"`
}

func TestCanonicalProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(jsonText(t, 4))
		got, err := Canonical(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := Canonical(got)
		if err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%s is not canonical: %s, %v", got, again, err)
		}
		var a, b any
		if err := json.Unmarshal(text, &a); err != nil {
			t.Skip("beyond encoding/json")
		}
		if err := json.Unmarshal(got, &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%s became %s, %v", text, got, err)
		}
		// The sign of -0.0 is in the original's term alone.
		if negativeZero(text) {
			return
		}
		term, err := bodyTerm(text)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := bodyTerm(got); err != nil || !bytes.Equal(term, same) {
			t.Fatalf("%s: term %v, canonical term %v, %v", text, term, same, err)
		}
	})
}

// negativeZero reports whether some float of the text may be -0.0.
func negativeZero(text []byte) bool {
	return bytes.Contains(text, []byte("-0.0")) || bytes.Contains(text, []byte("-0e")) || bytes.Contains(text, []byte("-0E"))
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"_id":"a","_rev":"1-967a00dff5e02add41819138abb3284d","_deleted":true,"a":[1,2.5,-0.0,"\ud83d\ude00"],"a":null}`,
		`{"_attachments":{"x":{"data":"aGVsbG8=","content_type":"text/plain"},"y":{"stub":true,"revpos":2},"z":{"follows":true,"length":3,"encoding":"gzip"}}}`,
		`{"_revisions":{"start":3,"ids":["c","b","a"]},"_local_seq":1,"_replication_state":{"a":1,"a":2}}`,
		`{"_id":"a","_id":"b","":{"":{"":[[[[]]]]}}}`,
		`[123456789012345678901234567890,1e300,"\\\/"]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Decode(text)
		s, serr := DecodeStream(&trickle{text}, Limits{})
		if (err == nil) != (serr == nil) || err != nil && err.Error() != serr.Error() {
			t.Fatalf("Decode: %v, DecodeStream: %v", err, serr)
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if !bytes.Equal(d.Body, s.Body) || !bytes.Equal(d.term, s.term) {
			t.Fatalf("body %s, as a stream %s", d.Body, s.Body)
		}
		if body, err := Canonical(d.Body); err != nil || !bytes.Equal(body, d.Body) {
			t.Fatalf("body %s is not canonical: %s, %v", d.Body, body, err)
		}
		for i := range d.Attachments {
			d.Attachments[i].Data = nil
			d.Attachments[i].Stub, d.Attachments[i].Follows = true, false
			if a := &d.Attachments[i]; a.Length < 0 || a.EncodedLength < 0 {
				a.Length, a.EncodedLength = 0, 0
			}
		}
		printed := AppendJSON(nil, d, Members{Revisions: true, EncodingInfo: true})
		if !bytes.Contains(printed, []byte(`{"_id":"",`)) && d.ID != "" {
			again, err := Decode(printed)
			if err != nil {
				t.Fatalf("%s: %v", printed, err)
			}
			if got := AppendJSON(nil, again, Members{Revisions: true, EncodingInfo: true}); !bytes.Equal(got, printed) {
				t.Fatalf("%s became %s", printed, got)
			}
		}
	})
}

// A trickle gives one byte at a time.
type trickle struct{ rest []byte }

func (r *trickle) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:1], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
