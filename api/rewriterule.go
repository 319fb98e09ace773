package api

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/design"
	"github.com/mangrove-db/mangrove/document"
)

// A rewriteRule sends requests for paths of one shape on to paths of another. It is one of a design document's list.
type rewriteRule struct {
	method  string // "*": any
	from    []string
	to      []string
	query   []jsonMember
	formats map[string]string // "int" or "bool" by the name of a variable
}

// wildcard stands for the rest of a path, and for any method.
const wildcard = "*"

// rewriteRules reads the rules of a design document. What is no object is left out, as in CouchDB. With secure, no rule
// may lead out of the database.
func rewriteRules(text []byte, secure bool) ([]rewriteRule, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	rules := make([]rewriteRule, 0, len(list))
	for _, item := range list {
		members, err := jsonMembers(item)
		if err != nil {
			continue
		}
		r := rewriteRule{method: wildcard, from: []string{wildcard}}
		if m, ok := jsonString(member(members, "method")); ok {
			r.method = m
		}
		if path, ok := jsonString(member(members, "from")); ok {
			if r.from, err = rulePath(path, secure); err != nil {
				return nil, err
			}
		}
		to, ok := jsonString(member(members, "to"))
		if !ok {
			return nil, errNoRewriteTarget
		}
		if r.to, err = rulePath(to, secure); err != nil {
			return nil, err
		}
		r.query, _ = jsonMembers(member(members, "query")) // anything else adds nothing
		_ = json.Unmarshal(member(members, "formats"), &r.formats)
		rules = append(rules, r)
	}
	return rules, nil
}

// rulePath splits the path of a rule.
func rulePath(path string, secure bool) ([]string, error) {
	parts := slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" })
	ups := 0
	for _, part := range parts {
		if part == ".." {
			ups++
		}
	}
	if secure && ups > 2 {
		return nil, errInsecureRewrite
	}
	return parts, nil
}

// binding is a variable of a rule or a parameter of the query, and its value as JSON.
type binding struct {
	name  string
	value json.RawMessage
}

func lookupBinding(list []binding, name string) (json.RawMessage, bool) {
	for _, b := range list {
		if b.name == name {
			return b.value, true
		}
	}
	return nil, false
}

// rewrite returns where the first rule that fits sends a request to, relative to the design document: a path, escaped,
// and a query. It reports false if none fits. The path's parts are those behind _rewrite.
func rewrite(rules []rewriteRule, method string, path []string, query []design.Pair) (to, params string, ok bool) {
	given := make([]binding, 0, len(query))
	for _, p := range query {
		value := json.RawMessage(document.AppendString(nil, p.Value))
		if keyParam(p.Name) && json.Valid([]byte(p.Value)) {
			value = json.RawMessage(p.Value)
		}
		given = append(given, binding{p.Name, value})
	}
	for i := range rules {
		r := &rules[i]
		if r.method != wildcard && r.method != method {
			continue
		}
		if bound, rest, ok := r.match(path); ok {
			to, params = r.apply(append(bound, given...), rest)
			return to, params, true
		}
	}
	return "", "", false
}

// keyParam tells whether a parameter's value is JSON.
func keyParam(name string) bool {
	switch name {
	case "key", "startkey", "start_key", "endkey", "end_key", "keys":
		return true
	}
	return false
}

// match compares a path with what the rule expects. It returns the variables, the last one first, and what a star at
// the end stands for.
func (r *rewriteRule) match(path []string) (bound []binding, rest []string, ok bool) {
	for i, part := range r.from {
		if part == wildcard && i == len(r.from)-1 {
			return bound, path[min(i, len(path)):], true
		}
		if i >= len(path) {
			return nil, nil, false
		}
		if name, isVar := variable(part); isVar {
			bound = slices.Insert(bound, 0, binding{name, document.AppendString(nil, path[i])})
		} else if part != path[i] {
			return nil, nil, false
		}
	}
	return bound, nil, len(path) == len(r.from)
}

// variable returns the name of a variable: what follows a colon, or the star.
func variable(part string) (string, bool) {
	if part == wildcard {
		return part, true
	}
	return strings.CutPrefix(part, ":")
}

// apply builds the new path and query.
func (r *rewriteRule) apply(given []binding, rest []string) (path, query string) {
	// The rule's own parameters take the place of others, and follow them, the last one first.
	own := make([]binding, 0, len(r.query))
	for _, m := range r.query {
		own = slices.Insert(own, 0, binding{m.name, r.fill(m.value, given)})
	}
	all := make([]binding, 0, len(given)+len(own))
	for _, b := range given {
		if _, taken := lookupBinding(own, b.name); !taken {
			all = append(all, b)
		}
	}
	all = append(all, own...)

	var parts []string
	for _, part := range r.to {
		if part == wildcard {
			parts = append(parts, rest...)
			break
		}
		if name, isVar := variable(part); isVar {
			part = "undefined"
			if value, ok := lookupBinding(all, name); ok {
				part = plainText(value)
			}
		}
		parts = append(parts, part)
	}
	for i, part := range parts {
		parts[i] = url.QueryEscape(part)
	}
	var params []string
	for _, b := range slices.Backward(all) {
		if b.name == wildcard {
			continue
		}
		value := string(b.value)
		if !keyParam(b.name) {
			value = plainText(b.value)
		}
		params = append(params, url.QueryEscape(b.name)+"="+url.QueryEscape(value))
	}
	return strings.Join(parts, "/"), strings.Join(params, "&")
}

// fill puts the values of variables in their places: in a string that is one, and in an array of such strings.
func (r *rewriteRule) fill(value json.RawMessage, given []binding) json.RawMessage {
	switch document.TypeName(value) {
	case "string":
		text, _ := jsonString(value)
		name, isVar := variable(text)
		if !isVar {
			return value
		}
		if found, ok := lookupBinding(given, name); ok {
			value = found
		}
		return r.format(name, value)
	case "array":
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			return value
		}
		b := []byte{'['}
		for i, item := range list {
			if i > 0 {
				b = append(b, ',')
			}
			if document.TypeName(item) == "string" {
				if text, _ := jsonString(item); text != wildcard {
					item = r.fill(item, given)
				}
			}
			b = append(b, item...)
		}
		return append(b, ']')
	}
	return value
}

// format turns the value of a variable into a number or a boolean if the rule says so and it reads like one.
func (r *rewriteRule) format(name string, value json.RawMessage) json.RawMessage {
	text, ok := jsonString(value)
	if !ok {
		return value
	}
	switch r.formats[name] {
	case "int":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.AppendInt(nil, n, 10)
		}
	case "bool":
		if lower := strings.ToLower(text); lower == "true" || lower == "false" {
			return json.RawMessage(lower)
		}
	}
	return value
}

// resolvePath returns where a relative path leads from below a design document. There is nothing above the root.
func resolvePath(base, path string) string {
	var parts []string
	for part := range strings.SplitSeq(base+"/"+path, "/") {
		switch {
		case part == "", part == ".":
		case part != "..":
			parts = append(parts, part)
		case len(parts) > 0:
			parts = parts[:len(parts)-1]
		}
	}
	return "/" + strings.Join(parts, "/")
}
