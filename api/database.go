package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/storage"
)

func getDatabase(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if q.Method == http.MethodHead {
		return q.replyText(http.StatusOK, nil)
	}
	info, err := describe(db)
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, info)
}

func checkName(name string) error {
	if !dbname.Legal(name) {
		return illegalName(name)
	}
	if dbname.TooLong(name) {
		return longName(name)
	}
	return nil
}

func putDatabase(q *request) error {
	if err := checkName(q.dbName); err != nil {
		return err
	}
	var o storage.DBOptions
	for name, to := range map[string]*int{"q": &o.Q, "n": &o.N} {
		if values, ok := q.params()[name]; ok {
			n, err := strconv.Atoi(values[0])
			if err != nil || n < 1 {
				return badRequestf("The `%s` value should be a positive integer.", name)
			}
			*to = n
		}
	}
	switch q.param("partitioned") {
	case "", "false":
	case "true":
		o.Partitioned = true
	default:
		return badRequest("Invalid `partitioned` parameter")
	}
	db, err := q.api.store.CreateDB(q.Context(), q.dbName, o)
	if err != nil {
		return err
	}
	if err := q.settleDatabase(db); err != nil {
		return err
	}
	q.w.Header().Set("Location", q.url("/"+escape(q.dbName)))
	return q.replyOK(http.StatusCreated)
}

// settleDatabase gives a new database what it begins with. Until then it is for server administrators alone.
func (q *request) settleDatabase(db *storage.DB) error {
	if dbname.IsUsers(q.dbName) || dbname.IsReplicator(q.dbName) {
		if q.dbName == dbname.Users {
			return auth.PrepareUsers(q.Context(), q.api.store)
		}
		return nil
	}
	object := auth.DefaultSecurity(q.config.DefaultSecurity)
	if object == auth.ClosedSecurity {
		return nil
	}
	return db.SetSecurity(q.Context(), []byte(object))
}

// escape writes a name into a path as CouchDB does.
func escape(name string) string {
	const plain = "-_.:"
	b := make([]byte, 0, len(name)+16)
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(plain, c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

const upperHex = "0123456789ABCDEF"

func deleteDatabase(q *request) error {
	if q.params().Has("rev") {
		return badRequest("You tried to DELETE a database with a ?=rev parameter. Did you mean to DELETE a document instead?")
	}
	if err := q.api.store.DeleteDB(q.Context(), q.dbName); err != nil {
		return err
	}
	return q.replyOK(http.StatusOK)
}

// readNumber reads a body that is a positive integer; anything else is refused with reason.
func (q *request) readNumber(reason string) (int, error) {
	text, err := q.readJSON()
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 {
		return 0, badRequest(reason)
	}
	return n, nil
}

func getRevsLimit(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	n, err := db.RevsLimit()
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, n)
}

func putRevsLimit(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	n, err := q.readNumber("`rev_limit` must be positive integer")
	if err != nil {
		return err
	}
	if err := db.SetRevsLimit(q.Context(), n); err != nil {
		return err
	}
	return q.replyOK(http.StatusOK)
}

func getPurgedInfosLimit(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	n, err := db.PurgedInfosLimit()
	if err != nil {
		return err
	}
	return q.reply(http.StatusOK, n)
}

func putPurgedInfosLimit(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	n, err := q.readNumber("`purged_infos_limit` must be positive integer")
	if err != nil {
		return err
	}
	if err := db.SetPurgedInfosLimit(q.Context(), n); err != nil {
		return err
	}
	return q.replyOK(http.StatusOK)
}

func getSecurity(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	object, err := db.Security()
	if err != nil {
		return err
	}
	if object == nil {
		object = []byte(auth.ClosedSecurity)
	}
	return q.replyText(http.StatusOK, object)
}

func putSecurity(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if q.dbName == dbname.Users && !q.config.Auth.UsersSecurityEditable {
		return errUsersSecurity
	}
	object, err := q.readJSON()
	if err != nil {
		return err
	}
	if err := checkSecurity(object); err != nil {
		return err
	}
	if err := db.SetSecurity(q.Context(), object); err != nil {
		return err
	}
	return q.replyOK(http.StatusOK)
}

// checkSecurity checks that an object's admins and members, if there, have lists of strings as names and roles.
func checkSecurity(text []byte) error {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil || object == nil {
		return badRequest("Security object must be a JSON object.")
	}
	for _, who := range []string{"admins", "members", "readers"} {
		part, ok := object[who]
		if !ok {
			continue
		}
		var lists map[string]json.RawMessage
		if json.Unmarshal(part, &lists) != nil || lists == nil {
			return badRequestf("%s must be a JSON object.", who)
		}
		for _, name := range []string{"names", "roles"} {
			var list []string
			if value, ok := lists[name]; ok && json.Unmarshal(value, &list) != nil {
				return badRequestf("%s must be a JSON list of strings.", name)
			}
		}
	}
	return nil
}

func postFullCommit(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	if err := db.Commit(q.Context()); err != nil {
		return err
	}
	return q.reply(http.StatusCreated, struct {
		OK                bool   `json:"ok"`
		InstanceStartTime string `json:"instance_start_time"`
	}{true, startTime(db)})
}

func postCompact(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	if err := db.Compact(); err != nil {
		return err
	}
	return q.replyOK(http.StatusAccepted)
}

// wholeRange is the one shard that a database has.
const wholeRange = "00000000-ffffffff"

func getShards(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	return q.reply(http.StatusOK, map[string]any{"shards": map[string][]string{wholeRange: {nodeName}}})
}

func getShard(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	return q.reply(http.StatusOK, map[string]any{"range": wholeRange, "nodes": []string{nodeName}})
}

func postSyncShards(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	return q.replyOK(http.StatusAccepted)
}

// partition checks that the database is partitioned and the partition's name in the path is legal.
func (q *request) partition(db *storage.DB) error {
	if !db.Partitioned() {
		return badRequest("database is not partitioned")
	}
	if q.partName == "" {
		return badRequest("invalid_partition_req")
	}
	return document.ValidatePartition(q.partName)
}

func getPartition(q *request) error {
	db, snap, err := q.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if err := q.partition(db); err != nil {
		return err
	}
	p, err := snap.Partition(q.Context(), q.partName)
	if err != nil {
		return err
	}
	type sizes struct {
		Active   uint64 `json:"active"`
		External uint64 `json:"external"`
	}
	return q.reply(http.StatusOK, struct {
		Name      string `json:"db_name"`
		Sizes     sizes  `json:"sizes"`
		Partition string `json:"partition"`
		Docs      uint64 `json:"doc_count"`
		Deleted   uint64 `json:"doc_del_count"`
	}{q.dbName, sizes{p.Active, p.External}, q.partName, p.Docs, p.Deleted})
}

func getTemporaryView(q *request) error {
	if _, err := q.db(); err != nil {
		return err
	}
	return errTemporaryViews
}
