package mango

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/collate"
	"pgregory.net/rapid"
)

// reference is the matcher written the plain way: it decodes document and
// normal form whole and walks the one along the other. Objects come from
// encoding/json and so have their members sorted, as those drawn below do.
type reference struct{}

// missing is what is at a path that leads nowhere.
type missing struct{ bad bool }

func (r reference) match(selector, value any, raw bool) verdict {
	var op string
	var arg any
	for op, arg = range selector.(map[string]any) {
	}
	switch op {
	case "$and":
		for _, kid := range arg.([]any) {
			if v := r.match(kid, value, raw); v != yes {
				return v
			}
		}
		return yes
	case "$or":
		for _, kid := range arg.([]any) {
			if v := r.match(kid, value, raw); v != no {
				return v
			}
		}
		return verdictOf(len(arg.([]any)) == 0)
	case "$nor":
		return broken
	case "$not":
		switch r.match(arg, value, raw) {
		case yes:
			return no
		case no:
			return yes
		}
		return broken
	case "$elemMatch", "$keyMapMatch":
		var candidates []any
		if list, ok := value.([]any); ok && op == "$elemMatch" {
			candidates = list
		} else if object, ok := value.(map[string]any); ok && op == "$keyMapMatch" {
			for _, name := range slices.Sorted(maps.Keys(object)) {
				candidates = append(candidates, name)
			}
		}
		for _, candidate := range candidates {
			if v := r.match(arg, candidate, raw); v != no {
				return verdictOf(v == yes)
			}
		}
		return no
	case "$allMatch":
		list, _ := value.([]any)
		for _, element := range list {
			if r.match(arg, element, raw) != yes {
				return no
			}
		}
		return verdictOf(len(list) > 0)
	case "$mod":
		number, ok := value.(json.Number)
		if !ok || strings.ContainsAny(number.String(), ".eE") {
			return no
		}
		v, _ := new(big.Int).SetString(number.String(), 10)
		divisor, _ := new(big.Int).SetString(arg.([]any)[0].(json.Number).String(), 10)
		if divisor.Sign() == 0 {
			return broken
		}
		return verdictOf(v.Rem(v, divisor).String() == arg.([]any)[1].(json.Number).String())
	}
	if !strings.HasPrefix(op, "$") {
		found := r.find(value, op)
		if m, ok := found.(missing); ok {
			exists, ok := arg.(map[string]any)["$exists"]
			return verdictOf(ok && exists == false && !m.bad)
		}
		return r.match(arg, found, raw || op == "_id")
	}
	return verdictOf(r.test(op, arg, value, raw))
}

func (r reference) find(value any, path string) any {
	if path == "" {
		return value
	}
	for part := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			inner, ok := v[part]
			if !ok {
				return missing{}
			}
			value = inner
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return missing{bad: true}
			}
			value = v[i]
		default:
			return missing{bad: true}
		}
	}
	return value
}

