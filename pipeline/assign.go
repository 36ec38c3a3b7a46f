package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// Assigned implements source.Handler: partitions start from what the table says, never from the group's offsets.
func (l *Loader) Assigned(ctx context.Context, ps []source.Partition) (map[source.Partition]int64, error) {
	l.absent = nil // if a topic is missing still, the client says so again
	start, err := l.assign(ctx, ps)
	if err != nil {
		l.failed = fmt.Errorf("taking over %d partitions: %w", len(ps), err)
	}
	return start, err
}

func (l *Loader) assign(ctx context.Context, ps []source.Partition) (map[source.Partition]int64, error) {
	gained := make(map[table.Key]bool, len(ps))
	for _, p := range ps {
		gained[table.Key(p)] = true
	}
	ledger, err := l.committer.Settle(ctx, gained)
	if err != nil {
		return nil, err
	}
	if ledger.Number == 0 && len(ledger.Records) == 0 && l.cfg.Source.Start != "earliest" && l.cfg.Source.Start != "" {
		if ledger, err = l.firstStart(ctx); err != nil {
			return nil, err
		}
	}
	// After the table: an id that is older than the one there would be taken for that of a new topic.
	cluster, ids, err := l.identify(ctx, ps)
	if err != nil {
		return nil, err
	}
	marks, err := l.topics.Watermarks(ctx, ps)
	if err != nil {
		return nil, fmt.Errorf("asking for the first offsets: %w", err)
	}
	l.ledger = ledger
	if ledger.Edit != l.seen && l.stages.remembers() {
		// What the deduplicate steps remember is of rows that may have gone, or lacks some that have come.
		if len(l.tracks.m) > 0 {
			l.drop()
		} else {
			l.seen = ledger.Edit
		}
	}
	l.stages.begin(ledger)
	start, anew := make(map[source.Partition]int64, len(ps)), ""
	for _, p := range ps {
		k := table.Key(p)
		rec, known := ledger.Records[k]
		if !known {
			low := marks[p].Low
			rec = table.Record{Cluster: cluster, TopicID: ids[p.Topic], First: low, Next: low, MaxTimestamp: -1}
		}
		t := newTrack(k, known, rec)
		if known && (rec.Cluster != cluster || rec.TopicID != ids[p.Topic]) {
			why := fmt.Errorf("topic %s is not the one that %s was loaded from: its id is %s (cluster %s), the table has offsets up to %d of id %s (cluster %s)",
				p.Topic, k, ids[p.Topic], cluster, rec.Next, rec.TopicID, rec.Cluster)
			if err := l.onReset(ctx, t, why, cluster, ids[p.Topic], marks[p]); err != nil {
				return nil, err
			}
		}
		if was, read := l.read[p.Topic]; read && was != ids[p.Topic] && t.stopped == nil {
			anew = p.Topic
		}
		l.tracks.add(t)
		start[p] = t.from.Next
	}
	maps.Copy(l.read, ids)
	if anew != "" {
		return nil, fmt.Errorf("%w: topic %s was deleted and created again", errClient, anew)
	}
	l.reportOwned(gained)
	point.Hit(point.Assigned)
	return start, l.stages.seed(ctx, gained, ledger)
}

// identify asks which cluster and topics these are, before the first fetch.
func (l *Loader) identify(ctx context.Context, ps []source.Partition) (cluster string, ids map[string]string, err error) {
	names := map[string]bool{}
	for _, p := range ps {
		names[p.Topic] = true
	}
	if cluster, err = l.topics.ClusterID(ctx); err != nil {
		return "", nil, fmt.Errorf("asking Kafka for its cluster id: %w", err)
	}
	if ids, err = l.topics.TopicIDs(ctx, slices.Sorted(maps.Keys(names))); err != nil {
		return "", nil, fmt.Errorf("asking Kafka for topic ids: %w", err)
	}
	return cluster, ids, nil
}

