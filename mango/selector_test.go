package mango

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func compile(t rapid.TB, selector string) *Selector {
	t.Helper()
	s, err := Compile([]byte(selector))
	if err != nil {
		t.Fatalf("%s: %v", selector, err)
	}
	return s
}

func TestMatch(t *testing.T) {
	doc := Doc{
		ID: "b\"ø", Rev: "2-abc", Deleted: true,
		Body: []byte(`{"n":7,"f":7.0,"big":12345678901234567890,"s":"line\nend","w":"Größe","e\"x":1,` +
			`"a":[1,{"k":[{"z":"deep"}]},"é"],"o":{"x":{"y":2},"":3},"names":{"K":1,"l":2},"empty":[],"parts":[{"x":1},{"y":2}]}`),
		Attachments: []byte(`{"p.txt":{"length":12,"stub":true}}`),
	}
	for _, tc := range []struct {
		selector string
		want     bool
	}{
		{`{}`, true},
		{`{"_id":"b\"ø"}`, true},
		{`{"_id":{"$gt":"a"}}`, true},
		{`{"_id":{"$lt":"B"}}`, false}, // by bytes: b is after B
		{`{"_id":{"$in":["1","2","3","4","5","6","7","8","b\"\u00f8"]}}`, true},
		{`{"_id":{"$in":["1","2","3","4","5","6","7","8","b\"o\u0338"]}}`, false},
		{`{"_rev":"2-abc"}`, true},
		{`{"_deleted":true}`, true},
		{`{"_attachments":{"$exists":true}}`, true},
		{`{"_attachments":{"p\\.txt":{"length":{"$gt":10}}}}`, true},
		{`{"_attachments.p\\.txt.stub":false}`, false},
		{`{"_nothing":{"$exists":false}}`, true},
		{`{"_id":{"x":{"$exists":false}}}`, false},

		{`{"n":7.0}`, true},
		{`{"n":{"$mod":[4,3]}}`, true},
		{`{"f":{"$mod":[4,3]}}`, false},
		{`{"n":{"$mod":[0,3]}}`, false},
		{`{"$not":{"n":{"$mod":[0,3]}}}`, false},
		{`{"big":{"$mod":[12345678901234567889,1]}}`, true},
		{`{"big":{"$mod":[10,0]}}`, true},
		{`{"big":{"$gt":12345678901234567889}}`, true},

		{`{"s":{"$regex":"^line$"}}`, false},
		{`{"s":{"$regex":"^line\n"}}`, true},
		{`{"s":{"$regex":"e\\nend$"}}`, true},
		{`{"s":{"$beginsWith":"line\n"}}`, true},
		{`{"w":{"$regex":"ö"}}`, true},
		{`{"w":{"$regex":"^Gr..{2}e"}}`, false},
		{`{"w":{"$regex":"^Gr....e$"}}`, true}, // ö and ß are two bytes each
		{`{"w":{"$regex":"(?i)grö"}}`, true},
		{`{"w":{"$regex":"^(Gr)\\x{f6}"}}`, false},

		{`{"e\"x":1}`, true},
		{`{"a.1.k.0.z":"deep"}`, true},
		{`{"a":{"1":{"k":{"0":{"z":"deep"}}}}}`, true},
		{`{"a.+01.k":{"$size":1}}`, true},
		{`{"a.-1":{"$exists":true}}`, false},
		{`{"a.9":{"$exists":false}}`, false},
		{`{"a.x":{"$exists":false}}`, false},
		{`{"n.x":{"$exists":false}}`, false},
		{`{"o.x.z":{"$exists":false}}`, true},
		{`{"o":{"x":{"y":2}},"o.x.y":{"$lt":3}}`, true},
		{`{"a":{"$all":["e\u0301"]}}`, false},
		{`{"a":{"$all":["é",1]}}`, true},
		{`{"a":{"$all":[1.0]}}`, false},
		{`{"a":{"$in":["e\u0301"]}}`, true},
		{`{"a":{"$elemMatch":{"k":{"$elemMatch":{"z":"deep"}}}}}`, true},
		{`{"a":{"$elemMatch":{"k.0.z":"deep"}}}`, true},
		{`{"a":{"$allMatch":{"$exists":true}}}`, true},
		{`{"a":{"$allMatch":{"k":{"$exists":false}}}}`, false},
		{`{"empty":{"$allMatch":{"$exists":true}}}`, false},
		{`{"empty":{"$not":{"$elemMatch":{"$exists":true}}}}`, true},
		{`{"a":{"$elemMatch":{"$or":[{"$eq":1},{"$nor":[{"$eq":5}]}]}}}`, true},
		{`{"a":{"$elemMatch":{"$nor":[{"$eq":5}]}}}`, false},
		{`{"a":{"$elemMatch":{"$not":{"$nor":[{"$eq":5}]}}}}`, false},
		// What one element has must not be seen in the next.
		{`{"parts":{"$elemMatch":{"x":1,"y":2}}}`, false},
		{`{"parts":{"$allMatch":{"x":{"$gte":1}}}}`, false},
		{`{"parts":{"$elemMatch":{"x":{"$exists":false},"y":2}}}`, true},
		{`{"parts.0.y":{"$exists":false}}`, true},
		{`{"parts.0.y.z":{"$exists":false}}`, true},
		{`{"parts.0.x.z":{"$exists":false}}`, false},
		{`{"parts.0.x":{"$lt":2},"parts.00.x":1,"parts.1.y":2}`, true},

		{`{"names":{"$keyMapMatch":{"$beginsWith":"K"}}}`, true},
		{`{"names":{"$keyMapMatch":{"K":1}}}`, false},
		{`{"names":{"$keyMapMatch":{"$in":["x","k"]}}}`, false},
		{`{"empty":{"$keyMapMatch":{"$exists":true}}}`, false},

		{`{"$and":[]}`, true},
		{`{"$or":[]}`, true},
		{`{"$nor":[]}`, true},
		{`{"$and":[5]}`, false},
		{`{"$and":[{"$gt":[]}]}`, true}, // the document itself, an object
		{`{"$and":[{"$type":"object"}]}`, true},
		{`{"$and":[{"$keyMapMatch":{"$eq":"_attachments"}}]}`, true},
	} {
		if got := compile(t, tc.selector).Match(doc); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.selector, got, tc.want)
		}
	}
}

