package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
)

// NewAssigned makes a consumer that reads the partitions given, from the offsets given, and takes part in no group. Its Pause,
// Seek and Poll are as those of others. The caller must Close it.
func NewAssigned(o Options, start map[Partition]int64) (*Consumer, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := openClient(o, "lakeloader-unused") // the client wants a name, and does not use it without a subscription
	if err != nil {
		return nil, err
	}
	c.chooseFetcher(clientOf(c.kc))
	tps := make([]kafka.TopicPartition, 0, len(start))
	for p, offset := range start {
		if offset < 0 {
			return nil, errors.Join(fmt.Errorf("%s: offset %d is negative", p, offset), c.Close())
		}
		tps = append(tps, at(&p, offset, 0))
	}
	if err := c.begin(tps); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// ReadUntil calls each with all committed records of partitions, from their first up to an offset each, in order within a
// partition. The records are good for the call.
func ReadUntil(ctx context.Context, o Options, from, until map[Partition]int64, each func(r *batch.Records, i int) error) (err error) {
	left := map[Partition]int64{}
	for p, end := range until {
		if from[p] < end {
			left[p] = end
		}
	}
	if len(left) == 0 {
		return nil
	}
	start := map[Partition]int64{}
	for p := range left {
		start[p] = from[p]
	}
	c, err := NewAssigned(o, start)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	r := &batch.Records{}
	for len(left) > 0 {
		r.Reset()
		if err := c.Poll(ctx, r, slice); err != nil {
			return err
		}
		for i := range r.Len() {
			if r.Offset[i] < until[Partition{r.Topics[r.Topic[i]], r.Partition[i]}] {
				if err := each(r, i); err != nil {
					return err
				}
			}
		}
		for p, next := range c.Position(c.Assignment()) {
			if next >= left[p] {
				delete(left, p)
			}
		}
	}
	return nil
}
