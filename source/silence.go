package source

import (
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// silence is how long nothing may arrive of a partition that was assigned or sought, not even where it ends.
const silence = 15 * time.Second

// hush is the silence of a partition since it was assigned or sought.
type hush struct {
	over  bool          // something has arrived, be it only that the partition has ended
	lasts time.Duration // so far, while there was time to listen
	heard time.Time     // when it was listened to last; zero: never
	woken bool          // it was assigned again
}

// listen looks for partitions of which nothing arrives. Where a topic is deleted and made anew, the client (librdkafka 2.14) was seen to ask no
// broker any more for a partition that the group had just assigned, which assigning it again mends; and to take what brokers tell of it for outdated, for
// ever, because the epochs of its leaders begin at zero again: only a new client forgets those of the topic before.
func (c *Consumer) listen() error {
	var now time.Time
	var silent []*part
	for _, p := range c.parts {
		h := &p.hush
		if h.over || p.paused || p.failed {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		// Records that wait behind those of others are not silence, and nothing is heard while nobody polls.
		if c.fetcher.drained() && !h.heard.IsZero() {
			h.lasts += min(now.Sub(h.heard), 2*slice)
		}
		h.heard = now
		if h.lasts > c.patience {
			silent = append(silent, p)
		}
	}
	return c.wake(silent)
}

// wake assigns silent partitions again. The error is about one that stays silent although a broker answers for it.
func (c *Consumer) wake(silent []*part) error {
	var again []kafka.TopicPartition
	for _, p := range silent {
		p.hush.lasts = 0
		if !p.hush.woken {
			p.hush.woken = true
			c.fetcher.purge(p.Partition)
			again = append(again, at(&p.Partition, p.next, p.leader))
			continue
		}
		if _, _, err := c.kc.QueryWatermarkOffsets(p.Topic, p.Partition.Partition, int(watermarkTimeout/time.Millisecond)); err != nil {
			c.note(err) // then it is not the client
			break
		}
		return &Error{Kind: Fatal, Partition: p.Partition, Brokers: c.opts.Kafka.Brokers, Hint: "a new client is needed: start the process again if it is not made by itself",
			Err: fmt.Errorf("a broker answers, and yet the Kafka client reads nothing of the partition since it was assigned, twice for %v", c.patience)}
	}
	if len(again) == 0 {
		return nil
	}
	c.log.Warn("nothing has arrived of partitions, not even where they end; they are assigned again", "partitions", names(again), "after", c.patience)
	if err := c.assignAgain(again); err != nil {
		return err
	}
	if err := c.kc.Resume(again); err != nil { // the client remembers a pause
		return fmt.Errorf("resume %s: %w", names(again), err)
	}
	return c.validate(again)
}
