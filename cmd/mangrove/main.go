// Command mangrove runs a Mangrove node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

// Exit codes.
const (
	exitFailure = 1 // the node could not start or run
	exitUsage   = 2 // the command line makes no sense
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run executes a command line and returns the exit code. The first SIGINT or
// SIGTERM stops the node gracefully; a second one ends the process at once.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from the first signal on they work as usual again

	root := newRoot()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "mangrove: %s\n", printable(err.Error()))
	var failed failure
	if errors.As(err, &failed) {
		return exitFailure
	}
	fmt.Fprintf(os.Stderr, "Run \"%s --help\" for usage.\n", command.CommandPath())
	return exitUsage
}

// failure marks an error of the work itself. Any other is cobra's, and then
// the command line was wrong.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mangrove",
		Short: "A multi-master JSON document database that speaks CouchDB's protocol",
		Long: `Mangrove is a multi-master JSON document database in one binary. It speaks
CouchDB's HTTP API and replication protocol, so that CouchDB, PouchDB and their
clients work with it unchanged.`,
		Example: `  mangrove serve                     run a node, data in ./data, on 127.0.0.1:5984
  mangrove replicate SOURCE TARGET   copy what a database lacks from another
  mangrove backup -o FOLDER          write all databases into files
  mangrove config check              say what is wrong with a configuration
  mangrove user add NAME             make an account
  mangrove serve --help              all settings, and where they may come from`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a command is needed, such as \"mangrove serve\"")
		},
	}
	root.AddCommand(newServe(), newReplicate(), newBackup(), newRestore(), newCheck(), newHealth(), newConfig(), newUser(), newVersion())
	return root
}
