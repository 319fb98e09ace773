package api

import (
	"strings"
	"testing"
)

func TestEnableSingleNode(t *testing.T) {
	n := newNode(t)
	before, _ := n.config.Snapshot().Get("admins", adminName)
	body := map[string]any{"action": "enable_single_node", "username": adminName, "password": adminPassword, "bind_address": "0.0.0.0", "port": 5984, "singlenode": true}
	for range 2 {
		if a := n.do("POST", "/_cluster_setup", body); a.StatusCode != 201 || string(a.body) != `{"ok":true}`+"\n" {
			t.Fatalf("%s %s", a.Status, a.body)
		}
	}
	s := n.config.Snapshot()
	if after, _ := s.Get("admins", adminName); after != before {
		t.Error("the same password was hashed again: sessions end by that")
	}
	if s.BindAddress != "0.0.0.0" || s.Port != 5984 {
		t.Errorf("%s %d", s.BindAddress, s.Port)
	}
	n.must("GET", "/_users", nil)
	n.must("GET", "/_replicator", nil)

	// Another administrator, a port that is a text, and databases of the client's choice.
	n.must("POST", "/_cluster_setup", map[string]any{"action": "enable_single_node", "username": "ann", "password": "secret of ann", "port": "6000", "ensure_dbs_exist": []string{"_global_changes"}})
	if v := n.value("GET", configURL+"/admins/ann", nil); !strings.HasPrefix(v, "-pbkdf2:") || n.config.Snapshot().Port != 6000 {
		t.Errorf("%s, port %d", v, n.config.Snapshot().Port)
	}
	n.must("GET", "/_global_changes", nil)
	if text := n.file(); strings.Contains(text, "secret of ann") {
		t.Error(text)
	}
}

func TestClusterSetupRefused(t *testing.T) {
	n := newNode(t)
	for action, reason := range map[string]string{
		"finish_cluster": "Cluster is already finished", "enable_cluster": "Cluster is already enabled",
		"add_node": errNoCluster.Reason, "": "Invalid Action'", "nonsense": "Invalid Action'",
	} {
		n.refused(400, "bad_request", reason, "POST", "/_cluster_setup", map[string]any{"action": action})
	}
	n.refused(400, "bad_request", "Invalid Action'", "POST", "/_cluster_setup", `[1]`)
	n.refused(400, "bad_request", "[chttpd] port = 99999: must lie between 0 and 65535", "POST", "/_cluster_setup", map[string]any{"action": "enable_single_node", "port": 99999})
	n.refused(400, "illegal_database_name", illegalName("NO").Reason, "POST", "/_cluster_setup", map[string]any{"action": "enable_single_node", "ensure_dbs_exist": []string{"NO"}})
}

func TestUpWhileStopping(t *testing.T) {
	n := newNode(t)
	n.must("GET", "/_up", nil)
	n.api.Close()
	if a := n.do("GET", "/_up", nil); a.StatusCode != 404 || !strings.Contains(string(a.body), `"stopping"`) {
		t.Errorf("%s %s", a.Status, a.body)
	}
}
