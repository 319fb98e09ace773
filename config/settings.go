package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// Infinity is the limit that stands for none ("infinity" in a file).
const Infinity int64 = math.MaxInt64

// Settings are the values the node acts by, parsed. Sizes are in bytes.
// The comments name section and key, as CouchDB does, and the default.
type Settings struct {
	// DataDir holds everything the node stores: [couchdb] database_dir, "data".
	DataDir string
	// BindAddress is what the node listens on, "" for every address:
	// [chttpd] bind_address, 127.0.0.1. CouchDB's "any" is understood.
	BindAddress string
	// Port is the TCP port, 0 for any free one: [chttpd] port, 5984.
	Port int
	// Memory is the budget of the store's caches and buffers, 0 for its own
	// default: [mangrove] memory.
	Memory int64

	// LogLevel is [log] level, info. CouchDB's names are understood.
	LogLevel slog.Level
	// LogFormat is "text" or "json": [log] format, text.
	LogFormat string

	// MaxDocumentSize bounds a document's JSON: [couchdb] max_document_size, 8000000.
	MaxDocumentSize int64
	// MaxAttachmentSize bounds an attachment: [couchdb] max_attachment_size, 1 GiB.
	MaxAttachmentSize int64
	// MaxRequestSize bounds a request body: [chttpd] max_http_request_size, 4 GiB.
	MaxRequestSize int64
	// MaxURILength bounds a request's path and query: [chttpd] max_uri_length, 8000.
	MaxURILength int
	// MaxDBsInfo bounds the keys of a _dbs_info request:
	// [chttpd] max_db_number_for_dbs_info_req, 100.
	MaxDBsInfo int
	// ChangesTimeout is the longest a feed waits: [chttpd] changes_timeout
	// (milliseconds), one minute.
	ChangesTimeout time.Duration
	// RequireValidUser refuses anonymous requests: [chttpd] require_valid_user, false.
	RequireValidUser bool
	// AdminOnlyAllDBs keeps _all_dbs for administrators: [chttpd] admin_only_all_dbs, true.
	AdminOnlyAllDBs bool
	// MaintenanceMode is "false", "true" or "nolb": [couchdb] maintenance_mode, false.
	MaintenanceMode string
	// DefaultSecurity is who may use a new database, "admin_only", "admin_local"
	// or "everyone": [couchdb] default_security, admin_only.
	DefaultSecurity string

	// UUIDAlgorithm is how _uuids makes ids: [uuids] algorithm, sequential.
	UUIDAlgorithm string
	// UUIDSuffix ends the ids of utc_id: [uuids] utc_id_suffix, "".
	UUIDSuffix string
	// UUIDMaxCount bounds count of _uuids: [uuids] max_count, 1000.
	UUIDMaxCount int

	// CompressionLevel is that of stored attachments, 0 (none) to 9:
	// [attachments] compression_level, 8.
	CompressionLevel int
	// CompressibleTypes are the media types worth compressing, "text/*" for
	// all of a kind: [attachments] compressible_types.
	CompressibleTypes []string

	// PasswordIterations is the work put into hashing a new password:
	// [chttpd_auth] iterations, 600000.
	PasswordIterations int
	// PasswordPRF is the hash under PBKDF2, "sha", "sha224", "sha256",
	// "sha384" or "sha512": [chttpd_auth] pbkdf2_prf, sha256.
	PasswordPRF string

	// Replicator is the section [replicator].
	Replicator Replicator
}

// Address is where to listen, in the form net.Listen takes.
func (s *Settings) Address() string {
	return net.JoinHostPort(s.BindAddress, strconv.Itoa(s.Port))
}

// defaults are the values in force where no source says otherwise. They show
// in Sections like any other, as CouchDB's default.ini does.
var defaults = map[string]map[string]string{
	"couchdb": {
		"database_dir":        "data",
		"default_security":    "admin_only",
		"maintenance_mode":    "false",
		"max_attachment_size": "1073741824",
		"max_document_size":   "8000000",
	},
	"chttpd": {
		"admin_only_all_dbs":             "true",
		"bind_address":                   "127.0.0.1",
		"changes_timeout":                "60000",
		"max_db_number_for_dbs_info_req": "100",
		"max_http_request_size":          "4294967296",
		"max_uri_length":                 "8000",
		"port":                           "5984",
		"require_valid_user":             "false",
	},
	"chttpd_auth": {
		"iterations": "600000",
		"pbkdf2_prf": "sha256",
	},
	"replicator": replicatorDefaults,
	"uuids": {
		"algorithm": "sequential",
		"max_count": "1000",
	},
	"attachments": {
		"compressible_types": "text/*, application/javascript, application/json, application/xml",
		"compression_level":  "8",
	},
	"log": {
		"format": "text",
		"level":  "info",
	},
}

