package mango

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/mangrove-db/mangrove/document"
)

// noBookmark stands for the beginning in answers. It is no bookmark that can be
// sent, as in CouchDB.
const noBookmark = "nil"

// position is where an answer ended: behind the row of a document.
type position struct {
	id  string
	key []byte // of the row in a JSON index, as JSON; nil for all documents
}

// bookmarkVersion begins what a bookmark encodes. Bookmarks are good for as long
// as clients keep them, so that other forms need other versions.
const bookmarkVersion = "1"

// encode returns the position as a bookmark: URL-safe base64 of a JSON array of
// the version, the document's id, and the row's key if there is one.
func (p *position) encode() string {
	b := document.AppendString([]byte("["+bookmarkVersion+","), p.id)
	if p.key != nil {
		b = append(append(b, ','), p.key...)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, ']'))
}

// parseBookmark reads a bookmark; byID says whether it is to be one of all
// documents. Bookmarks say how to go on with the query that they come from;
// what they say for others is as good as any beginning.
func parseBookmark(text string, byID bool) (*position, error) {
	p, ok := decodeBookmark(text)
	if !ok || byID != (p.key == nil) {
		return nil, errorf("invalid_bookmark", "Invalid bookmark value: ", clip(string(document.AppendString(nil, strings.ToValidUTF8(text, "\uFFFD")))))
	}
	return p, nil
}

func decodeBookmark(text string) (*position, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, false
	}
	b, err := document.Canonical(raw)
	if err != nil || kindOf(b) != kindArray {
		return nil, false
	}
	var parts [][]byte
	for element := range elements(b) {
		parts = append(parts, element)
	}
	if len(parts) < 2 || len(parts) > 3 || string(parts[0]) != bookmarkVersion || kindOf(parts[1]) != kindString {
		return nil, false
	}
	p := &position{}
	if json.Unmarshal(parts[1], &p.id) != nil {
		return nil, false
	}
	if len(parts) == 3 {
		if kindOf(parts[2]) != kindArray {
			return nil, false
		}
		p.key = parts[2]
	}
	return p, true
}
