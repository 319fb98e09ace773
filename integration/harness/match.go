package harness

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Difference is one place at which an answer is not what was expected.
type Difference struct {
	Path string // such as $.rows[3].value.rev, "status" or "header ETag"
	Want string
	Got  string
}

// String gives the difference on one line, long values shortened.
func (d Difference) String() string {
	return fmt.Sprintf("%s: want %s, got %s", d.Path, shorten(d.Want), shorten(d.Got))
}

const shortened = 400

func shorten(s string) string {
	if len(s) <= shortened {
		return s
	}
	return fmt.Sprintf("%s … (%d bytes)", strings.ToValidUTF8(s[:shortened], ""), len(s))
}

const (
	supersetMark  = "<<superset>>"
	unorderedMark = "<<unordered>>"
	absentMark    = "<<absent>>"
)

// comparison collects the differences between an expected value, wildcards and
// all, and one that came. A quick one notes only whether there are any.
type comparison struct {
	quick   bool
	differs bool
	found   []Difference
}

// maxDifferences per answer: more say nothing new.
const maxDifferences = 20

// compareValues returns what differs, or nil if got is what want allows.
func compareValues(path string, want, got any) []Difference {
	var c comparison
	c.value(path, want, got)
	return c.found
}

// matches reports whether got is what want allows.
func matches(want, got any) bool {
	c := comparison{quick: true}
	c.value("", want, got)
	return !c.differs
}

func (c *comparison) add(path string, want, got any) {
	c.differs = true
	if !c.quick && len(c.found) < maxDifferences {
		c.found = append(c.found, Difference{path, show(want), show(got)})
	}
}

// nothing stands for a member or element that is not there.
type nothing struct{}

func show(v any) string {
	if _, ok := v.(nothing); ok {
		return "nothing"
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (c *comparison) value(path string, want, got any) {
	if c.quick && c.differs {
		return
	}
	switch w := want.(type) {
	case string:
		if !matchString(w, got) {
			c.add(path, want, got)
		}
	case json.Number:
		if g, ok := got.(json.Number); !ok || !equalNumbers(w, g) {
			c.add(path, want, got)
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			c.add(path, want, got)
			return
		}
		c.array(path, w, g)
	case map[string]any:
		if inner, ok := marked(w, supersetMark); ok {
			c.superset(path, inner, got)
			return
		}
		if inner, ok := marked(w, unorderedMark); ok {
			c.unordered(path, inner, got)
			return
		}
		g, ok := got.(map[string]any)
		if !ok {
			c.add(path, want, got)
			return
		}
		c.members(path, w, g, true)
	default: // null, true, false
		if want != got {
			c.add(path, want, got)
		}
	}
}

// marked returns the value under mark if that is w's only member.
func marked(w map[string]any, mark string) (any, bool) {
	inner, ok := w[mark]
	return inner, ok && len(w) == 1
}

func (c *comparison) array(path string, want, got []any) {
	for i := range min(len(want), len(got)) {
		c.value(c.index(path, i), want[i], got[i])
	}
	for i := len(got); i < len(want); i++ {
		c.add(c.index(path, i), want[i], nothing{})
	}
	for i := len(want); i < len(got); i++ {
		c.add(c.index(path, i), nothing{}, got[i])
	}
}

func (c *comparison) superset(path string, want, got any) {
	w, ok := want.(map[string]any)
	g, isObject := got.(map[string]any)
	if !ok || !isObject {
		c.add(path, map[string]any{supersetMark: want}, got)
		return
	}
	c.members(path, w, g, false)
}

// members compares objects; a member of got that want lacks is a difference if
// exact is set.
func (c *comparison) members(path string, want, got map[string]any, exact bool) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[k]; ok {
			c.value(c.member(path, k), want[k], g)
		} else {
			c.add(c.member(path, k), want[k], nothing{})
		}
	}
	if !exact {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			c.add(c.member(path, k), nothing{}, got[k])
		}
	}
}