// older names sections that CouchDB still reads a key from where the section
// of today says nothing. The listener's own address and port are not among
// them: [httpd] means another port there.
var older = map[string]map[string]string{
	"chttpd": {
		"changes_timeout":       "httpd",
		"max_http_request_size": "httpd",
		"max_uri_length":        "httpd",
		"require_valid_user":    "couch_httpd_auth",
	},
	"chttpd_auth": {
		"iterations": "couch_httpd_auth",
		"pbkdf2_prf": "couch_httpd_auth",
	},
}

// reader turns raw values into settings and collects what is wrong with them.
type reader struct {
	raw    sections
	errors []error
}

// read parses what raw says. For a value that makes no sense the default
// stands in and an error says so.
func read(raw sections) (Settings, []error) {
	r := &reader{raw: raw}
	s := Settings{
		DataDir:            r.text("couchdb", "database_dir"),
		BindAddress:        r.text("chttpd", "bind_address"),
		Port:               int(r.number("chttpd", "port", 0, 65535)),
		LogLevel:           parsed(r, "log", "level", parseLevel),
		LogFormat:          r.choice("log", "format", "text", "json"),
		MaxDocumentSize:    r.number("couchdb", "max_document_size", 0, Infinity),
		MaxAttachmentSize:  r.number("couchdb", "max_attachment_size", 0, Infinity),
		MaxRequestSize:     r.number("chttpd", "max_http_request_size", 0, Infinity),
		MaxURILength:       int(r.number("chttpd", "max_uri_length", 1, math.MaxInt32)),
		MaxDBsInfo:         int(r.number("chttpd", "max_db_number_for_dbs_info_req", 0, math.MaxInt32)),
		ChangesTimeout:     time.Duration(r.number("chttpd", "changes_timeout", 0, math.MaxInt32)) * time.Millisecond,
		RequireValidUser:   r.boolean("chttpd", "require_valid_user"),
		AdminOnlyAllDBs:    r.boolean("chttpd", "admin_only_all_dbs"),
		MaintenanceMode:    r.choice("couchdb", "maintenance_mode", "false", "true", "nolb"),
		DefaultSecurity:    r.choice("couchdb", "default_security", "admin_only", "admin_local", "everyone"),
		UUIDAlgorithm:      r.choice("uuids", "algorithm", "sequential", "random", "utc_random", "utc_id", "uuid_v7"),
		UUIDMaxCount:       int(r.number("uuids", "max_count", 0, math.MaxInt32)),
		CompressionLevel:   int(r.number("attachments", "compression_level", 0, 9)),
		PasswordIterations: int(r.number("chttpd_auth", "iterations", 1, math.MaxInt32)),
		PasswordPRF:        r.choice("chttpd_auth", "pbkdf2_prf", "sha256", "sha", "sha224", "sha384", "sha512"),
	}
	s.Replicator = r.replicator()
	if s.BindAddress == "any" {
		s.BindAddress = ""
	}
	if memory, ok := raw.get("mangrove", "memory"); ok {
		n, err := parseSize(memory)
		if err != nil {
			r.wrong("mangrove", "memory", memory, err)
		}
		s.Memory = n
	}
	s.UUIDSuffix, _ = raw.get("uuids", "utc_id_suffix")
	// A list that was emptied is empty: nothing is compressed then.
	types, _ := raw.get("attachments", "compressible_types")
	for t := range strings.SplitSeq(types, ",") {
		if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
			s.CompressibleTypes = append(s.CompressibleTypes, t)
		}
	}
	return s, r.errors
}

// value is what is said of a key: by its section, unless that has only the
// default and the older section has more to say, or else by the defaults.
func (r *reader) value(section, key string) string {
	standard := defaults[section][key]
	value, ok := r.raw.get(section, key)
	if !ok || value == standard {
		if old, found := r.raw.get(older[section][key], key); found {
			return old
		}
	}
	if !ok {
		return standard
	}
	return value
}

func (r *reader) wrong(section, key, value string, err error) {
	r.errors = append(r.errors, fmt.Errorf("[%s] %s = %s: %w", section, key, value, err))
}

// parsed is a key's value by parse, or its default's.
func parsed[T any](r *reader, section, key string, parse func(string) (T, error)) T {
	value := r.value(section, key)
	v, err := parse(value)
	if err != nil {
		r.wrong(section, key, value, err)
		v, _ = parse(defaults[section][key])
	}
	return v
}

func (r *reader) text(section, key string) string {
	return parsed(r, section, key, func(s string) (string, error) {
		if s == "" {
			return "", fmt.Errorf("must not be empty")
		}
		return s, nil
	})
}

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
		for _, c := range choices {
			if s == c {
				return s, nil
			}
		}
		return "", fmt.Errorf("must be one of %s", strings.Join(choices, ", "))
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
