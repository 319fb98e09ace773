package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/storage"
)

func getRoot(q *request) error {
	type vendor struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	return q.reply(http.StatusOK, struct {
		CouchDB  string   `json:"couchdb"`
		Version  string   `json:"version"`
		GitSHA   string   `json:"git_sha"`
		UUID     string   `json:"uuid"`
		Features []string `json:"features"`
		Vendor   vendor   `json:"vendor"`
	}{"Welcome", compatible, "mangrove", q.api.store.UUID(), []string{"partitioned", "pluggable-storage-engines"}, vendor{"Mangrove", q.api.version}})
}

// getUp tells those who send requests here, such as load balancers, whether they should.
func getUp(q *request) error {
	type up struct {
		Status string   `json:"status"`
		Seeds  struct{} `json:"seeds"`
	}
	switch q.config.MaintenanceMode {
	case "true":
		return q.reply(statusMaintenance, up{Status: "maintenance_mode"})
	case "nolb":
		return q.reply(statusMaintenance, up{Status: "nolb"})
	}
	if q.api.ending.Err() != nil {
		// The node is stopping: what is under way is finished, and what comes now should go elsewhere.
		return q.reply(statusMaintenance, up{Status: "stopping"})
	}
	switch err := q.api.store.Ready(); {
	case err == nil:
	case errors.Is(err, storage.ErrClosed):
		return q.reply(statusMaintenance, up{Status: "stopping"})
	case errors.Is(err, storage.ErrNoSpace):
		return q.reply(statusUnready, up{Status: "disk_full"}) // it can be read
	default:
		return q.reply(statusUnready, up{Status: "failed"}) // it can be read, and has to be started anew
	}
	return q.reply(http.StatusOK, up{Status: "ok"})
}

func getUUIDs(q *request) error {
	count := 1
	if values, ok := q.params()["count"]; ok {
		var err error
		if count, err = strconv.Atoi(values[0]); err != nil || count < 0 {
			return badRequest("count must be a positive integer")
		}
	}
	if count > q.config.UUIDMaxCount {
		return badRequest("count parameter too large")
	}
	ids := make([]string, count)
	for i := range ids {
		ids[i] = q.api.newUUID(q.config)
	}
	h := q.w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "Mon, 01 Jan 1990 00:00:00 GMT")
	h.Set("ETag", `"`+q.api.newUUID(q.config)+`"`)
	return q.reply(http.StatusOK, map[string][]string{"uuids": ids})
}

