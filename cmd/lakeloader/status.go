package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/obs"
)

func newStatus() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what a running daemon does",
		Long: `status asks a running daemon (http.address of the configuration) for the state of each pipeline and partition: rates,
lag in records and in seconds to the lake, the last commit, what is not published yet, and the last error.`,
		Example: `  lakeloader status -c lakeloader.yaml --watch
  lakeloader status --address 10.0.0.5:8080 -o json`,
		Args: cobra.NoArgs,
	}
	path := configFlag(c)
	out := outputFlag(c, "text", "json")
	address := c.Flags().String("address", "", "host:port of the daemon; default: http.address of the configuration")
	watch := c.Flags().Bool("watch", false, "show it anew every second until interrupted")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		addr := *address
		if addr == "" {
			cfg, _, err := load(*path)
			if err != nil {
				return err
			}
			if cfg.HTTP.Address == "off" {
				return fail(exitUsage, fmt.Errorf("http.address is off in %s: the daemon cannot be asked", *path))
			}
			addr = cfg.HTTP.Address
			if strings.HasSuffix(addr, ":0") {
				return fail(exitUsage, fmt.Errorf("http.address is %s in %s, which stands for any free port: name the daemon's with --address (its log says on which it listens)", addr, *path))
			}
		}
		for {
			if err := showStatus(c, addr, *out, *watch); err != nil || !*watch {
				return err
			}
			t := time.NewTimer(time.Second)
			select {
			case <-c.Context().Done():
				t.Stop()
				return nil
			case <-t.C:
			}
		}
	}
	return c
}

func showStatus(c *cobra.Command, addr, format string, clear bool) error {
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	s, err := obs.Fetch(ctx, http.DefaultClient, addr)
	if err != nil {
		return fail(exitUnreachable, fmt.Errorf("asking the daemon: %w", err))
	}
	if format == "json" {
		return writeJSON(c.OutOrStdout(), s)
	}
	if clear {
		fmt.Fprint(c.OutOrStdout(), "\x1b[H\x1b[2J")
	}
	return fail(exitFailed, obs.RenderStatus(c.OutOrStdout(), s))
}
