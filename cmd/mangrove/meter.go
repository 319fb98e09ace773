package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/mangrove-db/mangrove/backup"
)

// meter shows how far a backup, a restore or a check is: as a bar on a terminal, as lines elsewhere.
type meter struct {
	progress *backup.Progress
	out      io.Writer
	began    time.Time
	terminal bool
	stop     chan struct{}
	stopped  sync.WaitGroup

	mu    sync.Mutex // held while something is shown
	bar   *progressbar.ProgressBar
	stage string // that bar shows
}

func newMeter(out io.Writer, quiet bool) *meter {
	m := &meter{progress: &backup.Progress{}, out: out, began: time.Now(), stop: make(chan struct{})}
	if quiet {
		return m
	}
	interval := lineInterval
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		interval, m.terminal = barInterval, true
	}
	m.stopped.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.show()
			case <-m.stop:
				return
			}
		}
	})
	return m
}

// end takes the bar away. It may be called again.
func (m *meter) end() {
	select {
	case <-m.stop:
		return
	default:
	}
	close(m.stop)
	m.stopped.Wait()
	m.clear()
}

func (m *meter) clear() {
	if m.bar != nil {
		_ = m.bar.Clear() // only a terminal that is gone refuses
		_ = m.bar.Exit()
		m.bar, m.stage = nil, ""
	}
}

// say writes a line that stays.
func (m *meter) say(format string, args ...any) { m.print(m.out, format, args...) }

// print writes a line to w, where the bar may be too.
func (m *meter) print(w io.Writer, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	fmt.Fprintln(w, printable(fmt.Sprintf(format, args...)))
}

// printable replaces control characters. Names and reasons come from files and other machines, and a terminal would do
// what they tell it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func (m *meter) show() {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.progress
	stage, done, total, bytes := p.Stage.Load(), p.Done.Load(), p.Total.Load(), p.Bytes.Load()
	if stage == nil {
		return
	}
	if !m.terminal {
		of := ""
		if total > 0 {
			of = fmt.Sprintf(", %d %%", 100*min(done, total)/total)
		}
		fmt.Fprintf(m.out, "%s: %s, %s%s\n", time.Since(m.began).Round(time.Second), *stage, bytesOf(bytes), of)
		return
	}
	if m.stage != *stage {
		m.clear()
		m.stage = *stage
		length := total
		if length == 0 {
			length = -1
		}
		// A spinner of its own would go on when another stage has begun.
		m.bar = progressbar.NewOptions64(length, progressbar.OptionSetWriter(m.out), progressbar.OptionFullWidth(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(barInterval), progressbar.OptionSetSpinnerChangeInterval(0))
	}
	if total > 0 {
		m.bar.ChangeMax64(max(done, total))
	}
	m.bar.Describe(*stage + ", " + bytesOf(bytes))
	_ = m.bar.Set64(done)
}
