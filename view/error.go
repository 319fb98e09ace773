package view

// Kind says what an Error is about.
type Kind uint8

// The kinds of errors.
const (
	Invalid  Kind = iota // the request or the design document asks for what cannot be
	NotFound             // there is no such view
	Fault                // the design document cannot do its work
)

// Error is what is wrong with a design document or a query, in CouchDB's words.
type Error struct {
	Kind         Kind
	Name, Reason string // CouchDB's error and reason
}

func (e *Error) Error() string { return e.Name + ": " + e.Reason }
