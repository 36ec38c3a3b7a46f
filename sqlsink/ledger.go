package sqlsink

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// ledger reads the pipeline's offsets. Its number counts the moves of all partitions.
func (c *session) ledger(ctx context.Context) (*table.Ledger, error) {
	l := &table.Ledger{Records: map[table.Key]table.Record{}}
	own := c.beside(offsetsTable)
	err := c.query(ctx, func(rows *sql.Rows) error {
		var k table.Key
		var r table.Record
		var name string
		var rounds int64
		var ended bool
		if err := rows.Scan(&k.Topic, &k.Partition, &r.Epoch, &name, &r.Cluster, &r.TopicID, &r.First, &r.Next, &r.Rows, &r.Filtered, &r.Dead, &r.Gaps,
			&r.MaxTimestamp, &r.Leader, &rounds, &ended); err != nil {
			return err
		}
		if name != c.rows {
			return fmt.Errorf("%w: %s has offsets of pipeline %s for table %s, and not for %s: give the pipeline another name, or the table its old one", pipeline.ErrStop, own, c.o.Pipeline.Name, name, c.rows)
		}
		if r.Sum() != r.Next-r.First {
			return fmt.Errorf("%w: %s says of %s that %d offsets are accounted for in the range %d to %d: somebody has changed it; restore it from a backup", pipeline.ErrStop, own, k, r.Sum(), r.First, r.Next)
		}
		l.Number += rounds
		if ended {
			l.Past = append(l.Past, table.PastEpoch{Key: k, Record: r})
			return nil
		}
		if _, twice := l.Records[k]; twice {
			return fmt.Errorf("%w: %s has two epochs of %s that have not ended: somebody has changed it; restore it from a backup", pipeline.ErrStop, own, k)
		}
		l.Records[k] = r
		return nil
	}, "SELECT topic, topic_partition, epoch, table_name, cluster, topic_id, first_offset, next_offset, row_count, filtered, dead_letters, gaps, max_timestamp_ms, leader_epoch, rounds, ended FROM "+
		quoted(c.kind, own)+" WHERE pipeline = ? ORDER BY topic, topic_partition, epoch", c.o.Pipeline.Name)
	return l, err
}

// rounds is how often the partition that was moved most was.
func (c *session) rounds(ctx context.Context) (n int64, err error) {
	err = c.query(ctx, func(r *sql.Rows) error { return r.Scan(&n) },
		"SELECT coalesce(max(rounds), 0) FROM "+quoted(c.kind, c.beside(offsetsTable))+" WHERE pipeline = ?", c.o.Pipeline.Name)
	return n, err
}

// present reads the ledger, and makes sure that there are no rows without offsets.
func (c *session) present(ctx context.Context) (*table.Ledger, error) {
	l, err := c.ledger(ctx)
	if err != nil || len(l.Records) > 0 {
		return l, err
	}
	some := false
	err = c.query(ctx, func(*sql.Rows) error { some = true; return nil }, "SELECT 1 FROM "+quoted(c.kind, c.rows)+" LIMIT 1")
	if err == nil && some {
		err = fmt.Errorf("%w: table %s has rows, but %s has no offsets of pipeline %s: restore them from a backup, or empty the table", pipeline.ErrStop, c.rows, c.beside(offsetsTable), c.o.Pipeline.Name)
	}
	return l, err
}

// first adds the record of a partition that the ledger does not know. duplicate: somebody else has.
func (c *session) first(ctx context.Context, k table.Key, r table.Record, rounds int64, id string) error {
	_, err := c.exec(ctx, "INSERT INTO "+quoted(c.kind, c.beside(offsetsTable))+` (pipeline, topic, topic_partition, epoch, table_name, cluster, topic_id, first_offset, next_offset,
 row_count, filtered, dead_letters, gaps, max_timestamp_ms, leader_epoch, rounds, round_id, moved_ms, ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		c.o.Pipeline.Name, k.Topic, int64(k.Partition), int64(r.Epoch), c.rows, r.Cluster, r.TopicID, r.First, r.Next, r.Rows, r.Filtered, r.Dead, r.Gaps,
		r.MaxTimestamp, int64(r.Leader), rounds, id, c.o.Now().UnixMilli())
	return err
}

// move brings a partition from where it is to another record of its epoch; moved: it was there.
func (c *session) move(ctx context.Context, m pipeline.Move, id string) (moved bool, err error) {
	d := m.To.Counts.Minus(m.From.Counts)
	n, err := c.exec(ctx, "UPDATE "+quoted(c.kind, c.beside(offsetsTable))+` SET next_offset = ?, row_count = row_count + ?, filtered = filtered + ?, dead_letters = dead_letters + ?,
 gaps = gaps + ?, max_timestamp_ms = ?, leader_epoch = ?, rounds = rounds + 1, round_id = ?, moved_ms = ?
 WHERE pipeline = ? AND topic = ? AND topic_partition = ? AND epoch = ? AND cluster = ? AND topic_id = ? AND next_offset = ? AND ended = 0`,
		m.To.Next, d.Rows, d.Filtered, d.Dead, d.Gaps, m.To.MaxTimestamp, int64(m.To.Leader), id, c.o.Now().UnixMilli(),
		c.o.Pipeline.Name, m.Key.Topic, int64(m.Key.Partition), int64(m.From.Epoch), m.From.Cluster, m.From.TopicID, m.From.Next)
	return n == 1, err
}

// movedBy is the id of the round that moved a partition last; empty: the ledger does not know the partition.
func (c *session) movedBy(ctx context.Context, k table.Key, epoch int32) (id string, err error) {
	err = c.query(ctx, func(r *sql.Rows) error { return r.Scan(&id) },
		"SELECT round_id FROM "+quoted(c.kind, c.beside(offsetsTable))+" WHERE pipeline = ? AND topic = ? AND topic_partition = ? AND epoch = ?",
		c.o.Pipeline.Name, k.Topic, int64(k.Partition), int64(epoch))
	return id, err
}
