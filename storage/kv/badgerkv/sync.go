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
	"time"
)

// logFiles is what the last Sync knew of Badger's logs.
type logFiles struct {
	mem, value int       // the numbers of the newest memtable log and value log
	modified   time.Time // of the folder, if the numbers cannot change without it; else zero
}

// settled is the age at which a folder's time of modification tells apart what came before and after: well above
// the grain of the clocks of file systems.
const settled = 3 * time.Second

// logKind is a kind of log, by the form of its file names. Badger numbers each kind upwards.
type logKind string

const (
	memLog   logKind = "%05d.mem"
	valueLog logKind = "%06d.vlog"
)

func (k logKind) path(dir string, n int) string {
	return filepath.Join(dir, fmt.Sprintf(string(k), n))
}

// Sync makes everything durable that has been committed. Badger's own Sync flushes the memtable log and the value
// log that are being written now. One that was full and left behind since the last Sync is flushed here by name,
// together with the folder that holds the new files. A log that is gone has been turned into a table, which Badger
// syncs.
func (e *engine) Sync() error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	return e.sync()
}

func (e *engine) sync() error {
	e.syncing.Lock()
	defer e.syncing.Unlock()
	if err := e.db.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := e.syncOlder(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// syncOlder flushes the logs that are not the newest any more.
func (e *engine) syncOlder() error {
	// Looking at the folder's time of modification first spares most calls the reading of a folder that may be long.
	info, err := os.Stat(e.dir)
	if err != nil {
		return err
	}
	modified := info.ModTime()
	if modified.Equal(e.logs.modified) {
		return nil
	}
	now, logs, err := findLogs(e.dir)
	if err != nil {
		return err
	}
	if now != (logFiles{mem: e.logs.mem, value: e.logs.value}) {
		if err := errors.Join(
			e.syncBetween(memLog, logs[memLog], e.logs.mem, now.mem),
			e.syncBetween(valueLog, logs[valueLog], e.logs.value, now.value),
			syncDir(e.dir),
		); err != nil {
			return err
		}
	}
	if time.Since(modified) > settled {
		now.modified = modified
	}
	e.logs = now
	return nil
}

// syncBetween flushes those of logs that have a number from first up to, but not including, newest.
func (e *engine) syncBetween(kind logKind, logs []int, first, newest int) error {
	for _, n := range logs {
		if n < first || n >= newest {
			continue
		}
		if err := e.syncFile(kind.path(e.dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// findLogs returns the numbers of the logs in dir, and of each kind the newest.
func findLogs(dir string) (newest logFiles, logs map[logKind][]int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return newest, nil, err
	}
	logs = map[logKind][]int{}
	for _, entry := range entries {
		for _, kind := range []logKind{memLog, valueLog} {
			number, ok := strings.CutSuffix(entry.Name(), filepath.Ext(string(kind)))
			if !ok {
				continue
			}
			if n, err := strconv.Atoi(number); err == nil {
				logs[kind] = append(logs[kind], n)
			}
		}
	}
	// 0 stands for no log at all.
	newest.mem = slices.Max(append([]int{0}, logs[memLog]...))
	newest.value = slices.Max(append([]int{0}, logs[valueLog]...))
	return newest, logs, nil
}

// syncLogs flushes all logs in dir.
func syncLogs(dir string) error {
	_, logs, err := findLogs(dir)
	if err != nil {
		return err
	}
	for kind, numbers := range logs {
		for _, n := range numbers {
			if err := syncFile(kind.path(dir, n)); err != nil {
				return err
			}
		}
	}
	return syncDir(dir)
}

// logsSize returns the bytes on the disk that the memtable logs take up, which is about what their tables will.
func logsSize(dir string) (total uint64, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".mem" {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return 0, err
		}
		total += allocated(info)
	}
	return total, err
}

// syncFile flushes what has been written to a file by anybody.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
