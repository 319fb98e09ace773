package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mangrove-db/mangrove/auth"
	"github.com/mangrove-db/mangrove/config"
)

// userFlags are the flags of the user commands as given.
type userFlags struct {
	node     string
	insecure bool
	admin    bool
	offline  bool
	roles    []string
	sources  config.Options
}

func newUser() *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Make accounts and change passwords",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a command is needed: add or passwd")
		},
	}
	c.AddCommand(newUserAdd(), newUserPasswd())
	return c
}

const userHelp = `

The new password is asked for, or read as a line from standard input: it never
stands on the command line, where others could see it.

The account is that of a running node (--node), which is asked in the name of
one of its administrators: from the URL (http://name:password@host:5984), from
COUCHDB_USER and COUCHDB_PASSWORD, or asked for. With --offline the node's
configuration file is changed instead, which holds the administrators; a node
that runs meanwhile learns of it when it starts again.

Exit codes: 0 when it is done, 1 if not, 2 if the command line is wrong.`

func newUserAdd() *cobra.Command {
	var f userFlags
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make an account",
		Long:  `Add makes an account: an entry of the database _users or, with --admin, an administrator of the node.` + userHelp,
		Example: `  mangrove user add ann
  mangrove user add ann --role gardener --node https://db.example:6984
  echo "$PASSWORD" | COUCHDB_USER=admin COUCHDB_PASSWORD=secret mangrove user add ann
  mangrove user add root --admin --offline --data /var/lib/mangrove`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], f.add, "was made") },
	}
	f.register(c)
	c.Flags().StringSliceVar(&f.roles, "role", nil, "roles of the account; may be repeated")
	return c
}

func newUserPasswd() *cobra.Command {
	var f userFlags
	c := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Change the password of an account",
		Long:  `Passwd gives an account a new password. All its sessions end.` + userHelp,
		Example: `  mangrove user passwd ann
  mangrove user passwd admin --admin
  mangrove user passwd admin --admin --offline --data /var/lib/mangrove   # it was lost`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args[0], f.change, "has its new password")
		},
	}
	f.register(c)
	return c
}

func (f *userFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.admin, "admin", false, "an administrator of the node")
	flags.StringVar(&f.node, "node", "http://127.0.0.1:5984", "the node's URL")
	flags.BoolVar(&f.insecure, "insecure", false, "do not check the node's certificate")
	flags.BoolVar(&f.offline, "offline", false, "change the configuration file; administrators only")
	flags.StringVar(&f.sources.Data, "data", "", `with --offline: data directory (default "data")`)
	flags.StringVar(&f.sources.File, "config", "", "with --offline: configuration file (default mangrove.ini in the data directory)")
}

// accounts are what the commands work on.
type accounts interface {
	// exists tells whether there is an account of that name.
	exists(ctx context.Context, name string) (bool, error)
	// store makes the account, or gives it another password.
	store(ctx context.Context, name, password string, roles []string) error
}

