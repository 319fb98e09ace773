package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mangrove-db/mangrove/config"
	"github.com/mangrove-db/mangrove/storage"
)

// checkFlags are the flags of check as given.
type checkFlags struct {
	sources  config.Options
	contents bool
	json     bool
	quiet    bool
	probe    bool
}

func newCheck() *cobra.Command {
	var f checkFlags
	c := &cobra.Command{
		Use:   "check",
		Short: "Look whether what a stopped node has stored is sound",
		Long: `Check opens the data directory of a node that does not run, and compares what is
stored with itself: the engine's tables with their checksums, revision trees with
bodies, documents with the update sequence, attachments with their references,
counters, and indexes. It tells everything that is wrong, and what to do about it.

Nothing that is stored is changed. (The engine may put what the last run has left
in its logs into its tables, as it does at every start.)

With --contents the attachments are read as well and compared with their sums:
that takes as long as reading the whole directory does.

With --json every problem is a line of JSON, and the last line a summary.

Exit codes: 0 if everything is sound, 1 if not, or if it could not be checked, 2
if the command line is wrong.`,
		Example: `  mangrove check --data /var/lib/mangrove
  mangrove check --contents --json > report.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			run := f.run
			if f.probe {
				run = f.open
			}
			if err := run(cmd); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.sources.Data, "data", "", `data directory (default "data")`)
	flags.StringVar(&f.sources.File, "config", "", `configuration file, which must exist (default mangrove.ini in the data directory, which need not)`)
	flags.BoolVar(&f.contents, "contents", false, "read attachments and compare them with their sums")
	flags.BoolVar(&f.json, "json", false, "write JSON")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	flags.BoolVar(&f.probe, "probe", false, "open the data and close it again")
	_ = flags.MarkHidden("probe") // there is such a flag
	return c
}

// open opens the data and closes it again. There is damage over which the engine ends the process; this is the process
// that it may end.
func (f *checkFlags) open(*cobra.Command) error {
	cfg, err := config.Load(f.sources)
	if err != nil {
		return err
	}
	s := cfg.Snapshot()
	store, err := storage.Open(storage.Options{Path: s.DataDir, Memory: s.Memory, ReadOnly: true})
	if err != nil {
		return err
	}
	return store.Close()
}

// crash has another process open the data, and returns what that said if it did not survive it.
func (f *checkFlags) crash(ctx context.Context) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	args := []string{"check", "--probe"}
	if f.sources.Data != "" {
		args = append(args, "--data", f.sources.Data)
	}
	if f.sources.File != "" {
		args = append(args, "--config", f.sources.File)
	}
	var said bytes.Buffer
	probe := exec.CommandContext(ctx, program, args...)
	probe.Stderr = &said
	err = probe.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if probe.ProcessState == nil {
		return "", err
	}
	if code := probe.ProcessState.ExitCode(); code == 0 || code == exitFailure {
		return "", nil // what is wrong will be seen
	}
	for line := range strings.Lines(said.String()) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.Contains(line, "fault address") {
			return strings.TrimSuffix(strings.TrimSpace(line), " [recovered]"), nil
		}
	}
	return probe.ProcessState.String(), nil
}

// remedyUnopened is what can be done about data that the engine does not open.
const remedyUnopened = "Keep a copy of the directory. Then restore a backup, or replicate from another node, into a new one."

func (f *checkFlags) run(cmd *cobra.Command) error {
	cfg, err := config.Load(f.sources)
	if err != nil {
		return err
	}
	s := cfg.Snapshot()
	m := newMeter(cmd.ErrOrStderr(), f.quiet)
	defer m.end()
	stage := "reading the tables"
	m.progress.Stage.Store(&stage)
	r := &checkReport{out: cmd.OutOrStdout(), m: m, json: f.json}
	crash, err := f.crash(cmd.Context())
	if err != nil {
		return err
	}
	if crash != "" {
		r.report(storage.Problem{What: "data directory", Name: s.DataDir, Detail: "the engine cannot open it: " + crash, Remedy: remedyUnopened})
		return r.end(storage.Checked{Problems: 1})
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := storage.Open(storage.Options{Path: s.DataDir, Memory: s.Memory, ReadOnly: true, Logger: log})
	switch {
	case errors.Is(err, storage.ErrLocked):
		return fmt.Errorf("%w: a node runs on it; stop it first", err)
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("there is no data in %s", s.DataDir)
	case errors.Is(err, storage.ErrFormat), errors.Is(err, storage.ErrNoSpace):
		return fmt.Errorf("data directory %s: %w", s.DataDir, err)
	case err != nil:
		r.report(storage.Problem{What: "data directory", Name: s.DataDir, Detail: err.Error(), Remedy: remedyUnopened})
		return r.end(storage.Checked{Problems: 1})
	}
	checking := "checking"
	checked, err := store.Check(cmd.Context(), storage.CheckOptions{
		Contents: f.contents,
		Report:   r.report,
		Progress: func(c storage.Checked) {
			m.progress.Stage.Store(&checking)
			m.progress.Done.Store(int64(c.Documents))
			m.progress.Bytes.Store(int64(c.Bytes))
		},
	})
	if err = errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("the check did not come to its end: %w", err)
	}
	return r.end(checked)
}

// checkReport tells what was found.
type checkReport struct {
	out  io.Writer
	m    *meter
	json bool
}

// checkedProblem is a line of --json.
type checkedProblem struct {
	Database string `json:"database,omitempty"`
	What     string `json:"what"`
	Name     string `json:"name,omitempty"`
	Detail   string `json:"detail"`
	Remedy   string `json:"remedy"`
}

// checkedSummary is the last line of --json.
type checkedSummary struct {
	Sound       bool   `json:"sound"`
	Problems    uint64 `json:"problems"`
	Databases   uint64 `json:"databases"`
	Documents   uint64 `json:"documents"`
	Revisions   uint64 `json:"revisions"`
	Attachments uint64 `json:"attachments"`
	Indexes     uint64 `json:"indexes"`
	Rows        uint64 `json:"rows"`
	Bytes       uint64 `json:"bytes"`
}

func (r *checkReport) report(p storage.Problem) {
	if !r.json {
		r.m.print(r.out, "%s\n    %s", p, p.Remedy)
		return
	}
	r.line(checkedProblem(p))
}

func (r *checkReport) line(v any) {
	text, err := json.Marshal(v)
	if err == nil { // strings and numbers always have a text
		r.m.print(r.out, "%s", text)
	}
}

// end tells what was looked at, and returns an error if there are problems.
func (r *checkReport) end(c storage.Checked) error {
	if r.json {
		r.line(checkedSummary{c.Problems == 0, c.Problems, c.Databases, c.Documents, c.Revisions, c.Attachments, c.Indexes, c.Rows, c.Bytes})
	} else {
		r.m.print(r.out, "looked at %d databases, %d documents, %d revisions, %d attachments, %d indexes (%s)",
			c.Databases, c.Documents, c.Revisions, c.Attachments, c.Indexes, bytesOf(int64(c.Bytes)))
	}
	switch c.Problems {
	case 0:
		if !r.json {
			r.m.print(r.out, "everything is sound")
		}
		return nil
	case 1:
		return errors.New("there is 1 problem")
	}
	return fmt.Errorf("there are %d problems", c.Problems)
}
