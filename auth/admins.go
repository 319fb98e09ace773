package auth

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/mangrove-db/mangrove/config"
)

// Account is a name with its password in clear, for the moment it is made.
type Account struct{ Name, Password string }

// Prepared says what PrepareAdmins did.
type Prepared struct {
	// Created is the administrator that was made because there was none; its
	// password is stored hashed and known from nowhere else. Nil if there was one.
	Created *Account
	// Unwritten are names whose hashed password is in force but could not be
	// written to the file, and why.
	Unwritten map[string]error
	// Malformed are names nobody can sign in with: their hash is damaged.
	Malformed []string
}

// PrepareAdmins sees to it, at start, that there is an administrator and that
// no password is left in clear: those of the section [admins] are hashed and
// written back; given, if not nil, is made an administrator or gets its new
// password; and if there is still no administrator one named "admin" is made,
// with a random password. That one must be written: the error says why not.
func PrepareAdmins(cfg *config.Config, given *Account) (Prepared, error) {
	p := Prepared{Unwritten: map[string]error{}}
	if given != nil {
		if given.Name == "" || given.Password == "" {
			return p, fmt.Errorf("an administrator needs a name and a password, and one is empty")
		}
		if strings.Contains(given.Name, ":") {
			return p, fmt.Errorf("administrator %q: a name that is sent with a password cannot have a colon", given.Name)
		}
		stored, _ := cfg.Snapshot().Get("admins", given.Name)
		if !verifyPassword(stored, given.Password) {
			if err := p.store(cfg, *given); err != nil {
				return p, err
			}
		}
	}
	if err := p.hashAll(cfg); err != nil {
		return p, err
	}
	if len(cfg.Snapshot().Section("admins")) > 0 {
		return p, nil
	}
	created := Account{"admin", rand.Text()}
	if err := p.store(cfg, created); err != nil {
		return p, err
	}
	if err := p.Unwritten[created.Name]; err != nil {
		return p, fmt.Errorf("the first administrator's password cannot be stored: %w", err)
	}
	p.Created = &created
	return p, nil
}

// HashAdmins hashes the passwords of the section [admins] that are still in
// clear, because someone has written them into the file, and writes them back.
// It makes no administrator.
func HashAdmins(cfg *config.Config) (Prepared, error) {
	p := Prepared{Unwritten: map[string]error{}}
	return p, p.hashAll(cfg)
}

func (p *Prepared) hashAll(cfg *config.Config) error {
	for name, value := range cfg.Snapshot().Section("admins") {
		if !Hashed(value) {
			if err := p.store(cfg, Account{name, value}); err != nil {
				return err
			}
		} else if _, err := parseHash(value); err != nil {
			p.Malformed = append(p.Malformed, name)
		}
	}
	return nil
}

// store puts the account's hash in force, and in the file if that can be.
func (p *Prepared) store(cfg *config.Config, a Account) error {
	s := cfg.Snapshot()
	value, err := HashPassword(a.Password, s.PasswordPRF, s.PasswordIterations)
	if err != nil {
		return err
	}
	if _, err := cfg.Set("admins", a.Name, value, true); err != nil {
		p.Unwritten[a.Name] = err
		if _, err := cfg.Set("admins", a.Name, value, false); err != nil {
			return fmt.Errorf("administrator %q: %w", a.Name, err)
		}
	}
	return nil
}
