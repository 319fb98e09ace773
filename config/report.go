package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Entry is a key as it is in force.
type Entry struct {
	Section, Key string
	Value        string // masked if it is a secret or a password's hash
	From         string // "default", "profile livesync", "node.ini:12", "--listen", "MANGROVE_DATA"
}

// String is the entry as a line of a file, without its source.
func (e Entry) String() string { return e.Key + " = " + escape(e.Value) }

// Describe lists all keys that the sources say something of and all that have
// a default, ordered by section and key. It fails where Load does.
func Describe(o Options) ([]Entry, error) {
	all, doubts, err := o.gather()
	if err != nil {
		return nil, err
	}
	passedOver := map[string]bool{}
	for _, d := range doubts {
		passedOver[d.Place] = true
	}
	for section, keys := range defaults {
		for key, value := range keys {
			if _, ok := all.raw.get(section, key); ok {
				continue
			}
			if _, ok := all.raw.get(older[section], key); !ok || newOnly[key] {
				all.set(section, key, value, "default")
			}
		}
	}
	var entries []Entry
	for _, section := range slices.Sorted(maps.Keys(all.raw)) {
		for _, key := range slices.Sorted(maps.Keys(all.raw[section])) {
			e := Entry{section, key, all.raw[section][key], string(all.places[[2]string{section, key}])}
			if section == "admins" || Secret(section, key) {
				e.Value = Mask
			}
			if passedOver[e.From] {
				e.From += ": makes no sense; the default counts"
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// gather reads all sources and checks them as Load does.
func (o *Options) gather() (*said, []Doubt, error) {
	if err := o.complete(); err != nil {
		return nil, nil, err
	}
	all, err := o.read(o.fileRequired)
	if err != nil {
		return nil, nil, err
	}
	settings, errs := read(all.raw)
	refused, doubts := o.sortOut(errs, all.places)
	if len(refused) > 0 {
		return nil, nil, errors.Join(refused...)
	}
	return all, doubts, settings.CheckTLS()
}

// Remark is something in a configuration that works and may still not be what
// its writer means.
type Remark struct{ Place, Text string }

// Check says what a reader of the configuration should know: values that make
// no sense, keys that mean nothing here, those that stand twice, passwords in clear. What keeps a node
// from starting is the error. The file it has looked at comes first.
func Check(o Options) (file string, remarks []Remark, err error) {
	all, doubts, err := o.gather()
	if err != nil {
		return o.File, nil, err
	}
	for _, d := range doubts {
		remarks = append(remarks, Remark{d.Place, d.ValueError.Error() + "; the default counts"})
	}
	text, err := os.ReadFile(o.File)
	if err != nil {
		return o.File, nil, nil // gather has said it if that is wrong
	}
	known := knownKeys(all.raw)
	first := map[[2]string]place{}
	parse(splitLines(string(text)), func(line int, section, key, value string) {
		at := o.placeOf(line)
		remark := func(format string, a ...any) {
			remarks = append(remarks, Remark{string(at), fmt.Sprintf(format, a...)})
		}
		id := [2]string{section, key}
		if before, ok := first[id]; ok {
			remark("[%s] %s stands at %s already; the later one counts", section, key, before)
		} else {
			first[id] = at
		}
		kind := section
		if strings.HasPrefix(section, corsHost) {
			kind = "cors"
		}
		switch {
		case section == "admins" && !strings.HasPrefix(value, "-") && value != "":
			remark("[admins] %s: the password stands in clear; the next start hashes it", key)
		case freeSections[section]:
		case slices.Contains(known[kind], key):
			// A later line of the file has its own remark.
			if from := all.places[id]; from != "" && !strings.HasPrefix(string(from), o.File+":") {
				remark("[%s] %s is overruled by %s", section, key, from)
			}
		case strings.Contains(ignored[section], " "+key+" "), ignored[section] == "*":
			remark("[%s] %s is one of CouchDB's keys that mean nothing here; it is kept", section, key)
		case known[kind] != nil || ignored[section] != "":
			remark("[%s] %s is not known%s; it is kept", section, key, suggestion(key, known[kind]))
		}
	}, nil)
	return o.File, remarks, nil
}

// freeSections have keys that their users choose.
var freeSections = map[string]bool{"admins": true, "jwt_keys": true, "replicator.shares": true, "vhosts": true, "vendor": true}

// knownKeys are the keys that mean something, by section: those that read asks
// for, and a few that are asked for where they are used.
func knownKeys(raw sections) map[string][]string {
	r := &reader{raw: raw, asked: map[[2]string]bool{}}
	r.settings()
	known := map[string][]string{
		"couchdb":             {"os_process_timeout", "single_node"},
		"mangrove":            {"profile"},
		"query_server_config": {"reduce_limit", "reduce_limit_threshold", "reduce_limit_ratio"},
	}
	for id := range r.asked {
		section, key := id[0], id[1]
		known[section] = append(known[section], key)
		if old := older[section]; old != "" && !newOnly[key] {
			known[old] = append(known[old], key)
		}
	}
	return known
}

// ignored are keys of CouchDB 3.5 that have no counterpart here, by section;
// "*" is all keys of a section.
var ignored = map[string]string{
	"couchdb": " attachment_stream_buffer_size btree_chunk_size changes_doc_ids_optimization_threshold default_engine enable_database_recovery" +
		" file_compression js_engine max_bulk_docs_count max_bulk_get_count max_database_name_length max_dbs_open max_document_id_length max_partition_size" +
		" plugin_dir stem_interactive_updates update_lru_on_read uri_file util_driver_dir uuid view_index_dir write_xxhash_checksums ",
	"chttpd": " backlog bulk_get_use_batches buffer_response changes_duration prefer_minimal server_header_versions server_options socket_options ",
	"httpd": " allow_jsonp authentication_handlers config_whitelist bind_address enable_xframe_options port rewrite_limit secure_rewrites server_options socket_options" +
		" x_forwarded_host x_forwarded_proto x_forwarded_ssl ",
	"chttpd_auth":         " auth_cache_size authentication_db authentication_redirect password_scheme ",
	"couch_httpd_auth":    " auth_cache_size authentication_db authentication_redirect password_scheme ",
	"ssl":                 " ciphers password secure_renegotiate signature_algs eccs ssl_certificate_max_depth ssl_trusted_certificates_file ",
	"log":                 " file include_sasl journald syslog_appid syslog_enterprise syslog_facility syslog_host syslog_port write_buffer write_delay writer ",
	"query_server_config": " commit_freq os_process_idle_limit os_process_limit os_process_soft_limit query_limit partition_query_limit revs_limit ",
	"replicator": " cert_file cluster_quiet_period cluster_start_period db_doc_writes key_file max_acceptors password priority_coeff socket_options" +
		" ssl_certificate_max_depth ssl_trusted_certificates_file usage_coeff use_checkpoints valid_endpoint_protocols valid_proxy_protocols" +
		" valid_socket_options ",
	"cluster": "*", "couchdb_engines": "*", "csp": "*", "daemons": "*", "database_compaction": "*", "ddoc_cache": "*", "fabric": "*", "feature_flags": "*",
	"global_changes": "*", "indexers": "*", "ioq": "*", "ioq.bypass": "*", "ken": "*", "ken.ignore": "*", "mem3": "*", "native_query_servers": "*",
	"os_daemons": "*", "process_priority": "*", "query_servers": "*", "reshard": "*", "rexi": "*", "smoosh": "*", "smoosh.ignore": "*", "view_compaction": "*",
	"view_updater": "*", "view_upgrade": "*", "x_frame_options": "*", "dreyfus": "*", "nouveau": "*", "couch_auto_purge_plugin": "*", "couch_scanner": "*",
}

// suggestion names the known key that is most like another, if one is.
func suggestion(key string, known []string) string {
	best, least := "", 3 // more than two slips are another word
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(strings.ToLower(key), strings.ToLower(k)); d < least && d < len(key) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return ": is " + best + " meant?"
}

// distance is how many letters must be put in, left out, changed or exchanged
// with their neighbours to make one word of another.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			changed := last[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			row[j] = min(last[j]+1, row[j-1]+1, changed)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
