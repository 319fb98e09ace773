package badgerkv

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// space watches the room on the disk. Badger writes through memory maps, where a full disk is not an error but a
// fatal signal; so writes stop while there is still room for what the engine has yet to flush and merge.
//
// Others may fill the disk meanwhile. So a file holds some room, which is given up when the engine is opened or
// closed and would not find enough, and taken again when there is.
type space struct {
	dir     string
	reserve uint64 // below this, writes are refused
	floor   uint64 // below this, even those that free something
	held    uint64 // size of the file
	log     *slog.Logger

	seen atomic.Int64  // when lately looked, in Unix nanoseconds
	free atomic.Uint64 // what it saw

	mu      sync.Mutex
	holding bool
	full    bool // as last told to the log
}

// heldSpace is enough to write down all tables in memory, at the default budget.
const heldSpace = 64 << 20

const reserveFile = "reserve"

func newSpace(dir string, reserve int64, log *slog.Logger) *space {
	r := uint64(reserve)
	s := &space{dir: dir, reserve: r, floor: r / 4, held: min(heldSpace, r/2), log: log}
	_, err := os.Stat(s.file())
	s.holding = err == nil
	return s
}

func (s *space) file() string { return filepath.Join(s.dir, reserveFile) }

// check returns kv.ErrNoSpace if there is too little room for new data. It costs one system call.
func (s *space) check() error { return s.require(s.reserve) }

// checkFloor returns kv.ErrNoSpace if there is too little room for any change.
func (s *space) checkFloor() error { return s.require(s.floor) }

func (s *space) require(bytes uint64) error {
	free, err := s.lately()
	if err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	if free < bytes {
		return fmt.Errorf("%w: %d MiB are free, %d MiB must be", kv.ErrNoSpace, free>>20, bytes>>20)
	}
	return nil
}

// fresh is how long a look at the disk is good for: a few megabytes are written in it at most, and many small writes
// ask often.
const fresh = 10 * time.Millisecond

// lately returns how many bytes are free, or were just now.
func (s *space) lately() (uint64, error) {
	now := time.Now().UnixNano()
	if age := now - s.seen.Load(); age >= 0 && age < int64(fresh) {
		return s.free.Load(), nil
	}
	free, err := freeSpace(s.dir)
	if err != nil {
		return 0, err
	}
	s.free.Store(free)
	s.seen.Store(now)
	s.note(free)
	return free, nil
}

// note tells the log when the disk has become full or has room again, and holds the reserve when it can.
func (s *space) note(free uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holding && free >= s.reserve+s.held {
		s.hold()
	}
	full := free < s.reserve
	if full == s.full {
		return
	}
	s.full = full
	if full {
		s.log.Warn("the disk is nearly full: writes are refused until there is room", "free_mib", free>>20, "needed_mib", s.reserve>>20)
	} else {
		s.log.Info("there is room on the disk again", "free_mib", free>>20)
	}
}

func (s *space) hold() {
	f, err := os.OpenFile(s.file(), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(allocate(f, int64(s.held)), f.Close())
	}
	if err != nil {
		// Without it writes are still refused early enough, unless others fill the disk.
		s.log.Debug("holding a reserve on the disk failed", "error", err)
		_ = os.Remove(s.file())
	}
	s.holding = true
}

// make sees to it that the engine finds room for bytes, if need be by giving up the reserve.
func (s *space) make(bytes uint64) error {
	free, err := freeSpace(s.dir)
	if err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if free < bytes && s.holding {
		s.log.Warn("the disk is full: the reserve is given up", "free_mib", free>>20)
		if err := os.Remove(s.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.holding = false
		if free, err = freeSpace(s.dir); err != nil {
			return err
		}
	}
	if free < bytes {
		return fmt.Errorf("%w: %d MiB are free, the engine needs %d MiB", kv.ErrNoSpace, free>>20, bytes>>20)
	}
	return nil
}

// noSpace gives the operating system's word for a full disk or quota the name that the seam has for it.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || isQuota(err) {
		return fmt.Errorf("%w: %w", kv.ErrNoSpace, err)
	}
	return err
}
