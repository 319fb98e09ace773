package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/mangrove-db/mangrove/replicator"
)

// display shows how far a replication is: as a bar on a terminal, as lines elsewhere.
type display struct {
	progress *replicator.Progress
	out      io.Writer
	bar      *progressbar.ProgressBar // nil: lines
	began    time.Time
	stop     chan struct{}
	stopped  sync.WaitGroup
}

const (
	barInterval  = 100 * time.Millisecond
	lineInterval = 5 * time.Second
)

func newDisplay(out io.Writer, spec *replicator.Spec, quiet bool) *display {
	d := &display{progress: &replicator.Progress{}, out: out, began: time.Now(), stop: make(chan struct{})}
	if quiet {
		return d
	}
	interval := lineInterval
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		interval = barInterval
		d.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("looking"),
			progressbar.OptionShowCount(), progressbar.OptionSetItsString("docs"), progressbar.OptionShowIts(),
			progressbar.OptionFullWidth(), progressbar.OptionSetPredictTime(!spec.Continuous), progressbar.OptionThrottle(barInterval))
	} else {
		fmt.Fprintf(out, "replicating %s to %s\n", spec.Source.Redacted(), spec.Target.Redacted())
	}
	d.stopped.Go(func() { d.run(interval) })
	return d
}

func (d *display) run(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.show()
		case <-d.stop:
			return
		}
	}
}

// end shows the last state and gives the terminal back.
func (d *display) end() {
	close(d.stop)
	d.stopped.Wait()
	if d.bar != nil {
		d.show()
		_ = d.bar.Exit()
		fmt.Fprintln(d.out)
	}
}

func (d *display) show() {
	s, pending := d.progress.Stats(), d.progress.Pending()
	if d.bar == nil {
		fmt.Fprintf(d.out, "%s: %d revisions copied, %s, %s, %d refused\n",
			time.Since(d.began).Round(time.Second), s.Written, bytesOf(d.progress.Bytes()), pendingText(pending), s.Failed)
		return
	}
	if pending >= 0 {
		d.bar.ChangeMax64(s.Checked + pending)
	}
	d.bar.Describe(bytesOf(d.progress.Bytes()) + ", " + pendingText(pending))
	_ = d.bar.Set64(s.Checked) // only a terminal that is gone refuses
}

func pendingText(n int64) string {
	if n < 0 {
		return "pending unknown"
	}
	return fmt.Sprintf("%d pending", n)
}

func bytesOf(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, power := float64(n)/unit, 0
	for value >= unit && power < 4 {
		value /= unit
		power++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[power])
}
