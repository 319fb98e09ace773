package api

import (
	"net/http"
	"strings"
)

// viewIndex is CouchDB's description of the index of a design document.
type viewIndex struct {
	Pending struct {
		Minimum   uint64 `json:"minimum"`
		Preferred uint64 `json:"preferred"`
		Total     uint64 `json:"total"`
	} `json:"updates_pending"`
	WaitingCommit  bool   `json:"waiting_commit"` // rows are committed as they are made: always false
	WaitingClients int    `json:"waiting_clients"`
	Updating       bool   `json:"updater_running"`
	Seq            uint64 `json:"update_seq"`
	Sizes          struct {
		File     uint64 `json:"file"`
		External uint64 `json:"external"`
		Active   uint64 `json:"active"`
	} `json:"sizes"`
	Signature  string   `json:"signature"`
	PurgeSeq   uint64   `json:"purge_seq"`
	Language   string   `json:"language"`
	Compacting bool     `json:"compact_running"` // there is nothing to compact: always false
	Collators  []string `json:"collator_versions"`
}

func getViewInfo(q *request) error {
	db, d, err := q.openDesign(q.docID)
	if err != nil {
		return err
	}
	info, err := q.api.views.Info(db, d)
	if err != nil {
		return err
	}
	v := viewIndex{
		WaitingClients: info.WaitingClients, Updating: info.UpdaterRunning,
		Seq: uint64(info.UpdateSeq), Signature: info.Signature, PurgeSeq: info.PurgeSeq, Language: info.Language,
		Collators: info.CollatorVersions,
	}
	v.Pending.Minimum, v.Pending.Preferred, v.Pending.Total = info.Pending, info.Pending, info.Pending
	v.Sizes.File, v.Sizes.External, v.Sizes.Active = info.File, info.External, info.Active
	return q.reply(http.StatusOK, struct {
		Name  string    `json:"name"`
		Index viewIndex `json:"view_index"`
	}{strings.TrimPrefix(d.ID, "_design/"), v})
}

func postCompactViews(q *request) error {
	db, d, err := q.openDesign("_design/" + q.name)
	if err != nil {
		return err
	}
	if err := q.requireJSON(); err != nil {
		return err
	}
	if err := q.api.views.Compact(q.Context(), db, d); err != nil {
		return err
	}
	return q.replyOK(http.StatusAccepted)
}

// postViewCleanup takes any type of body, as CouchDB does.
func postViewCleanup(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.api.views.Cleanup(q.Context(), db); err != nil {
		return err
	}
	return q.replyOK(http.StatusAccepted)
}
