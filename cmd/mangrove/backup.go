package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mangrove-db/mangrove/backup"
)

// backupFlags are the flags of backup as given.
type backupFlags struct {
	place   placeFlags
	output  string
	gzip    bool
	noLocal bool
	changes bool
}

// placeFlags say where databases are.
type placeFlags struct {
	node     string
	insecure bool
	quiet    bool
}

func (f *placeFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.node, "node", "http://127.0.0.1:5984", "the node that bare names are databases of")
	flags.BoolVar(&f.insecure, "insecure", false, "do not check the node's certificate")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
}

const credentialsHelp = `Credentials stand in the URL, or in COUCHDB_USER and COUCHDB_PASSWORD. They are
never shown, nor written into files.`

func newBackup() *cobra.Command {
	var f backupFlags
	c := &cobra.Command{
		Use:   "backup [DATABASE | URL]",
		Short: "Write databases of a running node into files",
		Long: `Backup writes a database into a file, or all databases of a node into a folder,
while the node goes on working. What is in the file is the database as it was at
one moment: all documents with their history, conflicts, deletions and
attachments, its security object and limits. Indexes are built again, and
checkpoints of replications are left out.

DATABASE is the name of a database of one node (--node), or its URL. Without it,
or with the URL of a node (http://host:5984/), all databases are written.

A file is there under its name only when it is complete: it is written beside
it, synced, read again and compared with the sum that the node made. A folder is
complete when it has a manifest.json.

The files are of the form of the tool couchbackup, which can restore them:
couchrestore --attachments.

Of a server that is no Mangrove, such as CouchDB, documents are gathered through
the replication protocol: everything that was there at the start is in the file,
and perhaps some of what came later.

An administrator of the database may do this; of all databases, one of the node.
` + credentialsHelp + `

Exit codes: 0 when the backup is complete, 1 if not, 2 if the command line is
wrong.`,
		Example: `  mangrove backup garden -o garden.jsonl.gz
  mangrove backup https://admin:secret@db.example/garden -o /backups
  mangrove backup -o /backups/$(date +%F) --gzip         # all databases
  mangrove backup garden -o - | gpg -e -r ops > garden.gpg`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.output, "output", "o", "", `file, folder, or "-" for standard output (default if it is no terminal)`)
	flags.BoolVar(&f.gzip, "gzip", false, `compress; files whose names end with ".gz" are compressed anyway`)
	flags.BoolVar(&f.noLocal, "no-local", false, "leave local documents out")
	flags.BoolVar(&f.changes, "changes", false, "gather the documents through the replication protocol in any case")
	f.place.register(c)
	return c
}

func (f *backupFlags) run(cmd *cobra.Command, args []string) error {
	base, db, err := f.place.find(args)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.output == "" {
		if file, ok := out.(*os.File); db == "" || ok && term.IsTerminal(int(file.Fd())) {
			return errors.New("where to? Add -o with a file or a folder")
		}
		f.output = "-"
	}
	if db == "" && f.output == "-" {
		return errors.New("all databases need a folder: add -o with its name")
	}
	m := newMeter(cmd.ErrOrStderr(), f.place.quiet)
	defer m.end()
	client := f.place.client(base, m)
	defer client.Close()
	o := backup.FetchOptions{NoLocal: f.noLocal, Changes: f.changes}
	switch {
	case db == "":
		err = f.all(cmd.Context(), client, m, o, out)
	case f.output == "-":
		err = f.stream(cmd.Context(), client, m, db, o, out)
	default:
		err = f.one(cmd.Context(), client, m, db, o, out)
	}
	if err != nil {
		m.end()
		return failure{err}
	}
	return nil
}

func (f *backupFlags) one(ctx context.Context, client *backup.Client, m *meter, db string, o backup.FetchOptions, out io.Writer) error {
	path := f.output
	if info, err := os.Stat(path); err == nil && info.IsDir() || strings.HasSuffix(path, string(filepath.Separator)) {
		path = filepath.Join(path, backup.FileName(db, f.gzip))
	}
	s, err := client.Save(ctx, db, path, f.gzip || strings.HasSuffix(path, ".gz"), o)
	if err != nil {
		return err
	}
	m.print(out, "%s", savedText(s))
	return nil
}

func (f *backupFlags) all(ctx context.Context, client *backup.Client, m *meter, o backup.FetchOptions, out io.Writer) error {
	manifest, err := client.SaveAll(ctx, f.output, f.gzip, o, func(s *backup.Saved) { m.print(out, "%s", savedText(s)) })
	if err != nil {
		return err
	}
	m.print(out, "%d databases are in %s", len(manifest.Databases), f.output)
	return nil
}

func (f *backupFlags) stream(ctx context.Context, client *backup.Client, m *meter, db string, o backup.FetchOptions, out io.Writer) error {
	s, err := client.FetchTo(ctx, db, out, f.gzip, o)
	if err != nil {
		return err
	}
	m.say("%s: %d documents, %d revisions, %s, up to sequence %s", db, s.Documents, s.Revisions, bytesOf(s.Bytes), s.Ending.UpdateSeq)
	return nil
}

func savedText(s *backup.Saved) string {
	text := fmt.Sprintf("%s: %d documents, %d revisions, %s in %s, up to sequence %s", s.Database, s.Documents, s.Revisions, bytesOf(s.Size), s.File, s.UpdateSeq)
	if !s.Snapshot {
		text += " or later"
	}
	if s.Missing > 0 {
		text += fmt.Sprintf("; %d revisions were not there to be read", s.Missing)
	}
	return text
}

// client is one that the meter watches.
func (f *placeFlags) client(base *url.URL, m *meter) *backup.Client {
	return backup.NewClient(base, backup.Options{
		UserAgent: "Mangrove/" + version, Version: version, Insecure: f.insecure, Progress: m.progress,
		Warn: func(text string) { m.say("%s", text) },
	})
}

// find turns a name or a URL into the node's URL and the name of a database, which is empty if all are meant.
func (f *placeFlags) find(args []string) (base *url.URL, db string, err error) {
	text := f.node
	if len(args) > 0 {
		if text = args[0]; !strings.Contains(text, "://") {
			if text == "" {
				return nil, "", errors.New("the name of the database is empty")
			}
			text = strings.TrimRight(f.node, "/") + "/" + url.PathEscape(text)
		}
	} else {
		text = strings.TrimRight(text, "/") + "/"
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// The text may have a password and is not shown.
		return nil, "", errors.New("not the URL of a node or a database, such as http://127.0.0.1:5984/garden")
	}
	if name := os.Getenv("COUCHDB_USER"); u.User == nil && name != "" {
		u.User = url.UserPassword(name, os.Getenv("COUCHDB_PASSWORD"))
	}
	path := u.EscapedPath()
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || slash == len(path)-1 {
		return u, "", nil
	}
	if db, err = url.PathUnescape(path[slash+1:]); err != nil {
		return nil, "", errors.New("the URL's path is malformed")
	}
	if u.Path, err = url.PathUnescape(path[:slash]); err != nil {
		return nil, "", errors.New("the URL's path is malformed")
	}
	u.RawPath = path[:slash]
	return u, db, nil
}
