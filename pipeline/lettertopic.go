package pipeline

import (
	"context"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// LetterTopic is a Kafka topic that gets dead letters besides the table. A round is committed only after Flush, so no letter
// is lost; the letters of a round that is dropped are sent again when it is read again.
type LetterTopic interface {
	// Send hands a record over; it is copied. It waits while too much is on its way.
	Send(ctx context.Context, m source.Message) error
	// Flush returns nil when all replicas have every record that was sent.
	Flush(ctx context.Context) error
	Close()
}

// The headers that Kafka Connect gives to dead letters, and ours. What Connect's readers do not find in Connect either (a
// stack trace) is left out.
const (
	errorHeader = "__connect.errors."
	// HeaderID names the record that became a dead letter, topic-partition-offset, and -eEPOCH behind it for epochs after the
	// first: the same each time it is sent.
	HeaderID = "__lakeloader.id"
	// HeaderTimestamp is the original timestamp in milliseconds, where Kafka's client cannot send it as it was.
	HeaderTimestamp = "__lakeloader.timestamp"
)

// message is a dead letter as it goes to the topic: key, value, headers and timestamp as they were, and why it is there.
func (d *deadLetters) message(r *batch.Records, rej *batch.Reject, t *track) source.Message {
	i := rej.Record
	m := source.Message{Key: r.Bytes(r.Key[i]), Value: r.Bytes(r.Value[i]), Timestamp: r.Timestamp[i]}
	for _, h := range headersOf(r, r.Headers[i]) {
		m.Headers = append(m.Headers, source.Header{Name: h.name, Value: h.value})
	}
	add := func(name, value string) {
		m.Headers = append(m.Headers, source.Header{Name: name, Value: []byte(value)})
	}
	id := fmt.Sprintf("%s-%d-%d", t.key.Topic, t.key.Partition, r.Offset[i])
	if t.from.Epoch > 0 {
		id += fmt.Sprintf("-e%d", t.from.Epoch)
	}
	add(errorHeader+"topic", t.key.Topic)
	add(errorHeader+"partition", fmt.Sprint(t.key.Partition))
	add(errorHeader+"offset", fmt.Sprint(r.Offset[i]))
	add(errorHeader+"connector.name", d.pipeline)
	add(errorHeader+"task.id", "0")
	add(errorHeader+"stage", rej.Stage)
	add(errorHeader+"class.name", rejectedBy(rej.Stage, rej.Step))
	add(errorHeader+"exception.class.name", "lakeloader."+rej.Stage)
	add(errorHeader+"exception.message", rej.Reason)
	add(HeaderID, id)
	if !source.Sendable(m.Timestamp) {
		add(HeaderTimestamp, fmt.Sprint(m.Timestamp))
	}
	return m
}

// send hands the dead letters of a batch to the topic, if there is one.
func (s *stages) send(ctx context.Context, b *batch.Batch, ts *tracks) error {
	if s.topic == nil {
		return nil
	}
	for i := range b.Rejects {
		rej := &b.Rejects[i]
		t := ts.m[table.Key{Topic: b.Topics[b.Topic[rej.Record]], Partition: b.Partition[rej.Record]}]
		if t.stopped != nil {
			continue
		}
		if err := s.topic.Send(ctx, s.letters.message(b.Records, rej, t)); err != nil {
			return fmt.Errorf("dead_letters.topic: %w", err)
		}
	}
	return nil
}

// flush waits until the topic has every letter of the round.
func (s *stages) flush(ctx context.Context) error {
	if s.topic == nil {
		return nil
	}
	if err := s.topic.Flush(ctx); err != nil {
		return fmt.Errorf("dead_letters.topic: %w", err)
	}
	return nil
}
