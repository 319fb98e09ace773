package script

import (
	"math"

	"github.com/dop251/goja"
)

func (m *machine) guardStrings() {
	proto := m.prototype("String")
	m.replace(proto, "repeat", func(builtin native, c goja.FunctionCall) goja.Value {
		if n := c.Argument(0).ToFloat(); n > 0 && !math.IsInf(n, 0) {
			if float64(textLength(c.This))*n > float64(m.guard.maxString) {
				m.rangeError("Invalid string length")
			}
			m.count(int(float64(textLength(c.This)) * n))
		}
		return builtin(c)
	})
	for _, name := range []string{"padStart", "padEnd"} {
		m.replace(proto, name, func(builtin native, c goja.FunctionCall) goja.Value {
			if n := c.Argument(0).ToFloat(); n > float64(m.guard.maxString) {
				m.rangeError("Invalid string length")
			} else if n > float64(textLength(c.This)) {
				m.count(int(n))
			}
			return builtin(c)
		})
	}
	m.replace(proto, "concat", func(builtin native, c goja.FunctionCall) goja.Value {
		n := textLength(c.This)
		for _, v := range c.Arguments {
			n += textLength(v)
		}
		m.checkString(n)
		return builtin(c)
	})
	m.replace(proto, "split", func(builtin native, c goja.FunctionCall) goja.Value {
		if textLength(c.This) > maxElements {
			m.rangeError("Invalid array length")
		}
		return builtin(c)
	})
	for _, name := range []string{"replace", "replaceAll"} {
		m.replace(proto, name, func(builtin native, c goja.FunctionCall) goja.Value {
			return m.replaceText(builtin, c, textLength(c.This))
		})
	}
}

// guardRegexps bounds the texts through which regular expressions go as a whole.
func (m *machine) guardRegexps() {
	proto := m.prototype("RegExp")
	for symbol, replaces := range map[*goja.Symbol]bool{
		goja.SymMatch: false, goja.SymMatchAll: false, goja.SymReplace: true, goja.SymSearch: false, goja.SymSplit: false,
	} {
		old, ok := proto.GetSymbol(symbol).(*goja.Object)
		if !ok {
			continue
		}
		builtin, ok := old.Export().(native)
		if !ok {
			continue
		}
		f := m.vm.ToValue(func(c goja.FunctionCall) goja.Value {
			n := textLength(c.Argument(0))
			if n > maxElements {
				m.rangeError("Invalid string length")
			}
			if replaces {
				return m.replaceText(builtin, c, n)
			}
			return builtin(c)
		})
		err := proto.DefineDataPropertySymbol(symbol, f, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
		if err != nil {
			panic(err)
		}
	}
}

// textLength is a string's length; 0 of what is none.
func textLength(v goja.Value) int {
	if s, ok := v.(goja.String); ok {
		return s.Length()
	}
	return 0
}

// replaceText is String.prototype.replace. What might get too long is replaced
// by a function that counts.
// The text has n code units.
func (m *machine) replaceText(builtin native, c goja.FunctionCall, n int) goja.Value {
	with, ok := c.Argument(1).(goja.String)
	if !ok {
		return builtin(c)
	}
	longest, patterns := with.Length(), false
	for i := range longest {
		if with.CharAt(i) == '$' {
			patterns = true
			longest += n * (longest - i) / 2 // each $` may stand for the whole text
			break
		}
	}
	if float64(n+1)*float64(longest+1) <= float64(m.guard.maxString) {
		return builtin(c)
	}
	made := n
	count := m.vm.ToValue(func(f goja.FunctionCall) goja.Value {
		if !patterns {
			made += with.Length()
			m.checkString(made)
			return with
		}
		s := m.substitute(with, f.Arguments)
		made += len(s)
		m.checkString(made)
		return goja.StringFromUTF16(s)
	})
	c.Arguments = append([]goja.Value{c.Argument(0), count}, c.Arguments[min(2, len(c.Arguments)):]...)
	return builtin(c)
}

// substitute expands the $ patterns of a replacement; args are those that
// replace gives to a function: match, groups, offset, text and perhaps the named
// groups.
func (m *machine) substitute(with goja.String, args []goja.Value) []uint16 {
	var named *goja.Object
	if o, ok := args[len(args)-1].(*goja.Object); ok {
		named, args = o, args[:len(args)-1]
	}
	n := len(args)
	match, groups := m.text(args[0]), args[1:n-2]
	offset, whole := int(args[n-2].ToInteger()), m.text(args[n-1])
	var out []uint16
	add := func(s goja.String, from, to int) {
		for i := from; i < to; i++ {
			out = append(out, s.CharAt(i))
		}
	}
	length := with.Length()
	digit := func(i int) int {
		if i < length && with.CharAt(i) >= '0' && with.CharAt(i) <= '9' {
			return int(with.CharAt(i) - '0')
		}
		return -1
	}
	for i := 0; i < length; i++ {
		u := with.CharAt(i)
		if u != '$' || i+1 == length {
			out = append(out, u)
			continue
		}
		switch next := with.CharAt(i + 1); {
		case next == '$':
			out = append(out, '$')
			i++
		case next == '&':
			add(match, 0, match.Length())
			i++
		case next == '`':
			add(whole, 0, offset)
			i++
		case next == '\'':
			add(whole, min(offset+match.Length(), whole.Length()), whole.Length())
			i++
		case digit(i+1) >= 0:
			k, used := digit(i+1), 1
			if d := digit(i + 2); d >= 0 && k*10+d <= len(groups) && k*10+d > 0 {
				k, used = k*10+d, 2
			}
			if k == 0 || k > len(groups) {
				out = append(out, u)
				continue
			}
			if s, ok := groups[k-1].(goja.String); ok {
				add(s, 0, s.Length())
			}
			i += used
		case next == '<' && named != nil:
			end := i + 2
			for end < length && with.CharAt(end) != '>' {
				end++
			}
			if end == length {
				out = append(out, u)
				continue
			}
			if v := named.Get(with.Substring(i+2, end).String()); v != nil && !goja.IsUndefined(v) {
				s := m.text(v)
				add(s, 0, s.Length())
			}
			i = end
		default:
			out = append(out, u)
		}
	}
	return out
}
