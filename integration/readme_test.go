package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mangrove-db/mangrove/integration/harness"
)

// tourStep is a command of the README's tour with the answer that it promises, if it does.
type tourStep struct {
	command string
	want    []string
}

// readTour takes the indented commands out of a section; lines that start with "# " are what the command before answers.
func readTour(t *testing.T, section string) (steps []tourStep) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("the README has no section %q", section)
	}
	tour, _, _ = strings.Cut(tour, "\n## ")
	for line := range strings.Lines(tour) {
		line, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		switch {
		case !ok:
		case strings.HasPrefix(line, "# "):
			last := &steps[len(steps)-1]
			last.want = append(last.want, strings.TrimPrefix(line, "# "))
		case len(steps) > 0 && strings.HasSuffix(steps[len(steps)-1].command, "\\"):
			steps[len(steps)-1].command += "\n" + line
		default:
			steps = append(steps, tourStep{command: line})
		}
	}
	return steps
}

// TestREADME runs the tour with curl word for word, but for the address of the node.
func TestREADME(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("the tour needs curl")
	}
	node := harness.Start(t)
	var setting string
	for _, s := range readTour(t, "A tour with curl") {
		if strings.HasPrefix(s.command, "DB=") {
			setting = strings.ReplaceAll(s.command, "127.0.0.1:5984", node.Server().Host)
			continue
		}
		// A feed that stays open is left after a second.
		command := strings.Replace(s.command, "curl ", "curl --silent --show-error --max-time 1 ", 1)
		out, err := exec.CommandContext(t.Context(), "bash", "-c", setting+"\n"+command).CombinedOutput()
		if err != nil && !strings.Contains(s.command, "feed=continuous") {
			t.Errorf("%s\n%v: %s", s.command, err, out)
		}
		if got, want := strings.TrimSpace(string(out)), strings.Join(s.want, "\n"); want != "" && got != want {
			t.Errorf("%s\nanswers  %s\npromised %s", s.command, got, want)
		}
		if strings.Contains(string(out), `"error"`) && len(s.want) == 0 {
			t.Errorf("%s\nanswers %s", s.command, out)
		}
	}
}
