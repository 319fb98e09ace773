package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/mangrove-db/mangrove/backup"
)

// backupSilence is how long a client of a backup may take none of it: while it is sent, everything that the snapshot
// shows stays on the disk.
const backupSilence = 10 * time.Minute

var backupType = []string{backup.ContentType}

// getBackup answers with the whole database as a file of package backup, all of it of one moment. CouchDB has nothing
// like it. The last line has the sum of everything before it, and if the answer fails the connection is cut as well.
func getBackup(q *request) error {
	_, snap, err := q.api.store.HeldSnapshot(q.dbName)
	if err != nil {
		return err
	}
	defer snap.Close()
	q.veil(snap)
	if snap.Veiled() {
		return errNotKeeper // what is hidden from somebody is no backup
	}
	figures, err := snap.Settings()
	if err != nil {
		return err
	}
	h := q.w.Header()
	h["Content-Type"] = backupType
	h.Set("X-Mangrove-Documents", strconv.FormatUint(figures.Docs, 10))
	h.Set("X-Mangrove-Deleted", strconv.FormatUint(figures.Deleted, 10))
	h.Set("X-Mangrove-Update-Seq", snap.FormatSeq(snap.Seq()))
	q.w.WriteHeader(http.StatusOK)
	if q.Method == http.MethodHead {
		return nil
	}
	task := q.api.store.BeginTask("backup", q.dbName, "")
	defer task.End()
	task.Advance(0, figures.Docs+figures.Deleted)
	out := &patient{q.w, http.NewResponseController(q.w)}
	err = backup.Write(q.Context(), out, snap, backup.WriteOptions{
		Version: q.api.version, NoLocal: q.params().Get("local") == "false", Progress: func() { task.Advance(1, 0) },
	})
	if err != nil {
		return q.broken(err)
	}
	_ = out.SetWriteDeadline(time.Time{}) // the connection serves other requests
	return nil
}

// patient gives up on a client that takes nothing for too long.
type patient struct {
	w http.ResponseWriter
	*http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.SetWriteDeadline(time.Now().Add(backupSilence)) // a connection that cannot have one is not waited for either
	return p.w.Write(b)
}
