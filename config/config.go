// Package config holds what a node was told: CouchDB's INI sections and keys,
// from several sources, and the settings they amount to.
//
// A source overrules the ones before it:
//
//	the defaults < the profile < the file < the environment < the command line
//
// Unknown sections and keys are kept and can be read and written, because the
// API serves them. A Snapshot never changes; a Config holds the one in force
// and replaces it when a value is set, so a reader takes one Snapshot per
// request and sees a consistent state without locking.
package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// sections maps section to key to value.
type sections map[string]map[string]string

func (s sections) get(section, key string) (string, bool) {
	v, ok := s[section][key]
	return v, ok
}

func (s sections) set(section, key, value string) {
	if s[section] == nil {
		s[section] = map[string]string{}
	}
	s[section][key] = value
}

func (s sections) remove(section, key string) {
	delete(s[section], key)
	if len(s[section]) == 0 {
		delete(s, section)
	}
}

func (s sections) clone() sections {
	c := make(sections, len(s))
	for name, keys := range s {
		c[name] = maps.Clone(keys)
	}
	return c
}

// Snapshot is the configuration at one moment. It is immutable: callers must
// not change what its fields refer to.
type Snapshot struct {
	Settings
	// Doubts are the values that defaults stand in for.
	Doubts []Doubt
	raw    sections
}

// Doubt returns what is wrong with a key's value, nil if nothing is.
func (s *Snapshot) Doubt(section, key string) error {
	for _, d := range s.Doubts {
		if d.Key == key && (d.Section == section || older[d.Section] == section) {
			return d
		}
	}
	return nil
}

// Get is the raw value of a key and whether there is one.
func (s *Snapshot) Get(section, key string) (string, bool) {
	return s.raw.get(section, key)
}

// Section is a copy of a section's keys and values, empty if there is none.
func (s *Snapshot) Section(name string) map[string]string {
	if keys := maps.Clone(s.raw[name]); keys != nil {
		return keys
	}
	return map[string]string{}
}

// Sections are the names of all sections, sorted.
func (s *Snapshot) Sections() []string {
	return slices.Sorted(maps.Keys(s.raw))
}

// Config is the configuration in force. It is safe for concurrent use. What is
// in force always makes sense: a file, or a value, that does not is refused, but
// for values whose defaults can stand in for them: see Doubt.
type Config struct {
	// Constant.
	path    string // of the file that is written to
	options Options

	mu      sync.Mutex // held while current is replaced or the file written
	current atomic.Pointer[Snapshot]
}

// Load reads all sources. Lines of the file that say nothing and values that
// the node would have to act by, cannot make sense of and must not do without
// are errors, which name their places; so is a file named by the options that
// is missing.
func Load(o Options) (*Config, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	c := &Config{path: o.File, options: o}
	read, err := o.read(o.fileRequired)
	if err != nil {
		return nil, err
	}
	if err := c.publish(read.raw, read.places); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// Snapshot is the configuration now.
func (c *Config) Snapshot() *Snapshot { return c.current.Load() }

// Path is the file that values are written to. It need not exist yet.
func (c *Config) Path() string { return c.path }

// Set gives a key a new value and returns the old one ("" if it had none). If
// persist is set the value goes to the file first, and nothing changes if that
// fails. Blanks around the value are cut. An empty value of a setting stands
// for its default.
//
// The error is ErrInvalidSection, ErrInvalidKey, ErrInvalidValue, a ValueError
// if a setting would make no sense that must, or one of the file system.
func (c *Config) Set(section, key, value string, persist bool) (old string, err error) {
	value = strings.TrimSpace(value)
	if err := validate(section, key, value); err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	raw := c.Snapshot().raw.clone()
	old, _ = raw.get(section, key)
	raw.set(section, key, value)
	return old, c.replace(raw, persist, section, key, value)
}

// Delete takes a key away, so that its default is in force, and returns the
// value it had; found is false if it had none. If persist is set the file is
// written first. The errors are those of Set.
func (c *Config) Delete(section, key string, persist bool) (old string, found bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw := c.Snapshot().raw.clone()
	old, found = raw.get(section, key)
	if !found {
		return "", false, nil
	}
	raw.remove(section, key)
	if err := c.replace(raw, persist, section, key, ""); err != nil {
		return "", false, err
	}
	return old, true, nil
}

// replace puts raw in force, which differs from what was in one key. The file
// is written first, and what makes no sense is not written.
func (c *Config) replace(raw sections, persist bool, section, key, value string) error {
	settings, errs := read(raw)
	refused, doubts := c.options.sortOut(errs, nil)
	if len(refused) > 0 {
		return refused[0]
	}
	if persist {
		if err := c.write(section, key, value); err != nil {
			return err
		}
	}
	c.current.Store(&Snapshot{Settings: settings, Doubts: doubts, raw: raw})
	return nil
}

// Reload reads the file again. Values set without being written are forgotten.
// Where Load would fail so does Reload, and what was in force stays.
func (c *Config) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	read, err := c.options.read(false)
	if err != nil {
		return err
	}
	return c.publish(read.raw, read.places)
}

// publish puts raw in force if all of it makes sense that must.
func (c *Config) publish(raw sections, from places) error {
	settings, errs := read(raw)
	refused, doubts := c.options.sortOut(errs, from)
	if len(refused) > 0 {
		return errors.Join(refused...)
	}
	c.current.Store(&Snapshot{Settings: settings, Doubts: doubts, raw: raw})
	return nil
}

// write changes one key in the file. An empty value is written where it has an
// earlier value to take back, and else removes the line.
func (c *Config) write(section, key, value string) error {
	text, err := os.ReadFile(c.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("configuration file: %w", err)
	}
	profile, err := c.options.profile(splitLines(string(text)))
	if err != nil {
		return err
	}
	_, earlier := base(profile).raw.get(section, key)
	changed := edit(string(text), section, key, value, value != "" || earlier)
	if changed == string(text) {
		return nil
	}
	if err := replaceFile(c.path, changed); err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	return nil
}
