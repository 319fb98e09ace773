package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// read returns a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkArguments checks that there is a command with such flags.
func checkArguments(t *testing.T, args []string) {
	t.Helper()
	command, rest, err := newRoot().Find(args)
	if err == nil {
		err = command.ParseFlags(rest)
	}
	if err == nil {
		err = command.ValidateArgs(command.Flags().Args())
	}
	if err != nil || command.RunE == nil || !command.HasParent() {
		t.Errorf("mangrove %s: %v", strings.Join(args, " "), err)
	}
}

func TestUnit(t *testing.T) {
	const program = "/usr/local/bin/mangrove"
	unit := read(t, "packaging/mangrove.service")
	start := regexp.MustCompile(`(?m)^ExecStart=` + program + ` (.+)$`).FindStringSubmatch(unit)
	if start == nil {
		t.Fatal("the unit starts nothing")
	}
	checkArguments(t, strings.Fields(start[1]))
	if !strings.Contains(start[1], "--data /var/lib/mangrove") || !strings.Contains(unit, "StateDirectory=mangrove\n") {
		t.Error("the data directory is not the unit's state directory")
	}
	checkVariables(t, unit)

	systemd, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there to look at the unit")
	}
	file := filepath.Join(t.TempDir(), "mangrove.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(unit, program, os.Args[0])), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), systemd, "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), "mangrove.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// checkVariables checks that the variables which a text names are some that the node knows.
func checkVariables(t *testing.T, text string) {
	t.Helper()
	help := newServe().Long
	for _, name := range regexp.MustCompile(`\b(MANGROVE|COUCHDB)_[A-Z_]+`).FindAllString(text, -1) {
		if !strings.Contains(help, name) {
			t.Errorf("the variable %s is not known", name)
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "packaging/Dockerfile")
	checkVariables(t, text)
	health := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD \["/mangrove", (.+)\]$`).FindStringSubmatch(text)
	run := regexp.MustCompile(`(?m)^CMD \[(.+)\]$`).FindStringSubmatch(text)
	if health == nil || run == nil {
		t.Fatal("the image has no command, or none that looks after it")
	}
	for _, list := range []string{health[1], run[1]} {
		var args []string
		for word := range strings.SplitSeq(list, ", ") {
			args = append(args, strings.Trim(word, `"`))
		}
		checkArguments(t, args)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if version == nil || !strings.Contains(text, "FROM golang:"+version[1]+" ") {
		t.Errorf("the image is not built with Go %v", version)
	}
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*`).MatchString(text) {
		t.Error("the node runs as root")
	}
}

func TestReleases(t *testing.T) {
	text := read(t, ".goreleaser.yaml")
	var targets []string
	for _, m := range regexp.MustCompile(`(?m)^ +- ((?:linux|darwin|windows)_\w+)$`).FindAllStringSubmatch(text, -1) {
		targets = append(targets, m[1])
	}
	// What is released is what is built for each change.
	platforms := regexp.MustCompile(`(?m)^PLATFORMS := (.+)$`).FindStringSubmatch(read(t, "Makefile"))
	if platforms == nil {
		t.Fatal("the Makefile has no platforms")
	}
	want := []string{"linux_amd64"}
	for _, p := range strings.Fields(platforms[1]) {
		p = strings.ReplaceAll(p, "/", "_")
		if p == "linux_arm" {
			p = "linux_arm_7"
		}
		want = append(want, p)
	}
	slices.Sort(want)
	slices.Sort(targets)
	if !slices.Equal(targets, want) {
		t.Errorf("released for %v, built for %v", targets, want)
	}
	if !strings.Contains(text, "-X main.version=") || !strings.Contains(text, "main: ./cmd/mangrove") {
		t.Error("the version is not set, or something else is built")
	}
	for _, m := range regexp.MustCompile(`(?m)^      - ([\w./]+\.(?:md|service)|LICENSE)$`).FindAllStringSubmatch(text, -1) {
		read(t, m[1])
	}
}
