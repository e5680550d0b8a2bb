// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
)

// The exit codes of the command; docs/cli.md lists them.
const (
	// ExitOK also ends a stream that was interrupted by Ctrl-C.
	ExitOK = 0
	// ExitFailure is a request that the collector could not answer, or an answer that could not be written.
	ExitFailure = 1
	// ExitUsage is a command line or a configuration file that makes no sense.
	ExitUsage = 2
	// ExitUnreachable is a collector that cannot be reached, or not be trusted.
	ExitUnreachable = 3
	// ExitRefused is a token that is missing, wrong, expired or not allowed to do this.
	ExitRefused = 4
	// ExitNotFound is something that the collector does not know: a node, an alert, a profile, a mode.
	ExitNotFound = 5
)

// Env is what the command takes from the world around it.
type Env struct {
	Stdout, Stderr io.Writer
	// Stdin is what is typed or piped in; nil stands for nothing. Interactive says whether it is a terminal, at which a
	// person can be asked.
	Stdin       io.Reader
	Interactive bool
	// Getenv reads an environment variable; an unset one is empty.
	Getenv func(string) string
	// Terminal says whether Stdout is a terminal, and Columns how wide it is; 0 where that is unknown.
	Terminal bool
	Columns  int
	// Location is the time zone of tables; JSON is in UTC. Now is the clock that ages are counted by.
	Location *time.Location
	Now      func() time.Time
}

// Run runs the command with the arguments after its name and returns the exit code. It returns when ctx ends, which
// ends a stream without an error.
func Run(ctx context.Context, env Env, args []string) int {
	root := newRoot(&app{env: env})
	root.SetArgs(append([]string{}, args...)) // Without a slice, cobra would take those of the process.
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil || (ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return ExitOK
	}
	// Errors repeat what the collector, a file or the command line said.
	fmt.Fprintf(env.Stderr, "holdfast: %s\n", term.Escape(err.Error()))
	var advised *advisedError
	if errors.As(err, &advised) {
		fmt.Fprintf(env.Stderr, "\n%s\n", advised.advice)
	}
	return exitCode(err)
}

// advisedError is an error with an exit code and a word on what to do about it.
type advisedError struct {
	err    error
	code   int
	advice string
}

func (e *advisedError) Error() string { return e.err.Error() }
func (e *advisedError) Unwrap() error { return e.err }

// advise attaches an exit code and advice to err. Texts of others in the advice must have been escaped.
func advise(code int, err error, format string, args ...any) error {
	return &advisedError{err: err, code: code, advice: fmt.Sprintf(format, args...)}
}

func exitCode(err error) int {
	var advised *advisedError
	if errors.As(err, &advised) {
		return advised.code
	}
	return ExitFailure
}

// usageError says what is wrong with the command line of cmd.
func usageError(cmd *cobra.Command, err error) error {
	return advise(ExitUsage, err, "See '%s --help'.", cmd.CommandPath())
}

// app carries what every command needs: the world, and the flags that all commands share.
type app struct {
	env   Env
	flags flags
}

const rootHelp = `holdfast asks a Holdfast collector what happens on its nodes.

It needs to know where the collector is, what proves the collector's identity, and who you are:

  export HOLDFAST_ADDRESS=collector.example:7480   # the collector's --http-listen
  export HOLDFAST_CA=ca.pem                        # the collector's CA certificate
  export HOLDFAST_TOKEN=...                        # holdfast-collector token create --data-dir DIR --role viewer

The same can stand in a YAML file (--config, or ~/.config/holdfast/config.yaml), with the names of the flags:

  address: collector.example:7480
  ca: /etc/holdfast/ca.pem
  token-file: /etc/holdfast/token`

const rootExamples = `  holdfast nodes                           # who watches, what it can see and block, what it lost
  holdfast alerts --since 1h               # what was detected in the last hour
  holdfast alerts --follow -p warning      # go on as it happens, warnings and worse
  holdfast alerts show ID                  # the whole story of one alert
  holdfast explain ID                      # why it was not allowed, and what would allow it
  holdfast events --node worker-1 -t exec  # what a node sees right now
  holdfast profile show shop/web           # what a workload may do
  holdfast mode set shop/web enforce --reason "stable since May"
  holdfast alerts -o json | jq .rule       # one JSON object a line, with Falco's keys`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "holdfast",
		Short:         "Ask a Holdfast collector what happens on its nodes",
		Long:          rootHelp,
		Example:       rootExamples,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetVersionTemplate("holdfast {{.Version}}\n")
	root.SetFlagErrorFunc(usageError)
	a.flags.register(root)
	root.AddCommand(
		newAlerts(a), newEvents(a), newNodes(a), newWorkloads(a), newRecord(a), newMode(a), newProfile(a), newExplain(a), newAllow(a), newDemo(a), newVersion(a),
	)
	return strictArguments(root)
}

// strictArguments makes wrong arguments of cmd and of all below it usage errors.
func strictArguments(cmd *cobra.Command) *cobra.Command {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(cmd, err)
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		strictArguments(child)
	}
	return cmd
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this command",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.env.Stdout, "holdfast %s %s/%s %s\n", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}

// version is what the Go toolchain recorded: a tag, a pseudo-version of the commit, or (devel).
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