// unordered pairs expected and actual elements so that as many as possible
// match (augmenting paths: with wildcards, taking the first that fits can
// leave a later one without a partner), then reports those left over.
func (c *comparison) unordered(path string, want, got any) {
	w, ok := want.([]any)
	g, isArray := got.([]any)
	if !ok || !isArray {
		c.add(path, map[string]any{unorderedMark: want}, got)
		return
	}
	partner := make([]int, len(g)) // of got, in want; -1 if none
	for i := range partner {
		partner[i] = -1
	}
	var seen []bool
	var augment func(i int) bool
	augment = func(i int) bool {
		for j := range g {
			if seen[j] || !matches(w[i], g[j]) {
				continue
			}
			seen[j] = true
			if partner[j] < 0 || augment(partner[j]) {
				partner[j] = i
				return true
			}
		}
		return false
	}
	var lonely []int
	for i := range w {
		seen = make([]bool, len(g))
		if i < len(g) && partner[i] < 0 && matches(w[i], g[i]) {
			partner[i] = i
		} else if !augment(i) {
			lonely = append(lonely, i)
		}
	}
	for j, p := range partner {
		switch {
		case p >= 0:
		case len(lonely) > 0:
			// Reported against each other: more often than not they are the
			// same element with one member off.
			c.value(c.index(path, j), w[lonely[0]], g[j])
			lonely = lonely[1:]
		default:
			c.add(c.index(path, j), nothing{}, g[j])
		}
	}
	for _, i := range lonely {
		c.add(path, w[i], nothing{})
	}
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func (c *comparison) member(path, name string) string {
	switch {
	case c.quick:
		return ""
	case plainName.MatchString(name):
		return path + "." + name
	}
	return path + "[" + strconv.Quote(name) + "]"
}

func (c *comparison) index(path string, i int) string {
	if c.quick {
		return ""
	}
	return path + "[" + strconv.Itoa(i) + "]"
}

// equalNumbers compares as numbers: two integers digit by digit, however long,
// two fractions as IEEE doubles, one of each by exact value.
func equalNumbers(a, b json.Number) bool {
	if a == b {
		return true
	}
	if isInteger(a) != isInteger(b) {
		if isInteger(b) {
			a, b = b, a
		}
		f, err := b.Float64()
		if err != nil {
			return false
		}
		i, ok := new(big.Int).SetString(string(a), 10)
		exact := new(big.Rat).SetFloat64(f)
		return ok && exact != nil && exact.IsInt() && exact.Num().Cmp(i) == 0
	}
	if isInteger(a) {
		x, ok := new(big.Int).SetString(string(a), 10)
		y, ok2 := new(big.Int).SetString(string(b), 10)
		return ok && ok2 && x.Cmp(y) == 0
	}
	x, err := a.Float64()
	y, err2 := b.Float64()
	return err == nil && err2 == nil && x == y
}

func isInteger(n json.Number) bool { return !strings.ContainsAny(string(n), ".eE") }

var (
	seqPattern    = regexp.MustCompile(`^[0-9]`)
	uuidPattern   = regexp.MustCompile(`^[0-9a-f]{32}$`)
	revPattern    = regexp.MustCompile(`^("[0-9]+-[0-9a-f]+"|[0-9]+-[0-9a-f]+)$`)
	datePattern   = regexp.MustCompile(`[0-9]{2}:[0-9]{2}:[0-9]{2}`)
	numberPattern = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	boolPattern   = regexp.MustCompile(`^(true|false)$`)
	anyWildcard   = regexp.MustCompile(`<<(any|string|number|bool|seq|uuid|rev|date)>>`)
)

// matchString compares got with an expected string, which may be or hold a
// wildcard.
func matchString(want string, got any) bool {
	s, isString := got.(string)
	switch want {
	case "<<any>>":
		return true
	case "<<string>>":
		return isString
	case "<<number>>":
		_, ok := got.(json.Number)
		return ok
	case "<<bool>>":
		_, ok := got.(bool)
		return ok
	case "<<seq>>":
		if n, ok := got.(json.Number); ok {
			return isInteger(n)
		}
		return isString && seqPattern.MatchString(s)
	case "<<uuid>>":
		return isString && uuidPattern.MatchString(s)
	case "<<rev>>":
		return isString && revPattern.MatchString(s)
	case "<<date>>":
		return isString && datePattern.MatchString(s)
	}
	return isString && matchText(want, s)
}

// matchHeader compares a header's value, of which numbers and booleans are text.
func matchHeader(want, got string) bool {
	switch want {
	case "<<number>>":
		return numberPattern.MatchString(got)
	case "<<bool>>":
		return boolPattern.MatchString(got)
	}
	return matchString(want, got)
}

var patterns sync.Map // of text with wildcards inside to *regexp.Regexp

// matchText compares text in which each wildcard stands for one or more
// characters.
func matchText(want, got string) bool {
	if !strings.Contains(want, "<<") || !anyWildcard.MatchString(want) {
		return want == got
	}
	if p, ok := patterns.Load(want); ok {
		return p.(*regexp.Regexp).MatchString(got)
	}
	var b strings.Builder
	b.WriteString(`(?s)^`)
	at := 0
	for _, loc := range anyWildcard.FindAllStringIndex(want, -1) {
		b.WriteString(regexp.QuoteMeta(want[at:loc[0]]))
		b.WriteString(".+")
		at = loc[1]
	}
	b.WriteString(regexp.QuoteMeta(want[at:]))
	b.WriteString(`$`)
	p := regexp.MustCompile(b.String())
	patterns.Store(want, p)
	return p.MatchString(got)
}
