package script

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/dop251/goja"
)

// feed turns a JSON text into a value. Objects and arrays are read as they are
// used: an object notes where its members are when it is first asked for one, and
// a member becomes a value when it is asked for. Strings share the text's memory.
// Unless mutable, neither the value nor what is in it can be changed: writing to
// it is ignored, or is a TypeError in strict mode, as with frozen objects.
func (m *machine) feed(text string, mutable bool) goja.Value {
	text = text[skipSpace(text, 0):]
	if text == "" {
		return undefined
	}
	switch text[0] {
	case '{':
		return m.vm.NewDynamicObject(&lazyObject{m: m, text: text, mutable: mutable})
	case '[':
		return m.vm.NewDynamicArray(&lazyArray{m: m, text: text, mutable: mutable})
	case '"':
		return m.feedString(text)
	case 't':
		return trueValue
	case 'f':
		return falseValue
	case 'n':
		return null
	}
	return m.feedNumber(text)
}

func (m *machine) feedString(text string) goja.Value {
	end, escaped := skipString(text, 0)
	if escaped {
		return goja.StringFromUTF16(unquote(text[:end]))
	}
	if end < 2 {
		return m.vm.ToValue("")
	}
	return m.vm.ToValue(text[1 : end-1])
}

func (m *machine) feedNumber(text string) goja.Value {
	text = text[:skipValue(text, 0)]
	if len(text) <= 15 {
		n, i := int64(0), 0
		if text[0] == '-' {
			i++
		}
		for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
			n = n*10 + int64(text[i]-'0')
		}
		if i == len(text) && (n != 0 || text[0] != '-') {
			if text[0] == '-' {
				n = -n
			}
			return m.vm.ToValue(n)
		}
	}
	f, _ := strconv.ParseFloat(text, 64) // beyond the range: infinite, as JavaScript has it
	return m.vm.ToValue(f)
}

var trueValue, falseValue = func() (t, f goja.Value) {
	vm := goja.New()
	return vm.ToValue(true), vm.ToValue(false)
}()

var (
	lazyObjectType = reflect.TypeFor[*lazyObject]()
	lazyArrayType  = reflect.TypeFor[*lazyArray]()
)

// lazyObjectOf returns what an object that was fed is made of.
func lazyObjectOf(v goja.Value) (*lazyObject, bool) {
	o, ok := v.(*goja.Object)
	if !ok || o.ExportType() != lazyObjectType {
		return nil, false // Export would copy others
	}
	x, ok := o.Export().(*lazyObject)
	return x, ok
}

// lazyArrayOf returns what an array that was fed is made of.
func lazyArrayOf(v goja.Value) (*lazyArray, bool) {
	o, ok := v.(*goja.Object)
	if !ok || o.ExportType() != lazyArrayType {
		return nil, false
	}
	x, ok := o.Export().(*lazyArray)
	return x, ok
}

// member is one of an object. If value is nil, raw is to be read.
type member struct {
	name, raw string
	value     goja.Value
}

// indexedMembers is from how many members on an object has a map of them.
const indexedMembers = 24

// lazyObject implements goja.DynamicObject over a text.
type lazyObject struct {
	m       *machine
	text    string
	mutable bool
	scanned bool
	changed bool // members differ from text
	members []member
	index   map[string]int // of many members
}

func (o *lazyObject) scan() {
	o.scanned = true
	s := o.text
	n := 0
	if len(s) < 1<<10 {
		n = 16
	}
	o.members = make([]member, 0, n)
	for i := skipSpace(s, 1); i < len(s) && s[i] == '"'; {
		end, escaped := skipString(s, i)
		var name string
		if escaped {
			name = string(utf16.Decode(unquote(s[i:end])))
		} else {
			name = s[i+1 : max(end-1, i+1)]
		}
		i = skipSpace(s, end)
		i = skipSpace(s, i+1) // behind the colon
		if i >= len(s) {
			break
		}
		end = skipValue(s, i)
		o.members = append(o.members, member{name: name, raw: s[i:end]})
		i = skipSpace(s, end)
		if i >= len(s) || s[i] != ',' {
			break
		}
		i = skipSpace(s, i+1)
	}
	if len(o.members) >= indexedMembers {
		o.reindex()
	}
}

func (o *lazyObject) reindex() {
	o.index = make(map[string]int, len(o.members))
	for i := range o.members {
		o.index[o.members[i].name] = i
	}
}

