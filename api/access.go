package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/internal/dbname"
	"github.com/mangrove-db/mangrove/replicator"
	"github.com/mangrove-db/mangrove/storage"
)

// access says who may use a resource. Server administrators may use all.
type access uint8

const (
	// Where nothing else is said a resource is, below a database, for its members, and elsewhere for nobody.
	_ access = iota
	// accessPublic is for everybody, unless nobody may be anonymous.
	accessPublic
	// accessUp is for those who look after the node: anonymous they can be let in where others cannot.
	accessUp
	// accessSession is for everybody; to sign in, always.
	accessSession
	// accessUser is for whoever has a name.
	accessUser
	// accessMetrics is for those with the role of that name.
	accessMetrics
	// accessNames is for everybody if the configuration says so.
	accessNames
	// accessDatabase is for members, but to make and delete databases for nobody.
	accessDatabase
	// accessRows is for members, but not in the system's databases, where it would show who has accounts.
	accessRows
	// accessFeed is likewise, whatever may be listed.
	accessFeed
	// accessSetting is for members to read, and for administrators of the database to write.
	accessSetting
	// accessKeeping is for administrators of the database.
	accessKeeping
	// accessServer is for nobody.
	accessServer
)

// authorize tells whether the user may use the resource.
func (q *request) authorize(r *resource) error {
	if err := q.requireUser(r); err != nil {
		return err
	}
	if q.user.Admin() {
		q.keeper = true
		return nil
	}
	switch r.access {
	case accessPublic, accessUp, accessSession:
		return nil
	case accessUser:
		if q.user.Anonymous() {
			return errNotUser
		}
		return nil
	case accessMetrics:
		if q.user.Metrics() {
			return nil
		}
		return errNotMetrics
	case accessNames:
		if !q.config.AdminOnlyAllDBs {
			return nil
		}
		return errNotAdmin
	case accessServer:
		return errNotAdmin
	}
	if q.dbName == "" {
		return errNotAdmin
	}
	return q.authorizeDatabase(r.access)
}

// requireUser refuses anonymous requests if the configuration says so.
func (q *request) requireUser(r *resource) error {
	c := q.config
	if !q.user.Anonymous() || !c.RequireValidUser && !c.Auth.RequireUserExceptForUp {
		return nil
	}
	if r.access == accessSession && q.Method == http.MethodPost || r.access == accessUp && c.Auth.RequireUserExceptForUp {
		return nil
	}
	return errLoginRequired
}

// authorizeDatabase tells whether the user, who is no server administrator, may use a resource of the database that the
// path names.
func (q *request) authorizeDatabase(level access) error {
	changing := q.Method == http.MethodPut || q.Method == http.MethodDelete
	users := dbname.IsUsers(q.dbName)
	switch {
	case strings.HasPrefix(q.dbName, "_") && q.dbName != dbname.Users && q.dbName != dbname.Replicator:
		return errNotAdmin
	case level == accessDatabase && changing:
		return errNotAdmin
	case level == accessFeed && q.selective(), level == accessRows && q.selective() && !(users && q.usersListed()):
		return errNotAdmin
	}
	db, err := q.db()
	if err != nil {
		return err
	}
	security, err := q.security(db)
	if err != nil {
		return err
	}
	q.keeper = security.Admin(q.user)
	switch {
	case !security.Member(q.user):
		return q.refused(errNotMember, errNotAllowed)
	case q.keeper:
	case level == accessKeeping:
		return errNotKeeper
	case level == accessSetting && changing:
		return errNotDesigner
	case users && document.IsDesign(q.docID) && !changing && q.Method != "COPY":
		return errHiddenDesign
	}
	return nil
}

// usersListed tells whether everybody may list accounts, of which they see the public fields.
func (q *request) usersListed() bool {
	return q.config.Auth.UsersPublic && len(q.config.Auth.PublicFields) > 0
}

// stillMember returns errShutOut if the user of a feed, which may last for weeks, has lost the right to read the database
// meanwhile.
func (q *request) stillMember(db *storage.DB) error {
	if q.user.Admin() {
		return nil
	}
	security, err := q.security(db)
	if err == nil && !security.Member(q.user) {
		err = errShutOut
	}
	return err
}