func TestMatchNothing(t *testing.T) {
	for _, body := range []string{``, `{}`, ` { } `, `null`, `[`, `{"a`, `{"a":`, `{"a":[`, `{"a":"`, `{"a":[1,`} {
		doc := Doc{Body: []byte(body)}
		for _, selector := range []string{
			`{"a":5}`, `{"a.b":5}`, `{"a":{"$elemMatch":{"b":5}}}`, `{"a.0.1":{"$keyMapMatch":{"$eq":"x"}}}`,
			`{"_rev":{"$exists":true}}`, `{"_attachments.x":{"$exists":true}}`, `{"a":{"$all":[5]}}`,
		} {
			if compile(t, selector).Match(doc) {
				t.Errorf("%s finds %q", selector, body)
			}
		}
	}
}

// TestManyFields goes past what is looked up one by one.
func TestManyFields(t *testing.T) {
	body, selector := []byte{'{'}, []byte{'{'}
	for i := range 3 * manyKids {
		name := strings.Repeat("n", i+1)
		if i > 0 {
			body, selector = append(body, ','), append(selector, ',')
		}
		body = append(appendQuoted(body, name), `:[1,{"x":true}]`...)
		selector = append(appendQuoted(selector, name+".1.x"), ":true"...)
	}
	doc := Doc{Body: append(body, '}')}
	s := compile(t, string(append(selector, '}')))
	if !s.Match(doc) {
		t.Error("not found")
	}
	doc.Body = []byte(strings.Replace(string(doc.Body), `"nn":[1`, `"nn":[`, 1))
	if s.Match(doc) {
		t.Error("found without one of the fields")
	}
}

