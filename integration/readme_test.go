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

// follow runs the commands of a section word for word, but for what replace exchanges: the addresses of nodes, and
// where the program is. Variables that a section sets stay set.
func follow(t *testing.T, section string, settings *strings.Builder, replace *strings.Replacer) {
	t.Helper()
	for _, s := range readTour(t, section) {
		command := replace.Replace(s.command)
		switch {
		case setsVariable(command):
			settings.WriteString(command + "\n")
			continue
		case strings.Contains(command, " serve "):
			continue // the test has started the nodes
		}
		// A feed that stays open is left after a second; the others may take longer on a busy machine.
		limit := "20"
		if strings.Contains(command, "feed=continuous") {
			limit = "1"
		}
		command = strings.Replace(command, "curl ", "curl --silent --show-error --max-time "+limit+" ", 1)
		out, err := exec.CommandContext(t.Context(), "bash", "-c", settings.String()+command).CombinedOutput()
		if err != nil && limit != "1" {
			t.Errorf("%s\n%v: %s", s.command, err, out)
		}
		if got, want := strings.TrimSpace(string(out)), strings.Join(s.want, "\n"); want != "" && got != want {
			t.Errorf("%s\nanswers  %s\npromised %s", s.command, got, want)
		}
		if strings.Contains(string(out), `"error":`) && len(s.want) == 0 {
			t.Errorf("%s\nanswers %s", s.command, out)
		}
	}
}

// setsVariable tells whether a command sets a variable for those after it.
func setsVariable(command string) bool {
	name, _, ok := strings.Cut(command, "=")
	return ok && name == strings.ToUpper(name) && !strings.Contains(command, " ")
}

// TestREADME does what the README tells newcomers to do.
func TestREADME(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("the tour needs curl")
	}
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	a, b := harness.Start(t), harness.Start(t)
	replace := strings.NewReplacer("127.0.0.1:5984", a.Server().Host, "127.0.0.1:5985", b.Server().Host, "bin/mangrove", binary)
	var settings strings.Builder
	for _, section := range []string{"A tour with curl", "Ask", "Sync two nodes"} {
		follow(t, section, &settings, replace)
	}
}
