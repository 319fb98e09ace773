package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mangrove-db/mangrove/config"
)

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Look at a node's configuration",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("a command is needed: check or show")
		},
	}
	c.AddCommand(newConfigCheck(), newConfigShow())
	return c
}

// sourceFlags are the flags that say where settings come from.
func sourceFlags(c *cobra.Command, o *config.Options) {
	flags := c.Flags()
	flags.StringVar(&o.Data, "data", "", `data directory (default "data")`)
	flags.StringVar(&o.File, "config", "", `configuration file, which must exist (default mangrove.ini in the data directory, which need not)`)
	flags.StringVar(&o.Profile, "profile", "", profileUsage)
}

var profileUsage = "settings for a purpose, below those of the file: " + strings.Join(config.Profiles(), ", ")

func newConfigCheck() *cobra.Command {
	var o config.Options
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with a configuration, before a node starts with it",
		Long: `Check reads the configuration as "mangrove serve" would with the same flags and
environment, and says what is wrong, with the file and the line:

  what keeps a node from starting: lines that make no sense, values that do not
  and must, and what they must be;
  what may not be meant: other values that make no sense, for which the defaults
  count, keys that are not known or mean nothing here, keys that stand twice or
  are overruled, passwords in clear.

Exit codes: 0 if a node starts with it, 1 if not, 2 if the command line is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, remarks, err := config.Check(o)
			if err != nil {
				return failure{err}
			}
			for _, r := range remarks {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", r.Place, r.Text)
			}
			if len(remarks) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: nothing to remark\n", file)
			}
			return nil
		},
	}
	sourceFlags(c, &o)
	return c
}

func newConfigShow() *cobra.Command {
	var o config.Options
	c := &cobra.Command{
		Use:   "show [SECTION]",
		Short: "Show the settings that a node would start with, and where each comes from",
		Long: `Show lists all settings that a node would have if it started now with the same
flags and environment, as an INI file, with the source of each in a comment:
"default", the file and the line, a variable or a flag. Secrets are masked.

What a running node has in force may differ, if settings were changed without
being written: GET /_node/_local/_config tells.`,
		Example: `  mangrove config show --data /var/lib/mangrove
  mangrove config show cors`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			entries, err := config.Describe(o)
			if err != nil {
				return failure{err}
			}
			section, shown := "", false
			for _, e := range entries {
				if len(args) > 0 && e.Section != args[0] {
					continue
				}
				if e.Section != section {
					if section != "" {
						fmt.Fprintln(cmd.OutOrStdout())
					}
					section, shown = e.Section, true
					fmt.Fprintf(cmd.OutOrStdout(), "[%s]\n", section)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s ; %s\n", e, e.From)
			}
			if !shown {
				return failure{fmt.Errorf("there is no section [%s]", strings.Join(args, ""))}
			}
			return nil
		},
	}
	sourceFlags(c, &o)
	return c
}