// firstStart resolves `latest` or a time for all partitions once, and commits it before anything is read, so that a
// crash or another member cannot resolve it differently.
func (l *Loader) firstStart(ctx context.Context) (*table.Ledger, error) {
	all, err := l.topics.Partitions(ctx, l.cfg.Source)
	if err != nil {
		return nil, fmt.Errorf("resolving the start %q: %w", l.cfg.Source.Start, err)
	}
	cluster, ids, err := l.identify(ctx, all)
	if err != nil {
		return nil, err
	}
	at := map[source.Partition]int64{}
	if l.cfg.Source.Start == "latest" {
		marks, err := l.topics.Watermarks(ctx, all)
		if err != nil {
			return nil, fmt.Errorf("resolving the start latest: %w", err)
		}
		for p, m := range marks {
			at[p] = m.High
		}
	} else {
		t, err := time.Parse(time.RFC3339, l.cfg.Source.Start)
		if err != nil {
			return nil, fmt.Errorf("%w: start %q is neither earliest, latest nor an RFC 3339 time", ErrStop, l.cfg.Source.Start)
		}
		if at, err = l.topics.OffsetsForTime(ctx, all, t); err != nil {
			return nil, fmt.Errorf("resolving the start %s: %w", l.cfg.Source.Start, err)
		}
	}
	first := map[table.Key]table.Record{}
	for _, p := range all {
		first[table.Key(p)] = table.Record{Cluster: cluster, TopicID: ids[p.Topic], First: at[p], Next: at[p], MaxTimestamp: -1}
	}
	l.log.Info("first start", "start", l.cfg.Source.Start, "partitions", len(first))
	return l.committer.Start(ctx, uuid.Must(uuid.NewV7()).String(), first)
}

// onReset deals with a partition that cannot be continued: by default its whole topic stops with an explanation.
func (l *Loader) onReset(ctx context.Context, t *track, why error, cluster, id string, marks source.Watermarks) error {
	for _, p := range l.ledger.Past {
		if p.Key == t.key && p.TopicID == id && p.Cluster == cluster && t.from.Cluster == cluster && t.from.TopicID != id {
			// Begun anew, and again when the broker has heard of it, the new topic would be loaded twice.
			return fmt.Errorf("a broker says that the id of topic %s is %s, which is that of a topic before %s: ids never return, so it has not heard of the new topic yet",
				t.key.Topic, id, t.from.TopicID)
		}
	}
	next := marks.Low
	switch l.cfg.Source.OnReset {
	case "latest":
		next = marks.High
	case "earliest":
	default:
		t.stopped = fmt.Errorf("%w; the topic is not loaded until on_reset is set to earliest or latest", why)
		l.log.Error("a topic is stopped", "topic", t.key.Topic, "partition", t.key.Partition, "reason", t.stopped)
		l.rec.Failing(t.stopped, time.Time{})
		open := false
		for _, o := range l.tracks.m {
			if o.key.Topic == t.key.Topic && o.stopped == nil {
				open = open || o.next > o.from.Next
				o.stopped = t.stopped
			}
		}
		l.reportStopped()
		if open {
			l.drop() // the open files hold rows of partitions that were given up
		}
		return nil
	}
	to := table.Record{Cluster: cluster, TopicID: id, First: next, Next: next, MaxTimestamp: -1}
	ledger, err := l.committer.Edit(ctx, &Round{ID: uuid.Must(uuid.NewV7()).String(), Pipeline: l.cfg.Name, Version: Version,
		Tables: []RoundFile{{Table: l.primary}}, Begins: []Begin{{Key: t.key, From: t.from, To: to}}})
	if err != nil {
		return err
	}
	l.log.Warn("offsets begin anew", "topic", t.key.Topic, "partition", t.key.Partition, "offset", next, "reason", why)
	l.ledger = ledger
	t.begin(ledger.Records[t.key])
	return nil
}

