package badgerkv

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// syncDir does nothing: Windows has no such call, and NTFS journals folder entries by itself.
func syncDir(string) error { return nil }

// freeSpace returns the bytes that this process may still write below dir.
func freeSpace(dir string) (uint64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return free, err
}

func isQuota(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// allocated returns the bytes that a file takes up on the disk, at most.
func allocated(info os.FileInfo) uint64 { return uint64(info.Size()) }
