// Package config holds what a node was told: CouchDB's INI sections and keys,
// from several sources, and the settings they amount to.
//
// A source overrules the ones before it:
//
//	the defaults < the file < the environment < the command line
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
	raw sections
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

// Config is the configuration in force. It is safe for concurrent use.
type Config struct {
	// Constant.
	path    string   // of the file that is written to
	options sections // what environment and command line said

	mu      sync.Mutex // held while current is replaced or the file written
	current atomic.Pointer[Snapshot]
}

// Load reads all sources. Values that the node would have to act by and cannot
// make sense of are errors; so is a file named by the options that is missing.
func Load(o Options) (*Config, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	c := &Config{path: o.File, options: o.pairs}
	raw, err := c.sources(o.fileRequired)
	if err != nil {
		return nil, err
	}
	if errs := c.publish(raw); len(errs) > 0 {
		return nil, fmt.Errorf("configuration: %w", errors.Join(errs...))
	}
	return c, nil
}

// Snapshot is the configuration now.
func (c *Config) Snapshot() *Snapshot { return c.current.Load() }

// Path is the file that values are written to. It need not exist yet.
func (c *Config) Path() string { return c.path }

// Set gives a key a new value and returns the old one ("" if it had none). If
// persist is set the value goes to the file first, and nothing changes if that
// fails. Blanks around the value are cut. A setting that makes no sense is
// kept, as CouchDB does, and its default is in force.
//
// The error is ErrInvalidSection, ErrInvalidKey, ErrInvalidValue or one of the
// file system.
func (c *Config) Set(section, key, value string, persist bool) (old string, err error) {
	value = strings.TrimSpace(value)
	if err := validate(section, key, value); err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if persist {
		if err := c.write(section, key, value); err != nil {
			return "", err
		}
	}
	raw := c.Snapshot().raw.clone()
	old, _ = raw.get(section, key)
	raw.set(section, key, value)
	c.publish(raw)
	return old, nil
}

// Delete takes a key away, its default with it, and returns the value it had;
// found is false if it had none. If persist is set the file is written first.
func (c *Config) Delete(section, key string, persist bool) (old string, found bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw := c.Snapshot().raw.clone()
	old, found = raw.get(section, key)
	if !found {
		return "", false, nil
	}
	if persist {
		if err := c.write(section, key, ""); err != nil {
			return "", false, err
		}
	}
	raw.remove(section, key)
	c.publish(raw)
	return old, true, nil
}

// Reload reads the file again. Values set without being written are forgotten.
func (c *Config) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw, err := c.sources(false)
	if err != nil {
		return err
	}
	c.publish(raw)
	return nil
}

// publish puts raw in force and says what of it makes no sense.
func (c *Config) publish(raw sections) []error {
	settings, errs := read(raw)
	c.current.Store(&Snapshot{Settings: settings, raw: raw})
	return errs
}

// sources merges defaults, file and options.
func (c *Config) sources(fileRequired bool) (sections, error) {
	raw := sections(defaults).clone()
	text, err := os.ReadFile(c.path)
	if err != nil && (fileRequired || !errors.Is(err, os.ErrNotExist)) {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	parse(splitLines(string(text)), func(_ int, section, key, value string) {
		if value == "" {
			raw.remove(section, key)
		} else {
			raw.set(section, key, value)
		}
	})
	for section, keys := range c.options {
		for key, value := range keys {
			raw.set(section, key, value)
		}
	}
	return raw, nil
}

// write changes one key in the file. An empty value is written where it has a
// default to take back, and else removes the line.
func (c *Config) write(section, key, value string) error {
	text, err := os.ReadFile(c.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("configuration file: %w", err)
	}
	_, hasDefault := sections(defaults).get(section, key)
	changed := edit(string(text), section, key, value, value != "" || hasDefault)
	if changed == string(text) {
		return nil
	}
	if err := replaceFile(c.path, changed); err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	return nil
}
