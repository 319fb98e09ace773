package config

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// place names a key's source for people: "file.ini:12", "--listen",
// "MANGROVE_DATA", "default".
type place string

// places has the place of each key of some sections.
type places map[[2]string]place

// said is what the sources say together.
type said struct {
	raw    sections
	places places
}

func (s *said) set(section, key, value string, from place) {
	s.raw.set(section, key, value)
	s.places[[2]string{section, key}] = from
}

func (s *said) remove(section, key string) {
	s.raw.remove(section, key)
	delete(s.places, [2]string{section, key})
}

// base is what holds where neither the file nor anything after it says
// otherwise: the shown defaults and the profile.
func base(profile string) *said {
	s := &said{sections{}, places{}}
	for section, keys := range shown {
		for _, key := range keys {
			s.set(section, key, defaults[section][key], "default")
		}
	}
	for section, keys := range profiles[profile] {
		for key, value := range keys {
			s.set(section, key, value, place("profile "+profile))
		}
	}
	return s
}

// read merges all sources. The options must be complete.
func (o *Options) read(fileRequired bool) (*said, error) {
	text, err := os.ReadFile(o.File)
	if err != nil && (fileRequired || !errors.Is(err, os.ErrNotExist)) {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	lines := splitLines(string(text))
	profile, err := o.profile(lines)
	if err != nil {
		return nil, err
	}
	s := base(profile)
	var wrong []error
	parse(lines, func(line int, section, key, value string) {
		if value == "" {
			s.remove(section, key)
		} else {
			s.set(section, key, value, o.placeOf(line))
		}
	}, func(line int, what string) {
		wrong = append(wrong, fmt.Errorf("%s: %s", o.placeOf(line), what))
	})
	for i, line := range lines {
		if !utf8.ValidString(line) && significant(line) != "" {
			wrong = append(wrong, fmt.Errorf("%s: the line is not UTF-8 text", o.placeOf(i)))
		}
	}
	if len(wrong) > 0 {
		return nil, &FileError{wrong}
	}
	for _, p := range o.pairs {
		s.set(p.section, p.key, p.value, p.from)
	}
	return s, nil
}

// placeOf names a line of the file by its index.
func (o *Options) placeOf(line int) place {
	return place(o.File + ":" + strconv.Itoa(line+1))
}

// FileError says which lines of a configuration file make no sense. Each error
// begins with the file and the line's number.
type FileError struct{ Lines []error }

func (e *FileError) Error() string {
	texts := make([]string, len(e.Lines))
	for i, line := range e.Lines {
		texts[i] = line.Error()
	}
	return "configuration file: " + strings.Join(texts, "; ")
}

// of is the place of the value that an error is about, "" if it is not known.
func (from places) of(e *ValueError) place {
	if p, ok := from[[2]string{e.Section, e.Key}]; ok {
		return p
	}
	return from[[2]string{older[e.Section], e.Key}]
}