// refused is the error for somebody who may not do something: anonymous users are asked who they are.
func (q *request) refused(anonymous, other error) error {
	if q.user.Anonymous() {
		return anonymous
	}
	return other
}

// security returns who may do what in a database. If nobody can tell, nobody but server administrators may do anything.
func (q *request) security(db *storage.DB) (auth.Security, error) {
	object, err := db.Security()
	if err != nil {
		return auth.Security{}, err
	}
	if object == nil {
		object = []byte(auth.ClosedSecurity)
	}
	s, err := q.api.securities.Parse(object)
	if err != nil {
		return q.api.securities.Parse([]byte(auth.ClosedSecurity))
	}
	return s, nil
}

// admit checks a document that is to be written, as far as validation functions cannot: what is written into the
// system's databases, and by whom design documents are. The document may be changed by it.
func (q *request) admit(d *document.Document, mode storage.Mode) error {
	switch {
	case dbname.IsUsers(q.dbName):
		if err := q.api.auth.PrepareUser(q.Context(), d, q.user, q.keeper); err != nil {
			return err
		}
	case dbname.IsReplicator(q.dbName):
		w := replicator.Writer{Name: q.user.Name, Roles: q.user.Roles, Admin: q.keeper, Server: q.user.Admin()}
		if err := replicator.Guard(d, w, mode == storage.Replicate); err != nil {
			return err
		}
		if err := q.guardSuccessor(d, w, mode); err != nil {
			return err
		}
	}
	if document.IsDesign(d.ID) && !q.keeper {
		return q.refused(errNotDesigner, errDesignForbidden)
	}
	return nil
}

// guardSuccessor checks that a document of a replicator database may take the place of what is there.
func (q *request) guardSuccessor(d *document.Document, w replicator.Writer, mode storage.Mode) error {
	if w.Server || document.IsLocal(d.ID) {
		return nil
	}
	db, err := q.db()
	if err != nil {
		return err
	}
	snap, err := db.Snapshot() // without a veil: the user need not see what is looked at
	if err != nil {
		return err
	}
	defer snap.Close()
	row, err := snap.Lookup(d.ID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && row.Deleted {
		return nil
	}
	if err != nil {
		return err
	}
	rev := row.Rev
	if d.Deleted && mode == storage.Edit {
		rev = d.Rev // of several that are in conflict each may be somebody else's
	}
	old, err := revision(&row, rev)
	if errors.Is(err, errMissing) || errors.Is(err, storage.ErrNotFound) {
		return nil // there is nothing that asks for a replication
	}
	if err != nil {
		return err
	}
	return replicator.GuardSuccessor(d, old, w)
}

// selective tells whether admit has to be asked about all documents of the database that the path names, and not just
// about design documents.
func (q *request) selective() bool { return dbname.IsUsers(q.dbName) || dbname.IsReplicator(q.dbName) }

// veil hides from the user what they may not see of a snapshot's documents. In the system's databases, everybody who
// does not administer them sees little of what others have written.
func (q *request) veil(s *storage.Snapshot) {
	if show := q.visible(); show != nil {
		s.Veil(show)
	}
}

// visible returns what changes documents of the database that the path names to what the user may see of them, or
// returns storage.ErrNotFound; nil if they may see everything.
func (q *request) visible() func(*document.Document) error {
	switch {
	case q.keeper:
	case dbname.IsUsers(q.dbName):
		return func(d *document.Document) error { return auth.ShowUser(&q.config.Auth, d, q.user) }
	case dbname.IsReplicator(q.dbName):
		return func(d *document.Document) error { return replicator.Conceal(d, q.user.Name) }
	}
	return nil
}

// viewOf opens a snapshot of a database, as the user may see it.
func (q *request) viewOf(db *storage.DB) (*storage.Snapshot, error) {
	s, err := db.Snapshot()
	if err == nil {
		q.veil(s)
	}
	return s, err
}
