package view

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// rowFormat names the encoding of rows and reductions: indexes of another one are built anew.
const rowFormat = "1"

// Design is what a design document says about views. It is immutable and safe for concurrent use.
type Design struct {
	ID        string
	Rev       revtree.ID
	Language  string // "javascript" if the document names none
	Signature string // 32 hex digits
	// Autoupdate says whether its index is built in the background.
	Autoupdate bool
	// LocalSeq gives documents their sequence, IncludeDesign gives design documents to the map functions too.
	LocalSeq, IncludeDesign bool
	// Lib is the JSON text of views.lib, or nil.
	Lib []byte
	// Spaces are the distinct sets of rows.
	Spaces []Space

	unpartitioned bool // options.partitioned is false
	views         map[string]*Definition
	reducers      [][]storage.IndexReducer // of each of a space's Reduces
	compile       func() (Program, error)  // once
}

// Space is what fills one set of rows: the map of one view or of several that have the same.
type Space struct {
	Map     []byte   // the JSON text of map: a string in JavaScript, an object in Mango's language
	Options []byte   // the JSON text of the view's options, or nil
	Raw     bool     // keys are in raw order: options.collation is "raw"
	Reduces []string // distinct reduce functions
}

// Definition is one view.
type Definition struct {
	Name    string
	Map     []byte // as in Space
	Options []byte // as in Space
	Reduce  string // built-in name or source; "" for none
	Space   int    // among the design document's
	Reducer int    // among the space's Reduces; -1 for none
}

// View returns the view of that name.
func (d *Design) View(name string) (*Definition, bool) {
	v, ok := d.views[name]
	return v, ok
}

// Views returns the views by name.
func (d *Design) Views() []*Definition {
	views := slices.Collect(maps.Values(d.views))
	slices.SortFunc(views, func(a, b *Definition) int { return cmp.Compare(a.Name, b.Name) })
	return views
}

// Partitioned says whether the rows of each partition of db are kept apart, so that a query must name one.
func (d *Design) Partitioned(db *storage.DB) bool { return db.Partitioned() && !d.unpartitioned }

// parseDesign reads a design document. What is not as it should be is left out, as documents that come by replication
// are not checked.
func parseDesign(doc *document.Document) (*Design, error) {
	d := &Design{ID: doc.ID, Rev: doc.Rev, Language: "javascript", Autoupdate: true, views: map[string]*Definition{}}
	top, err := object(doc.Body)
	if err != nil {
		return nil, err
	}
	if name, ok := text(top["language"]); ok {
		d.Language = name
	}
	d.Autoupdate = string(top["autoupdate"]) != "false"
	if auto, err := object(top["autoupdate"]); err == nil && string(auto["views"]) == "false" {
		d.Autoupdate = false
	}
	if options, err := object(top["options"]); err == nil {
		d.LocalSeq = string(options["local_seq"]) == "true"
		d.IncludeDesign = string(options["include_design"]) == "true"
		d.unpartitioned = string(options["partitioned"]) == "false"
	}
	views, err := object(top["views"])
	if err != nil {
		views = nil
	}
	if lib, ok := views["lib"]; ok && !bytes.Equal(lib, []byte("{}")) {
		d.Lib = lib
	}
	for name, text := range views {
		if v := parseView(name, text); v != nil {
			d.views[name] = v
		}
	}
	d.arrange()
	d.Signature = d.sign()
	return d, nil
}

func parseView(name string, value []byte) *Definition {
	members, err := object(value)
	if err != nil || len(members["map"]) == 0 || string(members["map"]) == "null" {
		return nil
	}
	v := &Definition{Name: name, Map: members["map"], Reducer: -1}
	if options, err := object(members["options"]); err == nil && len(options) > 0 {
		v.Options = members["options"]
	}
	v.Reduce, _ = text(members["reduce"])
	return v
}

// arrange makes spaces of the views, in an order that does not depend on their names.
func (d *Design) arrange() {
	views := d.Views()
	slices.SortStableFunc(views, func(a, b *Definition) int {
		return cmp.Or(bytes.Compare(a.Map, b.Map), bytes.Compare(a.Options, b.Options), cmp.Compare(a.Reduce, b.Reduce))
	})
	for i, v := range views {
		if i == 0 || !bytes.Equal(v.Map, views[i-1].Map) || !bytes.Equal(v.Options, views[i-1].Options) {
			options, _ := object(v.Options)
			d.Spaces = append(d.Spaces, Space{Map: v.Map, Options: v.Options, Raw: string(options["collation"]) == `"raw"`})
		}
		v.Space = len(d.Spaces) - 1
		if v.Reduce == "" {
			continue
		}
		s := &d.Spaces[v.Space]
		if n := len(s.Reduces); n == 0 || s.Reduces[n-1] != v.Reduce {
			s.Reduces = append(s.Reduces, v.Reduce)
		}
		v.Reducer = len(s.Reduces) - 1
	}
}

// sign returns the signature: a hash of everything that decides which rows and reductions the index has.
func (d *Design) sign() string {
	h := md5.New()
	add := func(parts ...[]byte) {
		for _, p := range parts {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
			h.Write(p)
		}
	}
	add([]byte(rowFormat), []byte(collate.Version), []byte(d.Language), d.Lib)
	var flags byte
	for i, set := range []bool{d.LocalSeq, d.IncludeDesign, d.unpartitioned} {
		if set {
			flags |= 1 << i
		}
	}
	add([]byte{flags})
	for _, s := range d.Spaces {
		add(s.Map, s.Options, binary.AppendUvarint(nil, uint64(len(s.Reduces))))
		for _, r := range s.Reduces {
			add([]byte(r))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// program returns what fills the spaces.
func (d *Design) program() (Program, error) { return d.compile() }

// bind gives the design document what it needs to work.
func (d *Design) bind(x *Indexer) {
	d.compile = sync.OnceValues(func() (Program, error) { return x.compile(d) })
	d.reducers = make([][]storage.IndexReducer, len(d.Spaces))
	for i, s := range d.Spaces {
		for _, source := range s.Reduces {
			d.reducers[i] = append(d.reducers[i], x.newReducer(d, source))
		}
	}
}

// object reads the members of a JSON object.
func object(value []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	err := json.Unmarshal(value, &members)
	return members, err
}

// text reads a JSON string.
func text(value []byte) (s string, ok bool) {
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(value, &s) == nil
}
