package routes

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// Topic sends messages in transactions that also move a group's offsets.
type Topic interface {
	Offsets(ctx context.Context) (map[source.Partition]source.GroupOffset, error)
	Send(ctx context.Context, records []source.Message, offsets map[source.Partition]source.GroupOffset) error
	Close()
}

// HeaderRow is the header of messages that says which row they are: topic, partition and offset of its record.
const HeaderRow = "lakeloader-row"

// topicReceiver sends rows in transactions with the cursor. What holds: the messages of a row and the cursor behind it are committed together, and
// the cursor is read after every transaction of earlier instances has ended, none of which can begin another. So a row is sent once.
//
// Kafka forgets the offsets of a group without members after offsets.retention.minutes (7 days) without a commit, and those of topics that are
// deleted. A copy of the cursor is therefore kept in the warehouse, and offsets are committed anew every day.
type topicReceiver struct {
	r     *Route
	t     Topic
	saved *Saved
	at    time.Time // of the copy
	moved bool      // since
	// group is when offsets were committed last, and what.
	group   time.Time
	offsets follow.Cursor
}

const (
	// copyEvery is how often the cursor is copied to the warehouse.
	copyEvery = time.Minute
	// groupEvery is how often all offsets are committed anew.
	groupEvery = 24 * time.Hour
)

// groupNote is what the metadata of an offset say beside it.
type groupNote struct {
	UUID    string `json:"table"`
	TopicID string `json:"topic_id"`
	Epoch   int32  `json:"epoch"`
	Next    int64  `json:"next"`
	Seen    int64  `json:"seen"`
	// Reset is that of the copy in the warehouse which the offset goes with: one of another says nothing any more.
	Reset string `json:"reset,omitempty"`
}

func newTopicReceiver(ctx context.Context, r *Route, saved *Saved) (*topicReceiver, error) {
	t, err := r.d.NewTopic(ctx)
	if err != nil {
		return nil, err
	}
	k := &topicReceiver{r: r, t: t, saved: saved, at: r.d.Now()}
	if err := k.load(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return k, nil
}

// load takes what the group has where that is further than the copy.
func (k *topicReceiver) load(ctx context.Context) error {
	offsets, err := k.t.Offsets(ctx)
	if err != nil {
		return err
	}
	k.offsets, k.moved, err = k.saved.merge(offsets)
	return err
}

// merge takes what a group has where that is further. group is what it has of this cursor.
func (s *Saved) merge(offsets map[source.Partition]source.GroupOffset) (group follow.Cursor, moved bool, err error) {
	at := s.Cursor.Clone()
	group = follow.Cursor{Partitions: map[table.Key]follow.Position{}}
	for p, o := range offsets {
		var n groupNote
		if err := json.Unmarshal([]byte(o.Metadata), &n); err != nil {
			return group, false, fmt.Errorf("the offset of %s-%d in the route's consumer group was not committed by lakeloader (metadata %q): delete the group to have the route begin at its copy in the warehouse", p.Topic, p.Partition, o.Metadata)
		}
		if n.Reset != s.Reset || n.UUID != at.UUID && at.UUID != "" {
			continue // the route was begun anew since
		}
		key := table.Key(p)
		theirs := follow.Position{TopicID: n.TopicID, Epoch: n.Epoch, Next: n.Next, Seen: n.Seen}
		group.Partitions[key] = theirs
		if mine, known := at.Partitions[key]; !known || theirs.Epoch > mine.Epoch || theirs.Epoch == mine.Epoch && theirs.Next > mine.Next {
			at.Partitions[key], at.UUID = theirs, n.UUID
			moved = true
		}
	}
	s.Cursor = at
	return group, moved, nil
}

func (k *topicReceiver) cursor() follow.Cursor { return k.saved.Cursor }

func (k *topicReceiver) encoding(ctx context.Context) newEncoding {
	switch k.r.o.Topic.Format {
	case "avro":
		return func(row *batch.Type, columns []int) (encoding, error) {
			return newAvroEncoding(ctx, k.r.o.Topic, k.r.d.NewSchema, row, columns)
		}
	case "protobuf":
		return func(row *batch.Type, columns []int) (encoding, error) {
			return newProtobufEncoding(ctx, k.r.o.Topic, k.r.d.NewSchema, row, columns)
		}
	}
	return newJSONEncoding
}

func (k *topicReceiver) deliver(ctx context.Context, rows []Row, to follow.Cursor) error {
	k.saved.Cursor, k.moved = to, true
	if len(rows) == 0 { // the group follows with the next rows, or when there is time
		return nil
	}
	if err := k.transaction(ctx, rows); err != nil {
		return err
	}
	k.r.d.Recorder.Delivered(int64(len(rows)), 0, 0)
	return nil
}

// message is that of a row.
func message(r *Row) source.Message {
	return source.Message{Key: r.MessageKey, Value: r.Body, Timestamp: r.Timestamp, Headers: []source.Header{{Name: HeaderRow, Value: []byte(r.ID())}}}
}

func (k *topicReceiver) transaction(ctx context.Context, rows []Row) error {
	messages := make([]source.Message, len(rows))
	for i := range rows {
		messages[i] = message(&rows[i])
	}
	to := k.saved.Cursor
	anew := k.r.d.Now().Sub(k.group) > groupEvery
	moved := map[source.Partition]source.GroupOffset{}
	for key, p := range to.Partitions {
		if !anew && k.offsets.Partitions[key] == p {
			continue
		}
		note, err := json.Marshal(groupNote{to.UUID, p.TopicID, p.Epoch, p.Next, p.Seen, k.saved.Reset})
		if err != nil {
			return err
		}
		moved[source.Partition(key)] = source.GroupOffset{Next: p.Next, Metadata: string(note)}
	}
	if err := k.t.Send(ctx, messages, moved); err != nil {
		return err
	}
	k.offsets = to.Clone()
	if anew {
		k.group = k.r.d.Now()
	}
	return nil
}

// settle implements receiver.
func (k *topicReceiver) settle(ctx context.Context) error {
	now := k.r.d.Now()
	if k.moved && now.Sub(k.at) > copyEvery || now.Sub(k.group) > groupEvery {
		return k.rest(ctx)
	}
	return nil
}

// rest implements receiver. The group comes before the copy, which must never be further.
func (k *topicReceiver) rest(ctx context.Context) error {
	if !k.moved && k.r.d.Now().Sub(k.group) <= groupEvery {
		return nil
	}
	if len(k.saved.Cursor.Partitions) > 0 {
		if err := k.transaction(ctx, nil); err != nil {
			return err
		}
	}
	if err := k.r.d.Cursors.Save(ctx, k.saved); err != nil {
		return err
	}
	k.at, k.moved = k.r.d.Now(), false
	return nil
}

func (k *topicReceiver) close() { k.t.Close() }
