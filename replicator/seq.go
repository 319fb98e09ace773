package replicator

import "encoding/json"

// SeqJSON is an update sequence as peers write it into JSON: CouchDB sends strings, older servers numbers, and
// BigCouch arrays. The pipeline handles sequences as texts: the content of a string, or the JSON of anything else.
type SeqJSON string

// MarshalJSON writes an array or nothing known as it is, and all else as a string, as CouchDB does.
func (s SeqJSON) MarshalJSON() ([]byte, error) {
	switch {
	case s == "":
		return []byte("0"), nil
	case s[0] == '[' && json.Valid([]byte(s)):
		return []byte(s), nil
	}
	return json.Marshal(string(s))
}

// UnmarshalJSON reads a sequence of any form.
func (s *SeqJSON) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(s))
	}
	*s = SeqJSON(b)
	if *s == "0" || *s == "null" {
		*s = ""
	}
	return nil
}