func (f *userFlags) run(cmd *cobra.Command, name string, do func(context.Context, accounts, *input, string) error, done string) error {
	switch {
	case f.offline && !f.admin:
		return errors.New("--offline needs --admin: other accounts are in the database, which only a running node can change")
	case f.admin && len(f.roles) > 0:
		return errors.New("--admin and --role exclude each other: administrators may do everything")
	case name == "" || strings.Contains(name, ":"):
		return fmt.Errorf("the name %q cannot be used: it must not be empty, nor have a colon", name)
	}
	in := newInput(cmd.InOrStdin(), cmd.ErrOrStderr())
	of, err := f.open(in)
	if err == nil {
		err = do(cmd.Context(), of, in, name)
	}
	if f.admin && errors.Is(err, errNoNode) {
		err = fmt.Errorf("%w (administrators can also be changed with --offline)", err)
	}
	if err != nil {
		return failure{err}
	}
	kind := "account"
	if f.admin {
		kind = "administrator"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", kind, name, done)
	return nil
}

func (f *userFlags) add(ctx context.Context, of accounts, in *input, name string) error {
	switch found, err := of.exists(ctx, name); {
	case err != nil:
		return err
	case found:
		return fmt.Errorf("%s exists already; change the password with \"mangrove user passwd\"", name)
	}
	return f.set(ctx, of, in, name)
}

func (f *userFlags) change(ctx context.Context, of accounts, in *input, name string) error {
	switch found, err := of.exists(ctx, name); {
	case err != nil:
		return err
	case !found && f.admin:
		return fmt.Errorf("there is no administrator %s", name)
	case !found:
		return fmt.Errorf("there is no account %s; if it is an administrator of the node add --admin", name)
	}
	return f.set(ctx, of, in, name)
}

func (f *userFlags) set(ctx context.Context, of accounts, in *input, name string) error {
	password, err := in.newPassword(name)
	if err != nil {
		return err
	}
	return of.store(ctx, name, password, f.roles)
}

// open finds what the flags mean.
func (f *userFlags) open(in *input) (accounts, error) {
	if f.offline {
		cfg, err := config.Load(f.sources)
		return &fileAdmins{cfg}, err
	}
	u, err := url.Parse(f.node)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("--node must be the URL of a node, such as http://127.0.0.1:5984")
	}
	if u.User == nil {
		if u.User, err = administrator(in); err != nil {
			return nil, err
		}
	}
	n := newNodeClient(u, f.insecure)
	if f.admin {
		return &nodeAdmins{n}, nil
	}
	return &nodeUsers{n}, nil
}

// administrator is who the node is asked by.
func administrator(in *input) (*url.Userinfo, error) {
	if name := os.Getenv("COUCHDB_USER"); name != "" {
		return url.UserPassword(name, os.Getenv("COUCHDB_PASSWORD")), nil
	}
	if _, ok := in.terminal(); !ok {
		return nil, errors.New("which administrator asks? Set COUCHDB_USER and COUCHDB_PASSWORD")
	}
	name, err := in.line("Name of an administrator of the node [admin]: ")
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "admin"
	}
	password, err := in.password("Password of " + name + ": ")
	return url.UserPassword(name, password), err
}

// fileAdmins are the administrators in a configuration file.
type fileAdmins struct{ cfg *config.Config }

func (a *fileAdmins) exists(_ context.Context, name string) (bool, error) {
	_, ok := a.cfg.Snapshot().Get("admins", name)
	return ok, nil
}

func (a *fileAdmins) store(_ context.Context, name, password string, _ []string) error {
	s := a.cfg.Snapshot()
	hash, err := auth.HashPassword(password, s.PasswordPRF, s.PasswordIterations)
	if err != nil {
		return err
	}
	_, err = a.cfg.Set("admins", name, hash, true)
	return err
}

// nodeAdmins are the administrators of a running node.
type nodeAdmins struct{ node *nodeClient }

func adminPath(name string) string { return "/_node/_local/_config/admins/" + url.PathEscape(name) }

func (a *nodeAdmins) exists(ctx context.Context, name string) (bool, error) {
	return a.node.get(ctx, adminPath(name), nil)
}

func (a *nodeAdmins) store(ctx context.Context, name, password string, _ []string) error {
	if password != strings.TrimSpace(password) {
		return errors.New("an administrator's password cannot begin or end with a blank")
	}
	return a.node.send(ctx, http.MethodPut, adminPath(name), password)
}

// nodeUsers are the accounts in the database of a running node.
type nodeUsers struct{ node *nodeClient }

const userPrefix = "org.couchdb.user:"

func userPath(name string) string { return "/_users/" + url.PathEscape(userPrefix+name) }

func (u *nodeUsers) exists(ctx context.Context, name string) (bool, error) {
	return u.node.get(ctx, userPath(name), nil)
}

// store keeps whatever else an account has.
func (u *nodeUsers) store(ctx context.Context, name, password string, roles []string) error {
	doc := map[string]any{}
	found, err := u.node.get(ctx, userPath(name), &doc)
	if err != nil {
		return err
	}
	if !found {
		if roles == nil {
			roles = []string{}
		}
		doc = map[string]any{"_id": userPrefix + name, "type": "user", "name": name, "roles": roles}
	}
	doc["password"] = password
	return u.node.send(ctx, http.MethodPut, userPath(name), doc)
}
