package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// input is where a person, or a script, types in what is asked for.
type input struct {
	in      io.Reader
	prompts io.Writer
	lines   *bufio.Reader
}

func newInput(in io.Reader, prompts io.Writer) *input {
	return &input{in: in, prompts: prompts, lines: bufio.NewReader(in)}
}

// terminal is the file descriptor of a terminal, if a person sits there.
func (i *input) terminal() (fd int, ok bool) {
	f, ok := i.in.(*os.File)
	if !ok {
		return 0, false
	}
	fd = int(f.Fd())
	return fd, term.IsTerminal(fd)
}

// line asks for a line that may be seen.
func (i *input) line(prompt string) (string, error) {
	fmt.Fprint(i.prompts, prompt)
	text, err := i.lines.ReadString('\n')
	if text == "" && err != nil {
		return "", errors.New("there is nothing to read on standard input")
	}
	return strings.TrimRight(text, "\r\n"), nil
}

// password asks for a password. At a terminal it is not shown; from elsewhere
// it is the next line.
func (i *input) password(prompt string) (string, error) {
	fd, ok := i.terminal()
	if !ok {
		return i.line("")
	}
	fmt.Fprint(i.prompts, prompt)
	text, err := term.ReadPassword(fd)
	fmt.Fprintln(i.prompts)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return string(text), nil
}

// newPassword asks for a password that is to be set: at a terminal twice.
func (i *input) newPassword(name string) (string, error) {
	password, err := i.password("New password of " + name + ": ")
	if err != nil {
		return "", err
	}
	if _, ok := i.terminal(); ok {
		again, err := i.password("Once more: ")
		if err != nil {
			return "", err
		}
		if again != password {
			return "", errors.New("the two passwords differ")
		}
	}
	if strings.TrimSpace(password) == "" {
		return "", errors.New("the password is empty")
	}
	return password, nil
}
