package routes

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// Where reads how far a route has come, and disturbs nobody who sends. offsets are those of the group of a topic's route; nil for others. begun:
// the route has a cursor.
func (c *Cursors) Where(ctx context.Context, offsets map[source.Partition]source.GroupOffset) (at follow.Cursor, begun bool, err error) {
	saved, err := c.Load(ctx)
	if err != nil || saved == nil {
		return follow.Cursor{Partitions: map[table.Key]follow.Position{}}, false, err
	}
	_, _, err = saved.merge(offsets)
	return saved.Cursor, true, err
}

// Reset moves the cursor on purpose; rows behind it are sent, also those that were sent before. What a webhook remembers to find repetitions
// is forgotten with it. ErrHeld: another instance sends.
//
// The cursor is moved by one object put, which names a new reset: whatever the group of a topic's route has of an earlier one does not count
// any more. Before it, whoever could still commit a transaction is fenced; after it the group's offsets follow, for those who look at them.
func (r *Route) Reset(ctx context.Context, to func(ctx context.Context) (follow.Cursor, error)) (from, at follow.Cursor, err error) {
	err = r.d.Lease(ctx, func(ctx context.Context) (err error) {
		saved, err := r.d.Cursors.Load(ctx)
		if err != nil {
			return err
		}
		if saved == nil {
			saved = &Saved{Cursor: follow.Cursor{Partitions: map[table.Key]follow.Position{}}}
		}
		var k *topicReceiver
		if r.o.Topic != nil {
			if k, err = newTopicReceiver(ctx, r, saved); err != nil {
				return err
			}
			defer k.close()
		}
		from = saved.Cursor
		if at, err = to(ctx); err != nil {
			return err
		}
		moved := &Saved{Cursor: at, Reset: uuid.NewString()}
		if err := r.d.Cursors.Save(ctx, moved); err != nil {
			return err
		}
		if k == nil || len(at.Partitions) == 0 {
			return nil
		}
		k.saved, k.offsets = moved, follow.Cursor{}
		if err := k.transaction(ctx, nil); err != nil {
			return fmt.Errorf("the cursor was moved, but the offsets of the route's group, which others see, were not: they follow with the next rows: %w", err)
		}
		return nil
	})
	return from, at, err
}
