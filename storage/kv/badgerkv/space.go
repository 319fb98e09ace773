package badgerkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/mangrove-db/mangrove/storage/kv"
)

// space watches the room on the disk. Badger writes through memory maps, where a full disk is not an error but a
// fatal signal; so writes stop while there is still room for what the engine has yet to flush and merge. Against
// others who fill the disk meanwhile, a file holds some of that room; it is given up when the room is needed, and
// taken again when there is enough.
type space struct {
	dir     string
	reserve uint64 // below this, no writes
	held    uint64 // size of the file
	log     *slog.Logger

	mu      sync.Mutex
	holding bool
	full    bool // as last told to the log
}

// heldSpace is enough to write down all tables in memory, at the default budget.
const heldSpace = 64 << 20

const reserveFile = "reserve"

func newSpace(dir string, reserve int64, log *slog.Logger) *space {
	s := &space{dir: dir, reserve: uint64(reserve), held: min(heldSpace, uint64(reserve)/2), log: log}
	_, err := os.Stat(s.file())
	s.holding = err == nil
	return s
}

func (s *space) file() string { return filepath.Join(s.dir, reserveFile) }

// check returns kv.ErrNoSpace if less than the reserve is free. It costs one system call.
func (s *space) check() error {
	free, err := freeSpace(s.dir)
	if err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case free < s.held && s.holding:
		s.releaseLocked()
	case free >= s.reserve+2*s.held && !s.holding:
		s.holdLocked()
	}
	full := free < s.reserve
	if full != s.full {
		s.full = full
		if full {
			s.log.Warn("the disk is nearly full: writes are refused until there is room", "free_mib", free>>20, "needed_mib", s.reserve>>20)
		} else {
			s.log.Info("there is room on the disk again", "free_mib", free>>20)
		}
	}
	if full {
		return fmt.Errorf("%w: %d MiB are free, %d MiB must be", kv.ErrNoSpace, free>>20, s.reserve>>20)
	}
	return nil
}

// watch looks for room even while nobody writes: what the engine does by itself may need it.
func (s *space) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.check() // its word is for writers; here only the file counts
		case <-ctx.Done():
			return
		}
	}
}

// yield gives up the held room if the disk is full, because the engine is about to need it.
func (s *space) yield() {
	free, err := freeSpace(s.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && free < s.held && s.holding {
		s.releaseLocked()
	}
}

func (s *space) releaseLocked() {
	if err := os.Remove(s.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the disk is full, and giving up the reserve failed", "error", err)
		return
	}
	s.holding = false
	s.log.Warn("the disk is full: the reserve was given up")
}

func (s *space) holdLocked() {
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

// noSpace gives the operating system's word for a full disk or quota the name that the seam has for it.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || isQuota(err) {
		return fmt.Errorf("%w: %w", kv.ErrNoSpace, err)
	}
	return err
}
