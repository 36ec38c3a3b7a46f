package main

import (
	"context"
	"fmt"
	"os"
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
lag in records and in seconds to the lake, the last commit, what is not published yet, and the last error; of each lookup and each
window; and for the last run of each job that the daemon ran on each table. It sends http.token, and trusts http.tls.ca_file.`,
		Example: `  lakeloader status -c lakeloader.yaml --watch
  lakeloader status --address 10.0.0.5:8080 --token-file token -o json`,
		Args: cobra.NoArgs,
	}
	path := configFlag(c)
	out := outputFlag(c, "text", "json")
	address := c.Flags().String("address", "", "host:port of the daemon; default: http.address of the configuration")
	tokenFile := c.Flags().String("token-file", "", "file with the daemon's http.token; default: http.token of the configuration")
	watch := c.Flags().Bool("watch", false, "show it anew every second until interrupted")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		// With --address alone no configuration is needed.
		d := obs.Daemon{Address: *address}
		if *address == "" || c.Flags().Changed("config") {
			of, err := daemonOf(*path, *address)
			if err != nil {
				return err
			}
			d = of
		}
		if *tokenFile != "" {
			token, err := os.ReadFile(*tokenFile)
			if err != nil {
				return fail(exitUsage, fmt.Errorf("--token-file: %w", err))
			}
			d.Token = strings.TrimSpace(string(token))
		}
		for {
			if err := showStatus(c, d, *out, *watch); err != nil || !*watch {
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

// daemonOf is how to reach the daemon of a configuration, at another address unless that is empty.
func daemonOf(path, address string) (obs.Daemon, error) {
	cfg, _, err := load(path)
	if err != nil {
		return obs.Daemon{}, err
	}
	d, err := obs.DaemonOf(cfg.HTTP)
	switch {
	case err != nil:
		return d, fail(exitUsage, err)
	case address != "":
		d.Address = address
	case cfg.HTTP.Address == "off":
		return d, fail(exitUsage, fmt.Errorf("http.address is off in %s: the daemon cannot be asked", path))
	case strings.HasSuffix(d.Address, ":0"):
		return d, fail(exitUsage, fmt.Errorf("http.address is %s in %s, which stands for any free port: name the daemon's with --address (its log says on which it listens)", cfg.HTTP.Address, path))
	}
	return d, nil
}

func showStatus(c *cobra.Command, d obs.Daemon, format string, clear bool) error {
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	s, err := obs.Fetch(ctx, d)
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
