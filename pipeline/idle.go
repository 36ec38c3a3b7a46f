package pipeline

import (
	"context"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

const (
	// lookEvery bounds how long an idle loader takes to notice that someone moved the offsets on purpose.
	lookEvery = time.Minute
	// lookAgain is the pause while the catalog does not answer, so that the status is soon right again.
	lookAgain = 5 * time.Second
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
		if rec, known := ledger.Records[k]; known && t.stopped == nil && !rec.Same(t.from) {
			l.log.Info("the offsets were moved on purpose", "topic", k.Topic, "partition", k.Partition, "offset", rec.Next, "epoch", rec.Epoch)
			moved = true
		}
	}
	if !moved {
		return nil
	}
	return l.reload(ctx)
}
