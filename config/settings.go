package config

import (
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
	// RequireValidUser refuses anonymous requests: [chttpd] require_valid_user
	// or [chttpd_auth] require_valid_user, false. Either is enough: the stricter
	// reading of what an older file may mean.
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

	// Auth says how requests prove who they speak for.
	Auth Auth
	// PerUser is the section [couch_peruser].
	PerUser PerUser
	// CORS is what pages of other origins may do: [cors] and [chttpd] enable_cors.
	CORS CORS
	// TLS is the section [ssl].
	TLS TLS
	// ACME is the section [acme].
	ACME ACME
	// Replicator is the section [replicator].
	Replicator Replicator

	// Log says what of the requests is logged.
	Log Log
	// Prometheus is the section [prometheus].
	Prometheus Prometheus
	// Limits bound what clients can take up.
	Limits Limits
}

// Address is where to listen, in the form net.Listen takes.
func (s *Settings) Address() string {
	return net.JoinHostPort(s.BindAddress, strconv.Itoa(s.Port))
}

// defaults are the values in force where no source says otherwise. But for
// those of shown they are not among the values that Get and Section know, as in
// CouchDB, whose default.ini holds nearly all of them as comments: a key that
// nobody has set is unknown, and when one is deleted its default is back.
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
		"enable_cors":                    "false",
		"max_connections":                "20000",
		"max_db_number_for_dbs_info_req": "100",
		"max_http_request_size":          "4294967296",
		"max_uri_length":                 "8000",
		"port":                           "5984",
		"require_valid_user":             "false",
	},
	"chttpd_auth": {
		"iterations":         "600000",
		"pbkdf2_prf":         "sha256",
		"require_valid_user": "false",
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
	"log":        logDefaults,
	"prometheus": prometheusDefaults,
	"mangrove":   limitDefaults,
	"cors":       corsDefaults,
	"ssl":        sslDefaults,
	"acme":       acmeDefaults,
}

// shown are the defaults that Get and Section know of: what tells a client
// about this node, and what CouchDB's default.ini has.
var shown = map[string][]string{
	"couchdb": {"database_dir"},
	"chttpd":  {"bind_address", "port"},
}

// older names sections that CouchDB still reads keys from where the section of
// today says nothing.
var older = map[string]string{
	"chttpd":      "httpd",
	"chttpd_auth": "couch_httpd_auth",
}

// newOnly are keys that mean something else in the older section: in [httpd]
// they are of another listener.
var newOnly = map[string]bool{"port": true, "bind_address": true}

// read parses what raw says. For a value that makes no sense the default
// stands in and an error says so.
func read(raw sections) (Settings, []*ValueError) {
	r := &reader{raw: raw}
	return r.settings(), r.errors
}

func (r *reader) settings() Settings {
	s := Settings{
		DataDir:            r.optional("couchdb", "database_dir"),
		BindAddress:        r.optional("chttpd", "bind_address"),
		Port:               int(r.number("chttpd", "port", 0, 65535)),
		LogLevel:           parsed(r, "log", "level", parseLevel),
		LogFormat:          r.choice("log", "format", "text", "json"),
		MaxDocumentSize:    r.number("couchdb", "max_document_size", 0, Infinity),
		MaxAttachmentSize:  r.number("couchdb", "max_attachment_size", 0, Infinity),
		MaxRequestSize:     r.number("chttpd", "max_http_request_size", 0, Infinity),
		MaxURILength:       int(r.number("chttpd", "max_uri_length", 1, math.MaxInt32)),
		MaxDBsInfo:         int(r.number("chttpd", "max_db_number_for_dbs_info_req", 0, math.MaxInt32)),
		ChangesTimeout:     time.Duration(r.number("chttpd", "changes_timeout", 0, math.MaxInt32)) * time.Millisecond,
		AdminOnlyAllDBs:    r.boolean("chttpd", "admin_only_all_dbs"),
		MaintenanceMode:    r.choice("couchdb", "maintenance_mode", "false", "true", "nolb"),
		DefaultSecurity:    r.choice("couchdb", "default_security", "admin_only", "admin_local", "everyone"),
		UUIDAlgorithm:      r.choice("uuids", "algorithm", "sequential", "random", "utc_random", "utc_id", "uuid_v7"),
		UUIDSuffix:         r.optional("uuids", "utc_id_suffix"),
		UUIDMaxCount:       int(r.number("uuids", "max_count", 0, math.MaxInt32)),
		CompressionLevel:   int(r.number("attachments", "compression_level", 0, 9)),
		CompressibleTypes:  r.list("attachments", "compressible_types"),
		PasswordIterations: int(r.number("chttpd_auth", "iterations", 1, math.MaxInt32)),
		PasswordPRF:        r.choice("chttpd_auth", "pbkdf2_prf", "sha256", "sha", "sha224", "sha384", "sha512"),
		Auth:               r.auth(),
		PerUser:            r.perUser(),
		CORS:               r.cors(),
		TLS:                r.tls(),
		ACME:               r.acme(),
		Replicator:         r.replicator(),
		Log:                r.log(),
		Prometheus:         r.prometheus(),
		Limits:             r.limits(),
	}
	// Both are read, whatever the first says: each is checked.
	listener, handlers := r.boolean("chttpd", "require_valid_user"), r.boolean("chttpd_auth", "require_valid_user")
	s.RequireValidUser = listener || handlers
	if s.BindAddress == "any" {
		s.BindAddress = ""
	}
	if memory := r.optional("mangrove", "memory"); memory != "" {
		n, err := parseSize(memory)
		if err != nil {
			r.wrong("mangrove", "memory", memory, err)
		}
		s.Memory = n
	}
	for i, t := range s.CompressibleTypes {
		s.CompressibleTypes[i] = strings.ToLower(t)
	}
	return s
}
