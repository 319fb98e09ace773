package mango

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func readConformance(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "integration", "testdata", "conformance", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// readDoc makes a Doc of a document's JSON.
func readDoc(t rapid.TB, text []byte) Doc {
	t.Helper()
	var special struct {
		ID          string `json:"_id"`
		Rev         string `json:"_rev"`
		Deleted     bool   `json:"_deleted"`
		Attachments json.RawMessage
	}
	if err := json.Unmarshal(text, &special); err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		t.Fatal(err)
	}
	body := []byte{'{'}
	for name, value := range members(compact.Bytes()) {
		if name[1] == '_' {
			continue
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(append(append(body, name...), ':'), value...)
	}
	return Doc{
		ID: special.ID, Rev: special.Rev, Deleted: special.Deleted,
		Attachments: special.Attachments, Body: append(body, '}'),
	}
}

func TestCouchDBSelectors(t *testing.T) {
	var vectors struct {
		Docs  []json.RawMessage
		Cases []struct {
			Selector      json.RawMessage
			IDs           []string
			Error, Reason string
		}
	}
	readConformance(t, "vectors/selectors.json", &vectors)
	if len(vectors.Cases) < 100 || len(vectors.Docs) < 100 {
		t.Fatalf("only %d cases and %d documents", len(vectors.Cases), len(vectors.Docs))
	}
	var docs []Doc
	for _, text := range vectors.Docs {
		doc := readDoc(t, text)
		doc.Rev = "1-967a00dff5e02add41819138abb3284d"
		docs = append(docs, doc)
	}
	for _, tc := range vectors.Cases {
		selector, err := Compile(tc.Selector)
		if tc.Error != "" || err != nil {
			checkError(t, string(tc.Selector), err, tc.Error, tc.Reason)
			continue
		}
		checkFound(t, string(tc.Selector), selector, docs, tc.IDs)
	}
}

func checkError(t *testing.T, selector string, err error, name, reason string) {
	t.Helper()
	var got *Error
	if !errors.As(err, &got) {
		t.Errorf("%s: error %v, want %s: %s", selector, err, name, reason)
	} else if got.Name != name || got.Reason != reason {
		t.Errorf("%s:\n%v, want\n%s: %s", selector, got, name, reason)
	}
}

func checkFound(t *testing.T, name string, selector *Selector, docs []Doc, want []string) {
	t.Helper()
	found := []string{}
	for _, doc := range docs {
		if selector.Match(doc) {
			found = append(found, doc.ID)
		}
	}
	slices.Sort(found)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(found, want) {
		t.Errorf("%s\nfinds %v\nwant  %v", name, found, want)
	}
	again, err := Compile(selector.Normal())
	if err != nil {
		return // a normal form may hold empty field names, which no path can
	}
	if !bytes.Equal(again.Normal(), selector.Normal()) && !bytes.Contains(selector.Normal(), []byte(`"$not"`)) {
		t.Errorf("%s: normal form %s has another, %s", name, selector.Normal(), again.Normal())
	}
}

// TestTranscripts replays the selectors of recorded requests that do not hang
// on indexes: documents are written first, then found or refused.
func TestTranscripts(t *testing.T) {
	for _, name := range []string{
		"array-operators", "combinations", "comparisons", "equality", "exists-and-type", "in-and-nin",
		"key-map-match", "mod-and-regex", "nested-fields", "selector-errors", "more-selector-errors",
		"empty-selector",
	} {
		t.Run(name, func(t *testing.T) {
			var transcript transcript
			readConformance(t, "mango/"+name+".json", &transcript)
			var docs []Doc
			for _, text := range transcript.Steps[0].Request.JSON.Docs {
				doc := readDoc(t, text)
				doc.Rev = "1-967a00dff5e02add41819138abb3284d"
				docs = append(docs, doc)
			}
			checked := 0
			for _, step := range transcript.Steps[1:] {
				text := step.Request.JSON.Selector
				if text == nil {
					continue
				}
				var answer struct {
					Error, Reason string
					Docs          []struct {
						ID string `json:"_id"`
					}
				}
				if err := json.Unmarshal(step.Response.JSON, &answer); err != nil {
					t.Fatal(err)
				}
				// _find finds nothing by an empty list of conditions, which
				// otherwise hold: its plan has no range to look in.
				if slices.Contains(emptyLists, strings.Join(strings.Fields(string(text)), "")) {
					continue
				}
				checked++
				selector, err := Compile(text)
				if answer.Error != "" || err != nil {
					checkError(t, string(text), err, answer.Error, answer.Reason)
					continue
				}
				var ids []string
				for _, doc := range answer.Docs {
					ids = append(ids, doc.ID)
				}
				checkFound(t, string(text), selector, docs, ids)
			}
			if checked == 0 {
				t.Error("no selector found in the transcript")
			}
		})
	}
}

var emptyLists = []string{`{"$and":[]}`, `{"$or":[]}`, `{"$nor":[]}`}

type transcript struct {
	Steps []struct {
		Request struct {
			JSON struct {
				Selector json.RawMessage
				Docs     []json.RawMessage
			}
		}
		Response struct {
			JSON json.RawMessage
		}
	}
}

func TestNormalForms(t *testing.T) {
	var transcript transcript
	readConformance(t, "mango/explain-normal-forms.json", &transcript)
	for _, step := range transcript.Steps[1:] {
		selector, err := Compile(step.Request.JSON.Selector)
		if err != nil {
			t.Errorf("%s: %v", step.Request.JSON.Selector, err)
			continue
		}
		var answer struct {
			Superset struct{ Selector json.RawMessage } `json:"<<superset>>"`
		}
		if err := json.Unmarshal(step.Response.JSON, &answer); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, answer.Superset.Selector); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(selector.Normal(), want.Bytes()) {
			t.Errorf("%s: normal form %s, want %s", step.Request.JSON.Selector, selector.Normal(), want.Bytes())
		}
	}
}
