package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The dialect is the one CouchDB reads, which no general INI reader matches:
//
//   - "[section]" on a line of its own; whatever stands before the first
//     section is ignored, and so is a line that is no pair;
//   - a pair is split at the first " = ", or else at the first "=", so that a
//     key may hold "=" and ":" (hmac:_default, http://example.com);
//   - a ";" that starts a line or follows a blank begins a comment;
//   - values are taken as they stand: no quotes, no interpolation, no
//     continuation lines; names keep their case;
//   - an empty value takes back what an earlier source had set.
//
// Two things are added. A line that starts with "#" is a comment too (CouchDB
// makes it a key that starts with "#", and of "#admin = secret" an account).
// A line that is none of these is no comment that someone forgot to mark but
// most likely a setting that is not what its writer takes it for: CouchDB skips
// it in silence, here the file is refused (see Load).
// And a backslash before a semicolon that would begin a comment makes it text,
// so that every value that can be set can also be written and read again.

// Names and values that a file could not hold. The texts are CouchDB's.
//
//lint:file-ignore ST1005 these error texts are part of the API
var (
	ErrInvalidSection = errors.New("Invalid configuration section")
	ErrInvalidKey     = errors.New("Invalid configuration key")
	ErrInvalidValue   = errors.New("Invalid configuration value")
)

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x1a", "\n")

// splitLines cuts text where CouchDB does: at CR LF, LF, CR and Ctrl-Z.
func splitLines(text string) []string {
	return strings.Split(lineEnds.Replace(strings.TrimLeft(text, "\ufeff")), "\n")
}

// parse calls visit for each pair of the lines, in order, with the index of
// its line. An empty value is a deletion. Lines that say nothing are skipped,
// as CouchDB does; for each of them wrong, if not nil, is told what it lacks.
func parse(lines []string, visit func(line int, section, key, value string), wrong func(line int, what string)) {
	if wrong == nil {
		wrong = func(int, string) {}
	}
	section := ""
	for i, line := range lines {
		line = significant(line)
		if line == "" {
			continue
		}
		if strings.HasPrefix(line, "[") {
			if name, ok := sectionName(line); ok {
				section = name
			} else {
				wrong(i, "a section's name must stand between brackets, alone on its line: [section]")
			}
			continue
		}
		key, value, ok := splitPair(line)
		switch {
		case !ok:
			wrong(i, "neither a [section], nor key = value, nor a comment (; or # comment)")
		case section == "":
			wrong(i, "the key "+strconv.Quote(key)+" stands before the first [section]")
		default:
			visit(i, section, key, value)
		}
	}
}

// significant is line without its comment and the blanks around it.
func significant(line string) string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, ";") || strings.HasPrefix(line, "#") {
		return ""
	}
	if i := commentAt(line); i >= 0 {
		line = strings.TrimSpace(line[:i])
	}
	return line
}

// commentAt is the index of the blank before the first semicolon that begins
// a comment, or -1.
func commentAt(s string) int {
	for i := 1; i < len(s); i++ {
		if s[i] == ';' && (s[i-1] == ' ' || s[i-1] == '\t') {
			return i - 1
		}
	}
	return -1
}

// sectionName reads a "[name]" line.
func sectionName(line string) (string, bool) {
	if !strings.HasPrefix(line, "[") {
		return "", false
	}
	name, rest, found := strings.Cut(line[1:], "]")
	return name, found && name != "" && rest == ""
}

// splitPair cuts a significant line into its key and its value.
func splitPair(line string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(line, " = ")
	if !ok {
		key, value, ok = strings.Cut(line, "=")
	}
	key = strings.TrimSpace(key)
	return key, unescape(strings.TrimSpace(value)), ok && key != ""
}

// escape puts a backslash before each semicolon that would begin a comment,
// and one more where such backslashes stand already.
func escape(value string) string {
	return rewriteSemicolons(value, func(slashes int) int { return slashes + 1 })
}

// unescape undoes escape.
func unescape(value string) string {
	return rewriteSemicolons(value, func(slashes int) int { return max(slashes-1, 0) })
}

// rewriteSemicolons changes the number of backslashes between a blank (or the
// start) and a semicolon.
func rewriteSemicolons(s string, count func(slashes int) int) string {
	if !strings.Contains(s, ";") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if i > 0 && s[i-1] != ' ' && s[i-1] != '\t' {
			b.WriteByte(s[i])
			i++
			continue
		}
		slashes := 0
		for i+slashes < len(s) && s[i+slashes] == '\\' {
			slashes++
		}
		end := i + slashes
		if end < len(s) && s[end] == ';' {
			b.WriteString(strings.Repeat(`\`, count(slashes)))
			b.WriteByte(';')
			end++
		} else {
			end = min(end+1, len(s))
			b.WriteString(s[i:end])
		}
		i = end
	}
	return b.String()
}

// validate reports whether a file can hold the pair.
func validate(section, key, value string) error {
	switch {
	case section == "" || !plain(section) || strings.ContainsAny(section, "[]") || commentAt(section) >= 0:
		return ErrInvalidSection
	case key == "" || !plain(key) || strings.ContainsAny(key, "[]") || commentAt(key) >= 0,
		strings.TrimSpace(key) != key, key[0] == ';', key[0] == '#',
		strings.Index(key+" = ", " = ") != len(key):
		return ErrInvalidKey
	case !plain(value):
		return ErrInvalidValue
	}
	return nil
}

// plain reports whether s is text of one line.
func plain(s string) bool {
	for i, r := range s {
		if unicode.IsControl(r) && r != '\t' {
			return false
		}
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd") {
			return false
		}
	}
	return true
}

// edit returns text with key of section set to value, or, if keep is false,
// without it. All other lines stay as they are. Where the key stands more than
// once the last place, the one that counts, is changed and the others go, so
// that no older value (it may be a password in clear) stays behind.
func edit(text, section, key, value string, keep bool) string {
	newline := "\n"
	if strings.Contains(text, "\r\n") {
		newline = "\r\n"
	}
	lines := splitLines(text)
	var places []int
	parse(lines, func(line int, s, k, _ string) {
		if s == section && k == key {
			places = append(places, line)
		}
	}, nil)
	pair := strings.TrimRight(key+" = "+escape(value), " ")
	if n := len(places); n > 0 {
		if keep {
			lines[places[n-1]] = pair
			places = places[:n-1]
		}
		for _, i := range slices.Backward(places) {
			lines = slices.Delete(lines, i, i+1)
		}
	} else if keep {
		lines = insertPair(lines, section, pair)
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, newline) + newline
}

// insertPair adds the line at the end of the last block of its section, or of
// the file with a new section.
func insertPair(lines []string, section, pair string) []string {
	at, current := -1, ""
	for i, line := range lines {
		line = significant(line)
		if name, ok := sectionName(line); ok {
			current = name
		}
		if current == section && strings.TrimSpace(lines[i]) != "" {
			at = i + 1
		}
	}
	if at >= 0 {
		return slices.Insert(lines, at, pair)
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) > 0 {
		lines = append(lines, "")
	}
	return append(lines, "["+section+"]", pair)
}
