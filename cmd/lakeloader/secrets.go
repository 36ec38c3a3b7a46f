package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
)

// hideSecrets takes the secrets of the configuration out of what a command prints and out of its error. The results of a
// query stay as they are: they are the table's.
func hideSecrets(c *cobra.Command) {
	for _, sub := range c.Commands() {
		hideSecrets(sub)
	}
	run := c.RunE
	if run == nil || c.Flags().Lookup("config") == nil {
		return
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		hide := secretsOf(c)
		out, errs := hide.Writer(c.OutOrStdout()), hide.Writer(c.ErrOrStderr())
		if c.Name() != "query" {
			c.SetOut(out)
		}
		c.SetErr(errs)
		err := run(c, args)
		if ferr := errors.Join(out.Flush(), errs.Flush()); err == nil {
			err = fail(exitFailed, ferr)
		}
		return hide.Error(err)
	}
}

// secretsOf reads the configuration that a command was given. One that cannot be read has its secrets all the same, and
// the command itself says what is wrong with it.
func secretsOf(c *cobra.Command) *configs.Redactor {
	path, err := c.Flags().GetString("config")
	if err != nil {
		return nil
	}
	cfg, _, _ := configs.Load(path)
	return configs.NewRedactor(cfg)
}
