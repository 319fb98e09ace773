package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Options are what the command line says and how to ask the environment. An
// empty field says nothing; then the variable named beside it is asked.
type Options struct {
	File      string // MANGROVE_CONFIG; else mangrove.ini in the data directory
	Data      string // MANGROVE_DATA: [couchdb] database_dir
	Listen    string // MANGROVE_LISTEN: "host:port", ":port", "port" or "host"
	Memory    string // MANGROVE_MEMORY: [mangrove] memory
	LogLevel  string // MANGROVE_LOG_LEVEL: [log] level
	LogFormat string // MANGROVE_LOG_FORMAT: [log] format
	Profile   string // MANGROVE_PROFILE: [mangrove] profile, one of Profiles

	// Getenv looks up a variable; nil for os.Getenv.
	Getenv func(string) string

	fileRequired bool   // the file was named, so it must exist
	pairs        []pair // what the fields say as keys and values
}

// pair is a key and its value, and who says so.
type pair struct {
	section, key, value string
	from                place
}

// complete asks the environment where the command line was silent and turns
// the answers into sections.
func (o *Options) complete() error {
	getenv := o.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	o.pairs = nil
	listen := place("--listen")
	for _, f := range []struct {
		field        *string
		flag, env    string
		section, key string
	}{
		{&o.File, "--config", "MANGROVE_CONFIG", "", ""},
		{&o.Listen, "--listen", "MANGROVE_LISTEN", "", ""},
		{&o.Profile, "--profile", "MANGROVE_PROFILE", "mangrove", "profile"},
		{&o.Data, "--data", "MANGROVE_DATA", "couchdb", "database_dir"},
		{&o.Memory, "--memory", "MANGROVE_MEMORY", "mangrove", "memory"},
		{&o.LogLevel, "--log-level", "MANGROVE_LOG_LEVEL", "log", "level"},
		{&o.LogFormat, "--log-format", "MANGROVE_LOG_FORMAT", "log", "format"},
	} {
		from := place(f.flag)
		if *f.field == "" {
			*f.field, from = getenv(f.env), place(f.env)
		}
		if f.field == &o.Listen {
			listen = from
		}
		if *f.field != "" && f.section != "" {
			o.pairs = append(o.pairs, pair{f.section, f.key, *f.field, from})
		}
	}
	if o.Listen != "" {
		host, port, err := splitListen(o.Listen)
		if err != nil {
			return err
		}
		if host != nil {
			o.pairs = append(o.pairs, pair{"chttpd", "bind_address", *host, listen})
		}
		if port != "" {
			o.pairs = append(o.pairs, pair{"chttpd", "port", port, listen})
		}
	}
	o.fileRequired = o.File != ""
	if !o.fileRequired {
		data := o.Data
		if data == "" {
			data = defaults["couchdb"]["database_dir"]
		}
		o.File = filepath.Join(data, "mangrove.ini")
	}
	return nil
}

// splitListen takes an address apart. A nil host or an empty port was not
// given; "any" is every address, as in CouchDB's bind_address.
func splitListen(s string) (host *string, port string, err error) {
	if _, err := strconv.Atoi(s); err == nil {
		return nil, s, nil
	}
	h, port, err := net.SplitHostPort(s)
	if err != nil {
		// A host alone, with or without the brackets of IPv6.
		h, port, err = net.SplitHostPort(s + ":")
		if ip := net.ParseIP(s); ip != nil {
			h, err = s, nil
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("listen address %q: must be host:port, such as 127.0.0.1:5984", s)
	}
	if h == "" {
		h = "any"
	}
	return &h, port, nil
}
