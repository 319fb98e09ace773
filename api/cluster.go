package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/storage"
)

// A node is alone and set up from its first start on. Its endpoints for clusters answer as those of such a CouchDB do, so
// that scripts and consoles which set one up find that it is done.

func getMembership(q *request) error {
	nodes := []string{nodeName}
	return q.reply(http.StatusOK, map[string][]string{"all_nodes": nodes, "cluster_nodes": nodes})
}

func getClusterSetup(q *request) error {
	return q.reply(http.StatusOK, map[string]string{"state": "single_node_enabled"})
}

// clusterSetup is the body of a POST to _cluster_setup. Of the port, CouchDB takes a number or a text.
type clusterSetup struct {
	Action       string          `json:"action"`
	Username     string          `json:"username"`
	Password     string          `json:"password"`
	PasswordHash string          `json:"password_hash"`
	BindAddress  string          `json:"bind_address"`
	Port         json.RawMessage `json:"port"`
	Databases    []string        `json:"ensure_dbs_exist"`
}

func postClusterSetup(q *request) error {
	if err := q.requireJSON(); err != nil {
		return err
	}
	text, err := q.readJSON()
	if err != nil {
		return err
	}
	// Whatever else is in it is not asked for here; and what is of another type than these makes the rest no less clear.
	var body clusterSetup
	_ = json.Unmarshal(text, &body)
	switch body.Action {
	case "enable_single_node":
		return q.enableSingleNode(&body)
	case "finish_cluster":
		return errClusterFinished
	case "enable_cluster":
		return errClusterEnabled
	case "add_node", "remove_node", "receive_cookie":
		return errNoCluster
	}
	return errClusterAction
}

// enableSingleNode does what the request asks for beside what is done already: an administrator, where to listen from the
// next start on, and databases. It may be repeated.
func (q *request) enableSingleNode(s *clusterSetup) error {
	password := s.Password
	if s.PasswordHash != "" {
		password = s.PasswordHash
	}
	type setting struct{ section, key, value string }
	var settings []setting
	if s.Username != "" && password != "" {
		// The administrator who asks, as the scripts do that set nodes up, is there already: with a new hash of the same
		// password all sessions of his would end.
		if name, sent, ok := q.BasicAuth(); !ok || name != s.Username || sent != password || q.user.Name != name {
			settings = append(settings, setting{"admins", s.Username, password})
		}
	}
	if s.BindAddress != "" {
		settings = append(settings, setting{"chttpd", "bind_address", s.BindAddress})
	}
	if port, ok := portText(s.Port); ok {
		settings = append(settings, setting{"chttpd", "port", port})
	}
	for _, c := range settings {
		value, err := q.storable(c.section, c.key, c.value)
		if err != nil {
			return err
		}
		if old, ok := q.api.config.Snapshot().Get(c.section, c.key); ok && old == value {
			continue
		}
		if _, err := q.api.config.Set(c.section, c.key, value, true); err != nil {
			return configError(err)
		}
		q.logConfig("configuration changed", c.section, c.key, value)
	}
	names := s.Databases
	if names == nil {
		names = []string{dbname.Users, dbname.Replicator}
	}
	for _, name := range names {
		if _, err := q.api.store.DB(name); err == nil {
			continue
		}
		if err := checkName(name); err != nil {
			return err
		}
		if _, err := q.api.store.CreateDB(q.Context(), name, storage.DBOptions{}); err != nil {
			return err
		}
	}
	return q.replyOK(http.StatusCreated)
}

// portText reads a port, which is a number or a text; its bounds are checked when it is set.
func portText(value json.RawMessage) (string, bool) {
	var n int
	if json.Unmarshal(value, &n) == nil && len(value) > 0 {
		return strconv.Itoa(n), true
	}
	var s string
	return s, json.Unmarshal(value, &s) == nil && s != ""
}
