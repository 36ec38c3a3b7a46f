package main

import (
	"fmt"
	"runtime"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs}
	out := outputFlag(c, "text", "json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		_, lib := kafka.LibraryVersion()
		if *out == "json" {
			return writeJSON(c.OutOrStdout(), map[string]string{"version": version, "go": runtime.Version(), "librdkafka": lib, "platform": runtime.GOOS + "/" + runtime.GOARCH})
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "lakeloader %s (%s, librdkafka %s, %s/%s)\n", version, runtime.Version(), lib, runtime.GOOS, runtime.GOARCH)
		return fail(exitFailed, err)
	}
	return c
}
