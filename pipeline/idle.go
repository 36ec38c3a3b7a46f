package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

const (
	// lookEvery bounds how long an idle loader takes to notice that someone moved the offsets on purpose.
	lookEvery = time.Minute
	// lookAgain is the pause while the catalog does not answer, so that the status is soon right again.
	lookAgain = 5 * time.Second
	// recheckEvery is how soon an idle loader notices that a topic was made anew, recheckLimit how long it waits for the answer.
	recheckEvery = 30 * time.Second
	recheckLimit = 5 * time.Second
)

// look reads the ledger when nothing has arrived for a commit interval. A loader that never commits would not notice that
// its partitions were rewound, and would leave pending rounds of its partitions to no one.
func (l *Loader) look(ctx context.Context) error {
	every := min(time.Duration(l.cfg.Commit.Interval), lookEvery)
	if l.catalog.trouble != "" {
		every = min(every, lookAgain)
	}
	if len(l.tracks.m) == 0 || l.now().Sub(l.looked) < every {
		return nil
	}
	if _, moved := l.tracks.records(); moved {
		return nil
	}
	l.looked = l.now()
	ledger, err := l.committer.Settle(ctx, l.tracks.owned())
	if table.Passing(err) {
		return nil // it was told already, and there is nothing to commit
	}
	if err != nil {
		return err
	}
	l.ledger = ledger
	moved := l.stages.remembers() && ledger.Edit != l.seen
	for k, t := range l.tracks.m {
		if rec, known := ledger.Records[k]; known && !rec.Same(t.from) {
			l.log.Info("the offsets were moved on purpose", "topic", k.Topic, "partition", k.Partition, "offset", rec.Next, "epoch", rec.Epoch)
			moved = true
		}
	}
	if !moved {
		return nil
	}
	return l.reload(ctx)
}

// recheck asks for the ids of topics of which nothing arrives: the client need not notice that one was deleted and made anew, with as many
// records as were read of the one before, or while it takes what brokers say of it for outdated. A commit asks anyway.
func (l *Loader) recheck(ctx context.Context) error {
	if _, moved := l.tracks.records(); moved || len(l.tracks.m) == 0 || l.now().Sub(l.rechecked) < recheckEvery {
		return nil
	}
	l.rechecked = l.now()
	topics := map[string]bool{}
	for k, t := range l.tracks.m {
		if t.stopped == nil {
			topics[k.Topic] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, recheckLimit)
	defer cancel()
	ids, err := l.topics.TopicIDs(ctx, slices.Sorted(maps.Keys(topics)))
	var trouble *source.Error
	if errors.As(err, &trouble) && trouble.Kind == source.Topic { // one is gone: the others by themselves
		ids = map[string]string{}
		for topic := range topics {
			one, err := l.topics.TopicIDs(ctx, []string{topic})
			if err != nil {
				l.log.Debug("asking for the id of an idle topic", "topic", topic, "error", err)
				continue
			}
			maps.Copy(ids, one)
		}
	} else if err != nil {
		l.log.Debug("asking for the ids of idle topics", "error", err) // the client tells of trouble
		return nil
	}
	for k, t := range l.tracks.m {
		if id, there := ids[k.Topic]; there && t.stopped == nil && id != t.from.TopicID {
			return fmt.Errorf("%w: topic %s was deleted and created again (its id was %s and is now %s)", errClient, k.Topic, t.from.TopicID, id)
		}
	}
	return nil
}
