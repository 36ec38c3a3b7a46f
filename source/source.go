// Package source reads Kafka: it consumes in batches, takes part in the consumer group, and answers questions about
// topics. It decides nothing about commits: where a partition starts, and what happens to its rows, is its Handler's.
package source

import "context"

// Partition names a topic partition.
type Partition struct {
	Topic     string
	Partition int32
}

// LeaderEpochs may be implemented by a Handler that has kept what Consumer.LeaderEpoch said. With it the client asks the
// broker, before it reads on, whether the log still has what was read, or was truncated by an unclean leader election and
// written anew since.
type LeaderEpochs interface {
	// LeaderEpoch is the one of the record before the offset that the partition is to start from, plus 1; 0: not known.
	LeaderEpoch(p Partition) int32
}

// Handler is told of rebalances, on the goroutine that polls. The consumer fetches nothing of a partition before
// Assigned has returned its start, and delivers nothing of it after Revoked was called.
type Handler interface {
	// Assigned returns the offset to start from for every partition given. An error gives all of them up again.
	Assigned(ctx context.Context, ps []Partition) (map[Partition]int64, error)
	// Revoked is called before partitions are handed over (lost: they are gone already, nothing may be committed).
	Revoked(ctx context.Context, ps []Partition, lost bool)
}
