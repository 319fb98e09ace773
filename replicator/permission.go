package replicator

import (
	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/storage"
)

// principal is on whose behalf the peer works.
func (l *Local) principal() auth.Principal {
	return auth.Principal{Name: l.subject.Name, Roles: l.subject.Roles}
}

// trusted tells whether the peer may do everything: it works for a server administrator, or for this process itself.
func (l *Local) trusted() bool { return l.designs == nil || l.principal().Admin() }

// security returns who may do what in the database.
func (l *Local) security(db *storage.DB) (auth.Security, error) {
	object, err := db.Security()
	if err != nil {
		return auth.Security{}, err
	}
	if object == nil {
		object = []byte(auth.ClosedSecurity)
	}
	return auth.ParseSecurity(object)
}

// permit returns ErrUnauthorized if the subject may not use the database: a replication may do no more than who asked
// for it could do by themselves.
func (l *Local) permit(db *storage.DB) error {
	if l.trusted() {
		return nil
	}
	if systemDatabase(l.name) {
		return ErrUnauthorized
	}
	s, err := l.security(db)
	if err != nil {
		return err
	}
	if !s.Member(l.principal()) {
		return ErrUnauthorized
	}
	return nil
}

// designer tells whether the subject may write design documents.
func (l *Local) designer(db *storage.DB) (bool, error) {
	if l.trusted() {
		return true, nil
	}
	s, err := l.security(db)
	return s.Admin(l.principal()), err
}
