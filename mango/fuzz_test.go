package mango

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

var selectorSeeds = []string{
	`{}`,
	`{"votes":{"$gt":990},"title":{"$regex":"^water"}}`,
	`{"a.b\\.c.0":{"$elemMatch":{"$or":[{"x":1},{"$not":{"y":{"$exists":false}}}]}}}`,
	`{"$nor":[{"_id":{"$in":[1,2,3,4,5,6,7,8,9]}},{"a":{"$allMatch":{"$mod":[3,-1]}}}]}`,
	`{"a":{"$keyMapMatch":{"$beginsWith":"x"}},"b":{"$all":[[1]],"$size":1,"$type":"array"}}`,
	`{"$and":[5,{"$type":"object"}],"$text":"x"}`,
}

// FuzzCompile feeds anything: it must be refused with an *Error, or have a
// normal form that is JSON.
func FuzzCompile(f *testing.F) {
	for _, s := range selectorSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		selector, err := Compile(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Name == "" || e.Reason == "" {
				t.Errorf("error %#v", err)
			}
			return
		}
		if !json.Valid(selector.Normal()) {
			t.Errorf("normal form %q", selector.Normal())
		}
	})
}

// FuzzMatch matches anything against anything. White space between a
// document's tokens must not change what is found.
func FuzzMatch(f *testing.F) {
	for _, s := range selectorSeeds {
		f.Add([]byte(s), []byte(`{"votes":991,"title":"water","a":{"b.c":[[{"x":1.5}]],"x":null},"b":[1]}`), []byte(`{"p":{}}`))
	}
	f.Add([]byte(`{"a.1.b":{"$size":2}}`), []byte(`{"a":[1,{"b":[`), []byte(`{"`))
	f.Fuzz(func(t *testing.T, text, body, attachments []byte) {
		selector, err := Compile(text)
		if err != nil {
			return
		}
		found := selector.Match(Doc{ID: "id", Rev: "1-x", Body: body, Attachments: attachments})
		var spaced bytes.Buffer
		if json.Indent(&spaced, body, " ", "\t") != nil || !json.Valid(attachments) {
			return
		}
		if selector.Match(Doc{ID: "id", Rev: "1-x", Body: spaced.Bytes(), Attachments: attachments}) != found {
			t.Errorf("%s: found %v without white space in %s", text, found, body)
		}
	})
}