func (o *lazyObject) find(name string) int {
	if !o.scanned {
		o.scan()
	}
	if o.index != nil {
		if i, ok := o.index[name]; ok {
			return i
		}
		return -1
	}
	// Of members with equal names the last counts.
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

// Get implements goja.DynamicObject.
func (o *lazyObject) Get(name string) goja.Value {
	i := o.find(name)
	if i < 0 {
		return nil
	}
	b := &o.members[i]
	if b.value == nil {
		b.value = o.m.feed(b.raw, o.mutable)
	}
	return b.value
}

// Has implements goja.DynamicObject.
func (o *lazyObject) Has(name string) bool { return o.find(name) >= 0 }

// Set implements goja.DynamicObject.
func (o *lazyObject) Set(name string, v goja.Value) bool {
	if !o.mutable {
		return false
	}
	o.changed = true
	if i := o.find(name); i >= 0 {
		o.members[i].value = v
		return true
	}
	o.members = append(o.members, member{name: strings.Clone(name), value: v})
	if o.index != nil {
		o.index[name] = len(o.members) - 1
	} else if len(o.members) >= indexedMembers {
		o.reindex()
	}
	return true
}

// Delete implements goja.DynamicObject.
func (o *lazyObject) Delete(name string) bool {
	i := o.find(name)
	if i < 0 {
		return true
	}
	if !o.mutable {
		return false
	}
	o.changed = true
	o.members = slices.DeleteFunc(o.members, func(b member) bool { return b.name == name })
	if o.index != nil {
		o.reindex()
	}
	return true
}

// Keys implements goja.DynamicObject: array indexes first, in their order.
func (o *lazyObject) Keys() []string {
	if !o.scanned {
		o.scan()
	}
	keys := make([]string, 0, len(o.members))
	indexes := false
	for i := range o.members {
		name := o.members[i].name
		if _, ok := arrayIndex(name); ok {
			indexes = true
		}
		keys = append(keys, name)
	}
	if indexes {
		slices.SortStableFunc(keys, func(a, b string) int {
			x, isX := arrayIndex(a)
			y, isY := arrayIndex(b)
			switch {
			case isX && isY:
				return int(int64(x) - int64(y))
			case isX:
				return -1
			case isY:
				return 1
			}
			return 0
		})
	}
	return keys
}

// lazyArray implements goja.DynamicArray over a text, or over parts that have
// been set.
type lazyArray struct {
	m       *machine
	text    string
	mutable bool
	scanned bool
	changed bool
	parts   []member // without names
}

func (a *lazyArray) scan() {
	a.scanned = true
	s := a.text
	for i := skipSpace(s, 1); i < len(s) && s[i] != ']'; {
		end := skipValue(s, i)
		if end == i {
			break
		}
		a.parts = append(a.parts, member{raw: s[i:end]})
		i = skipSpace(s, end)
		if i >= len(s) || s[i] != ',' {
			break
		}
		i = skipSpace(s, i+1)
	}
}

// Len implements goja.DynamicArray.
func (a *lazyArray) Len() int {
	if !a.scanned {
		a.scan()
	}
	return len(a.parts)
}

// Get implements goja.DynamicArray.
func (a *lazyArray) Get(i int) goja.Value {
	if !a.scanned {
		a.scan()
	}
	if i < 0 || i >= len(a.parts) {
		return nil
	}
	b := &a.parts[i]
	if b.value == nil {
		b.value = a.m.feed(b.raw, a.mutable)
	}
	return b.value
}

// Set implements goja.DynamicArray.
func (a *lazyArray) Set(i int, v goja.Value) bool {
	if !a.mutable || i < 0 || i >= a.Len() && !a.SetLen(i+1) {
		return false
	}
	a.changed = true
	a.parts[i].value = v
	return true
}

// SetLen implements goja.DynamicArray.
func (a *lazyArray) SetLen(n int) bool {
	if !a.mutable || n < 0 {
		return false
	}
	have := a.Len()
	if n > have && !a.m.count((n-have)*16) {
		return false
	}
	a.changed = true
	if n <= have {
		clear(a.parts[n:])
		a.parts = a.parts[:n]
		return true
	}
	for range n - have {
		a.parts = append(a.parts, member{value: undefined})
	}
	return true
}
