// Command lakeloader moves Kafka topics into a data lake, exactly once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/pipeline"
)

// Exit codes; docs/operations.md explains them.
const (
	exitOK          = 0
	exitFailed      = 1 // the command's answer is no (verify found problems), or it failed
	exitUsage       = 2 // wrong flags, or a configuration with problems
	exitUnreachable = 3 // Kafka, the registry, the catalog or the warehouse cannot be reached or refuses us, at start
	exitDeadline    = 4 // stopped, but not everything could be committed in time; it is read again at the next start
	exitStopped     = 5 // a pipeline stopped for a reason that needs a person
)

// exitError carries an exit code to main.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// fail gives err an exit code; nil stays nil.
func fail(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// version is set by the linker.
var version = "dev"

func main() {
	pipeline.Version = version
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "lakeloader:", err)
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	// cobra's own errors: unknown command, wrong flags or arguments
	c, _, _ := root.Find(args)
	fmt.Fprintf(stderr, "See %s --help\n", c.CommandPath())
	return exitUsage
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "lakeloader",
		Short: "Move Kafka topics into a data lake, exactly once",
		Long: `lakeloader moves Kafka topics into Apache Iceberg tables, exactly once, cleansed and ready to query.

Start with:  lakeloader demo clicks --records 1000000 --dir ./demo`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(newRun(), newValidate(), newPlan(), newStatus(), newVerify(), newQuery(), newDLQ(), newRewind(), newBackfill(), newReenrich(), newForget(), newRoutes(), newJob(), newWindow(), newJobs(), newDemo(), newVersion())
	for _, c := range root.Commands() {
		hideSecrets(c)
	}
	root.InitDefaultCompletionCmd()
	return root
}