// fetchError sorts out what a fetch ran into; nil: the loader goes on.
func (l *Loader) fetchError(ctx context.Context, err error) error {
	var trouble *source.Error
	if errors.As(err, &trouble) && trouble.Kind == source.Topic && trouble.Partition == (source.Partition{}) {
		// The topic may have been deleted for good; the group hands it out when it is there again.
		l.absent = err
		l.log.Error("a topic is not there; the others are loaded", "error", err)
		l.rec.Failing(err, time.Time{})
		return nil
	}
	var gone *source.OffsetOutOfRange
	if !errors.As(err, &gone) {
		return err
	}
	t := l.tracks.m[table.Key(gone.Partition)]
	if t == nil || t.stopped != nil || l.reseek { // the round was dropped: it is told again after the seek
		return nil
	}
	// The open round must not be mixed with a new epoch: end it first.
	if err := l.commit(ctx); err != nil || l.reseek {
		return err
	}
	ledger, err := l.committer.Settle(ctx, l.tracks.owned())
	if err != nil {
		return err
	}
	if l.tracks.elsewhere(ledger) { // the loader before this one committed late: the table is not where the log has gone
		l.reseek = true
		return nil
	}
	ps := []source.Partition{gone.Partition}
	cluster, ids, err := l.identify(ctx, ps)
	if err != nil {
		return err
	}
	why := fmt.Errorf("%s: the table ends at offset %d, but Kafka has %d to %d: records in between are gone (retention, or truncation after a broker failure)", t.key, t.next, gone.Low, gone.High)
	if gone.Truncated {
		why = fmt.Errorf("%s: the table has offsets up to %d, but Kafka's log was truncated before that, by an unclean leader election or a loss of data, and has other records there now", t.key, t.next)
	}
	if id := ids[t.key.Topic]; id != t.from.TopicID {
		why = fmt.Errorf("topic %s was deleted and created again: its id was %s and is now %s; %s was loaded up to offset %d", t.key.Topic, t.from.TopicID, id, t.key, t.next)
	}
	marks, err := l.topics.Watermarks(ctx, ps) // after the id: those of the error may be of the topic before this one
	if err != nil {
		return fmt.Errorf("asking where %s begins: %w", t.key, err)
	}
	if !t.known && ids[t.key.Topic] == t.from.TopicID {
		// As for a loader that starts now: where others begin later, and none has loaded anything, this one must not stop the topic.
		low := marks[gone.Partition].Low
		l.log.Warn("records were gone before the first of the partition was read: it begins after them", "topic", t.key.Topic, "partition", t.key.Partition, "offset", low, "records", low-t.next)
		t.begin(table.Record{Cluster: cluster, TopicID: t.from.TopicID, First: low, Next: low, MaxTimestamp: -1})
		l.reseek = true
		return nil
	}
	if err := l.onReset(ctx, t, why, cluster, ids[t.key.Topic], marks[gone.Partition]); err != nil {
		return err
	}
	l.reseek = l.reseek || t.stopped == nil
	return nil
}

// LeaderEpoch implements source.LeaderEpochs.
func (l *Loader) LeaderEpoch(p source.Partition) int32 {
	if t := l.tracks.m[table.Key(p)]; t != nil {
		return t.from.Leader
	}
	return 0
}

// Revoked implements source.Handler. The open round is committed in time, or dropped whole: its files hold rows of
// partitions that another loader is about to read.
func (l *Loader) Revoked(ctx context.Context, ps []source.Partition, lost bool) {
	point.Hit(point.HandOver)
	records, moved := l.tracks.records()
	switch {
	case !moved || l.reseek:
	case l.inside:
		l.log.Info("rows wait for a lookup while partitions are handed over: the open round is dropped, and read again", "partitions", len(ps), "records", records)
		l.drop()
	case lost:
		l.log.Warn("partitions were lost (the group went on without this member): the open round is dropped", "partitions", len(ps), "records", records)
		l.drop()
	default:
		ctx, cancel := context.WithTimeout(ctx, handOver)
		if err := l.commit(ctx); err != nil {
			l.log.Warn("the open round could not be committed before partitions were handed over and is dropped", "error", err)
			if errors.Is(err, ErrStop) {
				l.failed = err
			}
			l.drop()
		}
		cancel()
	}
	l.reseek = l.reseek || l.holding // what is held may be of these partitions: it is read again
	for _, p := range ps {
		delete(l.tracks.m, table.Key(p))
		l.stages.forget(p.Topic, p.Partition)
		l.rec.Revoked(p.Topic, p.Partition)
	}
}

func cmpKey(a, b table.Key) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}
