package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mangrove-db/mangrove/internal/dbname"
)

// FolderOptions say what of a folder of backups is restored.
type FolderOptions struct {
	RestoreOptions
	// Replications restores the databases of replications as well. A node that has their documents begins to replicate.
	Replications bool
}

// RestoreAll restores the backups of a folder that SaveAll has made, each under the name that its database had. All of
// them are checked before anything is written. Done is called with what became of each; it is nil for one that was left
// out.
func (c *Client) RestoreAll(ctx context.Context, folder string, o FolderOptions, done func(Saved, *Restored)) error {
	m, err := ReadManifest(folder)
	if err != nil {
		return err
	}
	var wanted []Saved
	for _, s := range m.Databases {
		if dbname.IsReplicator(s.Database) && !o.Replications {
			done(s, nil)
			continue
		}
		wanted = append(wanted, s)
	}
	for _, s := range wanted {
		if err := c.compare(folder, s); err != nil {
			return fmt.Errorf("%s: %w", s.File, err)
		}
	}
	for _, s := range wanted {
		r, err := c.restoreFile(ctx, filepath.Join(folder, s.File), s.Database, o.RestoreOptions)
		if err != nil {
			return fmt.Errorf("database %s: %w", s.Database, err)
		}
		done(s, r)
	}
	return nil
}

// compare checks that a file is the one that the manifest tells of.
func (c *Client) compare(folder string, s Saved) error {
	f, err := os.Open(filepath.Join(folder, s.File))
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := openText(f)
	if err != nil {
		return err
	}
	found, err := c.check(in)
	if err != nil {
		return err
	}
	if found.Ending == nil || found.Ending.SHA256 != s.SHA256 || found.Origin == nil || found.Origin.Database != s.Database {
		return fmt.Errorf("%w: it is not the file that the manifest tells of", ErrChanged)
	}
	return nil
}

func (c *Client) restoreFile(ctx context.Context, path, db string, o RestoreOptions) (_ *Restored, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return c.Restore(ctx, f, db, o)
}
