package config

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ValueError says that a value makes no sense where it stands.
type ValueError struct {
	Section, Key string
	Value        string // masked if it is a secret
	Err          error  // what the value must be
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("[%s] %s = %s: %v", e.Section, e.Key, e.Value, e.Err)
}

func (e *ValueError) Unwrap() error { return e.Err }

// reader turns raw values into settings and collects what is wrong with them.
type reader struct {
	raw    sections
	errors []*ValueError
	asked  map[[2]string]bool // if not nil, takes every section and key that is asked for
}

// said is the raw value of a key, in its own section or in the older one, and
// whether there is any.
func (r *reader) said(section, key string) (string, bool) {
	if r.asked != nil {
		r.asked[[2]string{section, key}] = true
	}
	if value, ok := r.raw.get(section, key); ok {
		return value, true
	}
	if old := older[section]; old != "" && !newOnly[key] {
		return r.raw.get(old, key)
	}
	return "", false
}

// value is what is said of a key, or its default where nothing is, or only an
// empty text.
func (r *reader) value(section, key string) string {
	if value, _ := r.said(section, key); value != "" {
		return value
	}
	return standard(section, key)
}

// standard is a key's default. Sections of one kind share theirs.
func standard(section, key string) string {
	if strings.HasPrefix(section, corsHost) {
		section = "cors"
	}
	return defaults[section][key]
}

func (r *reader) wrong(section, key, value string, err error) {
	if Secret(section, key) {
		value = Mask
	}
	r.errors = append(r.errors, &ValueError{Section: section, Key: key, Value: value, Err: err})
}

// parsed is a key's value by parse, or its default's.
func parsed[T any](r *reader, section, key string, parse func(string) (T, error)) T {
	value := r.value(section, key)
	v, err := parse(value)
	if err != nil {
		r.wrong(section, key, value, err)
		v, _ = parse(standard(section, key))
	}
	return v
}

// optional is a text that may be missing: then it is "".
func (r *reader) optional(section, key string) string { return r.value(section, key) }

// list is what stands between the commas. A list that was emptied is empty; it
// does not have its default.
func (r *reader) list(section, key string) []string {
	value, ok := r.said(section, key)
	if !ok {
		value = standard(section, key)
	}
	return splitList(value)
}

// splitList cuts at commas; blanks around and empty parts do not count.
func splitList(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// number is a whole number between two bounds; where the greatest is Infinity,
// "infinity" is one too.
func (r *reader) number(section, key string, least, most int64) int64 {
	return parsed(r, section, key, func(s string) (int64, error) {
		if s == "infinity" && most == Infinity {
			return Infinity, nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("must be a number")
		}
		if n < least || n > most {
			return 0, fmt.Errorf("must lie between %d and %d", least, most)
		}
		return n, nil
	})
}

func (r *reader) boolean(section, key string) bool {
	return r.choice(section, key, "true", "false") == "true"
}

func (r *reader) choice(section, key string, choices ...string) string {
	return parsed(r, section, key, func(s string) (string, error) {
		if !slices.Contains(choices, s) {
			return "", fmt.Errorf("must be one of %s", strings.Join(choices, ", "))
		}
		return s, nil
	})
}

// parseLevel reads a log level by Go's and by CouchDB's names.
func parseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "info", "notice":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "err", "critical", "crit", "alert", "emergency", "emerg":
		return slog.LevelError, nil
	case "none":
		return slog.Level(math.MaxInt32), nil
	}
	return 0, fmt.Errorf("must be one of debug, info, warn, error, none")
}

// parseSize reads a number of bytes: "268435456", "256MiB", "256 MB", "1g".
// All units are powers of 1024.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKmMgGiIbB ")
	shift := 0
	switch strings.ToLower(strings.TrimSpace(s[len(digits):])) {
	case "", "b":
	case "k", "kb", "kib":
		shift = 10
	case "m", "mb", "mib":
		shift = 20
	case "g", "gb", "gib":
		shift = 30
	default:
		return 0, fmt.Errorf("must be a size such as 256MiB")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > Infinity>>shift {
		return 0, fmt.Errorf("must be a size such as 256MiB")
	}
	return n << shift, nil
}