func TestCompileErrors(t *testing.T) {
	for _, tc := range []struct{ selector, name, reason string }{
		{``, "bad_request", "invalid UTF-8 JSON"},
		{`{"a":}`, "bad_request", "invalid UTF-8 JSON"},
		{"{\"a\":\"\xff\"}", "bad_request", "invalid UTF-8 JSON"},
		{`1.0e22`, "invalid_selector_json", "Selector must be a JSON object, not: 1.0e22"},
		{
			`{"$or":{"a":[1,-0,0.1,null,"é",{}]}}`, "bad_arg",
			"Bad argument for operator $or: {[{<<97>>,[1,0,0.1,null,<<195,169>>,{[]}]}]}",
		},
		{`{"a..b":1}`, "invalid_field_name", "Invalid field name: a..b"},
		{`{"a":{"":1}}`, "invalid_field_name", "Invalid field name: a."},
		{
			`{"a":{"$text":"x"}}`, "bad_field",
			"Invalid field normalization on selector: {[{<<36,100,101,102,97,117,108,116>>,{[{<<36,116,101,120,116>>,<<120>>}]}}]}",
		},
		{`{"$text":null}`, "bad_arg", "Bad argument for operator $text: null"},
		{`{"$not":{}}`, "invalid_selector", errMissingField.Reason},
		{`{"$elemMatch":{"a":1}}`, "invalid_selector", errMissingField.Reason},
		{
			`{"a":{"$regex":"(?=x)"}}`, "not_supported",
			"Argument for operator $regex is not of RE2's syntax, which has no look-around, back-references, " +
				"atomic groups or possessive repetition: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
		},
		{
			`{"a":{"$regex":"(a)\\1"}}`, "not_supported",
			"Argument for operator $regex is not of RE2's syntax, which has no look-around, back-references, " +
				"atomic groups or possessive repetition: error parsing regexp: invalid escape sequence: `\\1`",
		},
		{`{"a":{"$regex":"(` + strings.Repeat("a", 100) + `){999}"}}`, "not_supported", errLargePattern.Reason},
		{
			`{"a":{"$regex":"a{1001}"}}`, "not_supported",
			"Argument for operator $regex repeats something more than 1000 times: " +
				"error parsing regexp: invalid repeat count: `{1001}`",
		},
		{`{"a":{"$regex":"` + strings.Repeat("x", maxPattern+1) + `"}}`, "not_supported", errLongPattern.Reason},
		{
			`{"$and":[` + strings.TrimSuffix(strings.Repeat(`{"a":{"$regex":"(abcdefgh){999}"}},`, 9), ",") + `]}`,
			"not_supported", errLargePattern.Reason,
		},
		{strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat(`}`, 10_000), "invalid_selector", errTooDeep.Reason},
		{strings.Repeat(`{"$not":`, 10_000) + "{}" + strings.Repeat(`}`, 10_000), "invalid_selector", errTooDeep.Reason},
		{strings.Repeat(`[`, 1_000_000), "invalid_selector", errTooDeep.Reason},
		{
			`{"` + strings.Repeat("a.", maxParts) + `a":1}`, "invalid_field_name",
			"Invalid field name: " + strings.Repeat("a.", maxParts) + "a",
		},
	} {
		_, err := Compile([]byte(tc.selector))
		checkError(t, clip(tc.selector), err, tc.name, tc.reason)
	}
}

func TestNormal(t *testing.T) {
	for _, tc := range []struct{ selector, want string }{
		{`{}`, `{}`},
		{`{"a":{}}`, `{"a":{"$eq":{}}}`},
		{`{"a":{"b.c":{"$gt":1}}}`, `{"a.b.c":{"$gt":1}}`},
		{`{"a\"b":[1, 2]}`, `{"a\"b":{"$eq":[1,2]}}`},
		{`{"a":{"$elemMatch":{"$gt":1,"$lt":5}}}`, `{"a":{"$elemMatch":{"$and":[{"":{"$gt":1}},{"":{"$lt":5}}]}}}`},
		{`{"a":{"$not":{"$regex":"x"}}}`, `{"a":{"$not":{"$regex":"x"}}}`},
		{
			`{"$not":{"$nor":[{"a":1},{"$not":{"b":{"$exists":false}}}]}}`,
			`{"$or":[{"a":{"$eq":1}},{"b":{"$exists":true}}]}`,
		},
		{`{"$nor":[{"$not":{"a":{"$not":{"$size":2}}}}]}`, `{"$and":[{"a":{"$not":{"$size":2}}}]}`},
		{`{"a":{"$gt":1},"b":1,"a":{"$lt":5}}`, `{"$and":[{"b":{"$eq":1}},{"a":{"$lt":5}}]}`},
		{`{"$text":"x"}`, `{"$default":{"$text":"x"}}`},
	} {
		if got := string(compile(t, tc.selector).Normal()); got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", tc.selector, got, tc.want)
		}
	}
}

func TestErlangFloats(t *testing.T) {
	for _, tc := range []struct {
		json, want string
	}{
		{"1.5", "1.5"},
		{"-0.0", "-0.0"},
		{"100.0", "100.0"},
		{"1e5", "1.0e5"},
		{"123456.0", "123456.0"},
		{"0.001", "0.001"},
		{"0.0001", "0.0001"},
		{"0.00001", "1.0e-5"},
		{"0.00012345", "1.2345e-4"},
		{"-1e300", "-1.0e300"},
		{"9007199254740992.0", "9.007199254740992e15"},
	} {
		if got := erlangTerm([]byte(tc.json)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.json, got, tc.want)
		}
	}
}
