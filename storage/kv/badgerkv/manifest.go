package badgerkv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// tornManifest says that the list of tables ends within an entry, and that there are tables that it does not list.
// Badger cuts the list there and removes the tables. After a power failure that is right: what they hold is in others,
// or in the logs. It is a loss if the file was damaged otherwise.
type tornManifest struct{ tables []string }

func (t *tornManifest) Error() string {
	return fmt.Sprintf("the file %s ends in the middle of an entry and does not list %s: a node that starts goes without, which loses nothing after a power failure, but does if the file was damaged",
		badger.ManifestFilename, strings.Join(t.tables, ", "))
}

// checkManifest refuses a folder that has tables but not the manifest that lists them: Badger would take it for an empty
// one and remove the tables. The error is a *tornManifest if a part of the list is missing. What else may be wrong with
// the list Badger tells.
func checkManifest(o badger.Options) error {
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return err
	}
	tables := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) != ".sst" })
	if len(tables) == 0 {
		return nil
	}
	f, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the file %s is missing, and without it the tables beside it cannot be read", badger.ManifestFilename)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	list, end, err := badger.ReplayManifestFile(f, o.ExternalMagicVersion, o)
	if err != nil || end == info.Size() {
		return nil
	}
	torn := &tornManifest{}
	for _, t := range tables {
		id, err := strconv.ParseUint(strings.TrimSuffix(t.Name(), ".sst"), 10, 64)
		if _, listed := list.Tables[id]; err == nil && !listed {
			torn.tables = append(torn.tables, t.Name())
		}
	}
	if len(torn.tables) == 0 {
		return nil
	}
	return torn
}
