package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mangrove-db/mangrove/backup"
)

// restoreFlags are the flags of restore as given.
type restoreFlags struct {
	place   placeFlags
	options backup.FolderOptions
}

func newRestore() *cobra.Command {
	var f restoreFlags
	c := &cobra.Command{
		Use:   "restore FILE|FOLDER|- [DATABASE | URL]",
		Short: "Bring databases back from files",
		Long: `Restore writes a backup into a database of a running node: the one it came from,
or another, under any name. It takes files of "mangrove backup" and of the tool
couchbackup, compressed by gzip or not, and "-" for standard input.

A file is read twice: what was cut or changed is refused before anything is
written. Standard input can be read only once; if it turns out to be cut, the
command fails at the end.

The database is made if it is not there; one that has documents is refused. With
--merge a backup is brought into it: revisions that it lacks join those that it
has, which loses nothing and makes conflicts where both were changed. That is
also how a restore that was interrupted goes on: run it again with --merge.

The security object and the limits of the backup's database come first, design
documents come last. With --merge, and documents there, settings stay as they
are.

A folder that "mangrove backup" has made is restored as a whole, each database
under its name; then URL is that of a node. Databases of replications are left
out unless --replications says otherwise: their replications would begin at once.

An administrator of the node may do this.
` + credentialsHelp + `

Exit codes: 0 when everything is there, 1 if not, or if documents were refused,
2 if the command line is wrong.`,
		Example: `  mangrove restore garden.jsonl.gz garden
  mangrove restore garden.jsonl.gz https://admin:secret@db.example/garden-copy
  mangrove restore /backups/2026-01-31 https://admin:secret@new.example/
  gpg -d garden.gpg | mangrove restore - garden`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1:]) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.options.Merge, "merge", false, "restore into a database that has documents")
	flags.BoolVar(&f.options.NoSettings, "no-settings", false, "leave security object and limits as they are")
	flags.BoolVar(&f.options.Replications, "replications", false, "restore _replicator databases of a folder too")
	flags.IntVar(&f.options.Connections, "connections", backup.DefaultConnections, "batches sent at the same time")
	f.place.register(c)
	return c
}

func (f *restoreFlags) run(cmd *cobra.Command, from string, target []string) error {
	base, db, err := f.place.find(target)
	if err != nil {
		return err
	}
	if f.options.Connections < 1 {
		return errors.New("--connections must be 1 at least")
	}
	info, err := os.Stat(from)
	if err != nil && from != "-" {
		return failure{err}
	}
	folder := err == nil && from != "-" && info.IsDir()
	switch {
	case folder && db != "":
		return fmt.Errorf("%s is a folder: its databases keep their names, and the target is a node, such as http://127.0.0.1:5984/", from)
	case !folder && db == "":
		return errors.New("which database is to be restored? Name it, or give its URL")
	}
	m := newMeter(cmd.ErrOrStderr(), f.place.quiet)
	defer m.end()
	client := f.place.client(base, m)
	defer client.Close()
	out := cmd.OutOrStdout()
	var refused uint64
	tell := func(db string, r *backup.Restored) {
		refused += r.Refused
		for _, reason := range r.Reasons {
			m.say("refused: %s", reason)
		}
		if r.Ignored > 0 {
			m.say("%s: %d lines were left out: couchbackup was interrupted there, and wrote them again", db, r.Ignored)
		}
		m.print(out, "%s: %d documents, %d revisions written, %d were there already, %d refused", db, r.Documents, r.Written, r.Present, r.Refused)
	}
	if folder {
		err = client.RestoreAll(cmd.Context(), from, f.options, func(s backup.Saved, r *backup.Restored) {
			if r == nil {
				m.say("%s is left out: its replications would begin at once (--replications)", s.Database)
				return
			}
			tell(s.Database, r)
		})
	} else {
		err = f.one(cmd, client, from, db, tell)
	}
	if err == nil && refused > 0 {
		err = fmt.Errorf("%d revisions were refused by the target", refused)
	}
	if err != nil {
		m.end()
		return failure{err}
	}
	return nil
}

func (f *restoreFlags) one(cmd *cobra.Command, client *backup.Client, from, db string, tell func(string, *backup.Restored)) error {
	in, name := cmd.InOrStdin(), from
	if from == "-" {
		name = "standard input"
	} else {
		file, err := os.Open(from)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	r, err := client.Restore(cmd.Context(), in, db, f.options.RestoreOptions)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	tell(db, r)
	return nil
}