// nameRange reads the parameters of listings of databases.
func (q *request) nameRange() (storage.NameRange, error) {
	r := storage.NameRange{Limit: -1}
	for name, values := range q.params() {
		value := values[0]
		var err error
		switch name {
		case "startkey", "start_key":
			r.Start, err = nameKey(value)
		case "endkey", "end_key":
			r.End, err = nameKey(value)
			r.HasEnd = true
		case "key":
			if r.Start, err = nameKey(value); err == nil {
				r.End, r.HasEnd = r.Start, true
			}
		case "inclusive_end":
			r.ExclusiveEnd = value == "false"
		case "descending":
			r.Descending = value == "true"
		case "limit":
			r.Limit, err = countValue(value)
		case "skip":
			r.Skip, err = countValue(value)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

func nameKey(text string) (string, error) {
	b, err := jsonText(text)
	if err != nil {
		return "", err
	}
	s, ok := jsonString(b)
	if !ok {
		return "", queryError("Names of databases are strings: " + text)
	}
	return s, nil
}

func getAllDBs(q *request) error {
	// The number of the newest event tells whether the client has seen them all.
	q.w.Header().Set("ETag", `"`+strconv.FormatUint(q.api.store.UpdateSeq(), 36)+`"`)
	return q.replyNames(func(b []byte, name string) ([]byte, error) { return document.AppendString(b, name), nil })
}

// replyNames answers with an array of what item appends for each database that the request asks for, as it goes.
func (q *request) replyNames(item func(b []byte, name string) ([]byte, error)) error {
	r, err := q.nameRange()
	if err != nil {
		return err
	}
	out := q.newStream()
	_ = out.WriteByte('[')
	var b []byte
	first := true
	for name, err := range q.api.store.Names(r) {
		if err != nil {
			return err
		}
		b = b[:0]
		if !first {
			b = append(b, ',')
		}
		first = false
		if b, err = item(b, name); err != nil {
			return err
		}
		_, _ = out.Write(b)
	}
	_, _ = out.WriteString("]\n")
	return q.lost(out.end())
}

// dbInfo is CouchDB's description of a database.
type dbInfo struct {
	InstanceStartTime string `json:"instance_start_time"`
	Name              string `json:"db_name"`
	PurgeSeq          string `json:"purge_seq"`
	UpdateSeq         string `json:"update_seq"`
	Sizes             struct {
		File     uint64 `json:"file"`
		External uint64 `json:"external"`
		Active   uint64 `json:"active"`
	} `json:"sizes"`
	Props struct {
		Partitioned bool `json:"partitioned,omitempty"`
	} `json:"props"`
	Deleted       uint64 `json:"doc_del_count"`
	Docs          uint64 `json:"doc_count"`
	FormatVersion int    `json:"disk_format_version"`
	Compacting    bool   `json:"compact_running"`
	Cluster       struct {
		Q int `json:"q"`
		N int `json:"n"`
		W int `json:"w"`
		R int `json:"r"`
	} `json:"cluster"`
}

// startTime tells a database from others of its name before it. Replicators compare it as a string.
func startTime(db *storage.DB) string { return strconv.FormatInt(db.Created().UnixMicro(), 10) }

func describe(db *storage.DB) (*dbInfo, error) {
	i, err := db.Info()
	if err != nil {
		return nil, err
	}
	d := &dbInfo{
		InstanceStartTime: startTime(db), Name: i.Name, PurgeSeq: i.PurgeSeqText, UpdateSeq: i.UpdateSeqText,
		Deleted: i.Deleted, Docs: i.Docs, FormatVersion: storage.FormatVersion, Compacting: i.Compacting,
	}
	d.Sizes.File, d.Sizes.External, d.Sizes.Active = i.File, i.External, i.Active
	d.Props.Partitioned = i.DBOptions.Partitioned
	d.Cluster.Q, d.Cluster.N, d.Cluster.W, d.Cluster.R = max(i.DBOptions.Q, 1), max(i.DBOptions.N, 1), 1, 1
	return d, nil
}

// namedInfo is a row of _dbs_info.
type namedInfo struct {
	Key   string  `json:"key"`
	Info  *dbInfo `json:"info,omitempty"`
	Error string  `json:"error,omitempty"`
}

func (q *request) namedInfo(name string) (namedInfo, error) {
	db, err := q.api.store.DB(name)
	if err == nil {
		var info *dbInfo
		if info, err = describe(db); err == nil {
			return namedInfo{Key: name, Info: info}, nil
		}
	}
	if errors.Is(err, storage.ErrNoDatabase) {
		return namedInfo{Key: name, Error: "not_found"}, nil
	}
	return namedInfo{}, err
}

func getDBsInfo(q *request) error {
	q.w.Header().Set("ETag", `"`+q.api.newUUID(q.config)+`"`)
	return q.replyNames(func(b []byte, name string) ([]byte, error) {
		info, err := q.namedInfo(name)
		if err != nil {
			return b, err
		}
		return appendValue(b, info)
	})
}

func postDBsInfo(q *request) error {
	if err := q.requireJSON(); err != nil {
		return err
	}
	text, err := q.readJSON()
	if err != nil {
		return err
	}
	var body struct {
		Keys json.RawMessage `json:"keys"`
	}
	_ = json.Unmarshal(text, &body) // a body of another type has no keys
	if body.Keys == nil {
		return badRequest("`keys` member must exist.")
	}
	var keys []string
	if err := json.Unmarshal(body.Keys, &keys); err != nil {
		return badRequest("`keys` member must be an array.")
	}
	if len(keys) > q.config.MaxDBsInfo {
		return badRequest("too_many_keys")
	}
	infos := make([]namedInfo, len(keys))
	for i, name := range keys {
		if infos[i], err = q.namedInfo(name); err != nil {
			return err
		}
	}
	return q.reply(http.StatusOK, infos)
}

func getActiveTasks(q *request) error {
	type task struct {
		Node     string `json:"node"`
		PID      string `json:"pid"`
		Type     string `json:"type"`
		Database string `json:"database,omitempty"`
		Design   string `json:"design_document,omitempty"`
		Started  int64  `json:"started_on"`
		Updated  int64  `json:"updated_on"`
		Done     uint64 `json:"changes_done"`
		Total    uint64 `json:"total_changes"`
		Progress uint64 `json:"progress"`
	}
	tasks := []any{}
	for _, t := range q.api.store.Tasks() {
		done, total, updated := t.Progress()
		var progress uint64
		if total > 0 {
			progress = 100 * min(done, total) / total
		}
		tasks = append(tasks, task{
			Node: nodeName, PID: processID, Type: t.Type, Database: t.Database, Design: t.Design,
			Started: t.Started.Unix(), Updated: updated.Unix(), Done: done, Total: total, Progress: progress,
		})
	}
	return q.reply(http.StatusOK, append(tasks, q.api.replicationTasks()...))
}

func getUtils(q *request) error {
	q.w.Header().Set("Location", q.url("/_utils/"))
	q.w.WriteHeader(http.StatusMovedPermanently)
	return nil
}

func getNothing(*request) error { return errMissing }
