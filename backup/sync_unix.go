//go:build !windows

package backup

import (
	"errors"
	"os"
)

// syncFolder makes durable what names a folder has.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
