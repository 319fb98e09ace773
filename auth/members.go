package auth

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/mangrove-db/mangrove/document"
)

// objectMember is a member of a JSON object, its value as JSON.
type objectMember struct {
	name  string
	value []byte
}

// memberList is a JSON object whose members keep their order.
type memberList []objectMember

// readMembers takes the canonical text of an object apart.
func readMembers(text []byte) (memberList, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("not a JSON object")
	}
	var list memberList
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		list = append(list, objectMember{name, value})
	}
	return list, nil
}

// find returns the place of a member, -1 if there is none.
func (l memberList) find(name string) int {
	for i := range l {
		if l[i].name == name {
			return i
		}
	}
	return -1
}

// append appends the object's text.
func (l memberList) append(b []byte) []byte {
	b = append(b, '{')
	for i, m := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = document.AppendString(b, m.name)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

func hexText(b []byte) string { return hex.EncodeToString(b) }
