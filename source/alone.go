package source

import (
	"log/slog"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// NewAlone makes a consumer that reads just the partitions that Add names, from where it says, as a member of no group: it joins
// none, commits nothing, and is told of no rebalance. Source.Topics and Source.Group are not used. The caller must Close it.
func NewAlone(o Options) (*Consumer, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := openClient(o, "lakeloader-"+o.Pipeline) // the client wants a name, and uses it for nothing
	if err != nil {
		return nil, err
	}
	c.chooseFetcher(clientOf(c.kc))
	return c, nil
}

// Add begins to read partitions from offsets, with a consumer that NewAlone has made.
func (c *Consumer) Add(from map[Partition]int64) error {
	start := make([]kafka.TopicPartition, 0, len(from))
	for p, offset := range from {
		start = append(start, at(&p, offset, 0))
	}
	return c.begin(start)
}