func (r reference) test(op string, arg, value any, raw bool) bool {
	compare := func(a, b any) int {
		if raw {
			return collate.CompareRaw(encode(a), encode(b))
		}
		return collate.Compare(encode(a), encode(b))
	}
	text, isText := value.(string)
	list, isList := value.([]any)
	switch op {
	case "$lt":
		return compare(value, arg) < 0
	case "$lte":
		return compare(value, arg) <= 0
	case "$eq":
		return compare(value, arg) == 0
	case "$ne":
		return compare(value, arg) != 0
	case "$gte":
		return compare(value, arg) >= 0
	case "$gt":
		return compare(value, arg) > 0
	case "$in", "$nin":
		if !isList {
			list = []any{value}
		}
		in := slices.ContainsFunc(list, func(v any) bool {
			return slices.ContainsFunc(arg.([]any), func(a any) bool { return compare(v, a) == 0 })
		})
		return in == (op == "$in")
	case "$exists":
		return arg.(bool)
	case "$type":
		names := map[kind]string{}
		for name, k := range kindNames {
			names[k] = name
		}
		return names[kindOf(encode(value))] == arg
	case "$regex":
		return isText && regexp.MustCompile(arg.(string)).MatchString(text)
	case "$beginsWith":
		return isText && strings.HasPrefix(text, arg.(string))
	case "$size":
		return isList && strconv.Itoa(len(list)) == arg.(json.Number).String()
	case "$all":
		if !isList || len(arg.([]any)) == 0 {
			return false
		}
		if a, ok := arg.([]any)[0].([]any); ok && len(arg.([]any)) == 1 &&
			collate.CompareRaw(encode(a), encode(value)) == 0 {
			return true
		}
		for _, a := range arg.([]any) {
			if !slices.ContainsFunc(list, func(v any) bool { return bytes.Equal(encode(a), encode(v)) }) {
				return false
			}
		}
		return true
	}
	panic(op)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func decode(t *rapid.T, text []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// names and words are few, so that selectors find something.
var (
	names = rapid.SampledFrom([]string{"a", "a", "b", "b", "0", "é", `q"\`})
	paths = rapid.SampledFrom([]string{"a", "a", "b", "b", "a.b", "a.0", "b.0.a", "a.b.a", "é", "0", "_id", "_attachments.a"})
	words = rapid.SampledFrom([]string{"", "a", "b", "ab", "A", "é", "e\u0301", "a\nb", `"`})
)

func drawValue(t *rapid.T, depth int) any {
	kinds := 5
	if depth > 0 {
		kinds = 8
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "boolean")
	case 2:
		return json.Number(rapid.SampledFrom([]string{"0", "1", "1.0", "2", "-3", "2.5", "12345678901234567890"}).Draw(t, "number"))
	case 3, 4, 5:
		return words.Draw(t, "word")
	case 6:
		list := []any{}
		objects := rapid.Bool().Draw(t, "objects")
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			if objects {
				list = append(list, drawObject(t, depth-1))
			} else {
				list = append(list, drawValue(t, depth-1))
			}
		}
		return list
	default:
		return drawObject(t, depth-1)
	}
}

func drawObject(t *rapid.T, depth int) map[string]any {
	object := map[string]any{}
	for range rapid.IntRange(0, 5).Draw(t, "members") {
		object[names.Draw(t, "name")] = drawValue(t, depth)
	}
	return object
}

// drawCondition draws what may stand under a field name.
func drawCondition(t *rapid.T, depth int) any {
	list := func() []any {
		values := []any{}
		for range rapid.IntRange(0, 10).Draw(t, "values") {
			values = append(values, drawValue(t, 1))
		}
		return values
	}
	op := rapid.SampledFrom([]string{
		"", "$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$nin", "$all", "$exists", "$type", "$size",
		"$mod", "$regex", "$beginsWith", "$not", "$elemMatch", "$allMatch", "$keyMapMatch", "$or", "$nor",
	}).Draw(t, "operator")
	var arg any
	switch op {
	case "":
		return drawValue(t, 1)
	case "$in", "$nin", "$all":
		arg = list()
	case "$exists":
		arg = rapid.Bool().Draw(t, "exists")
	case "$type":
		arg = rapid.SampledFrom([]string{"null", "boolean", "number", "string", "array", "object", "x"}).Draw(t, "type")
	case "$size":
		arg = rapid.IntRange(0, 3).Draw(t, "size")
	case "$mod":
		arg = []any{rapid.IntRange(-2, 3).Draw(t, "divisor"), rapid.IntRange(-1, 2).Draw(t, "rest")}
	case "$regex":
		arg = rapid.SampledFrom([]string{"a", "^a", "b\\z", "^[ab]+", "(?i)a", "x|b", "a.b", "(?s)a.b"}).Draw(t, "pattern")
	case "$beginsWith":
		arg = words.Draw(t, "prefix")
	case "$not", "$elemMatch", "$allMatch", "$keyMapMatch":
		if depth == 0 {
			return drawValue(t, 1)
		}
		if rapid.Bool().Draw(t, "fields") && op != "$not" {
			arg = drawSelector(t, depth-1)
		} else {
			arg = map[string]any{"$and": []any{drawCondition(t, depth-1)}}
		}
	case "$or", "$nor":
		conditions := []any{}
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			conditions = append(conditions, drawCondition(t, max(depth-1, 0)))
		}
		arg = conditions
	default:
		arg = drawValue(t, 1)
	}
	return map[string]any{op: arg}
}

func drawSelector(t *rapid.T, depth int) map[string]any {
	selector := map[string]any{}
	for range rapid.IntRange(1, 3).Draw(t, "fields") {
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "combine") == 0 {
			op := rapid.SampledFrom([]string{"$and", "$or", "$nor", "$not"}).Draw(t, "combination")
			if op == "$not" {
				selector[op] = drawSelector(t, depth-1)
				continue
			}
			parts := []any{}
			for range rapid.IntRange(0, 3).Draw(t, "parts") {
				parts = append(parts, drawSelector(t, depth-1))
			}
			selector[op] = parts
			continue
		}
		selector[paths.Draw(t, "path")] = drawCondition(t, depth)
	}
	return selector
}

// drawRows draws what $elemMatch and $allMatch are for: an array of objects,
// small enough that conditions on them often hold.
func drawRows(t *rapid.T) []any {
	rows := []any{}
	for range rapid.IntRange(1, 4).Draw(t, "rows") {
		row := map[string]any{}
		for _, name := range []string{"a", "b"} {
			if rapid.Bool().Draw(t, "present") {
				row[name] = json.Number(strconv.Itoa(rapid.IntRange(0, 1).Draw(t, "cell")))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// drawRowCondition draws a condition on such an array.
func drawRowCondition(t *rapid.T) any {
	fields := map[string]any{}
	for _, name := range []string{"a", "b"} {
		switch rapid.IntRange(0, 3).Draw(t, "cell condition") {
		case 0:
			fields[name] = rapid.IntRange(0, 1).Draw(t, "cell")
		case 1:
			fields[name] = map[string]any{"$exists": rapid.Bool().Draw(t, "exists")}
		case 2:
			fields[name] = drawCondition(t, 1)
		}
	}
	op := rapid.SampledFrom([]string{"$elemMatch", "$allMatch"}).Draw(t, "operator")
	return map[string]any{op: fields}
}

func TestMatchAsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := drawSelector(t, 3)
		if rapid.Bool().Draw(t, "rows") {
			drawn = map[string]any{"b": drawRowCondition(t)}
			if rapid.Bool().Draw(t, "cells") {
				drawn[rapid.SampledFrom([]string{"b.0.a", "b.1.b", "b.0.a.b"}).Draw(t, "path")] = map[string]any{"$exists": false}
			}
		}
		text := encode(drawn)
		selector, err := Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		normal := decode(t, selector.Normal())
		for range 8 {
			object := drawObject(t, 3)
			if rapid.Bool().Draw(t, "rows") {
				object["b"] = drawRows(t)
			}
			doc := Doc{ID: words.Draw(t, "id"), Rev: "1-x", Body: encode(object)}
			if rapid.Bool().Draw(t, "attachments") {
				doc.Attachments = encode(drawObject(t, 1))
				object["_attachments"] = decode(t, doc.Attachments)
			}
			object["_id"], object["_rev"] = doc.ID, doc.Rev
			want := reference{}.match(normal, decode(t, encode(object)), false) == yes
			if got := selector.Match(doc); got != want {
				t.Fatalf("%s of %s: %v, want %v", selector.Normal(), encode(object), got, want)
			}
		}
	})
}
