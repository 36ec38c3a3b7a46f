package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
)

// adminTimeout bounds a question when the context has no deadline.
const adminTimeout = 30 * time.Second

// Admin answers questions about a cluster. It may be used from several goroutines. The caller must Close it.
type Admin struct {
	kafka   configs.Kafka
	brokers []string
	ac      *kafka.AdminClient
	logs    *logs
	tokens  *tokens // nil: the login takes none
}

// NewAdmin does not wait for a broker. log may be nil.
func NewAdmin(k configs.Kafka, log *slog.Logger) (*Admin, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m, err := connection(k)
	if err != nil {
		return nil, err
	}
	for key, v := range k.Properties {
		m[key] = v
	}
	issue, err := issuerOf(k)
	if err != nil {
		return nil, err
	}
	a := &Admin{kafka: k, brokers: k.Brokers, logs: startLogs(m, log)}
	if a.ac, err = kafka.NewAdminClient(&m); err != nil {
		a.logs.stop()
		return nil, fmt.Errorf("kafka client: %w; check kafka.properties and the files in kafka.tls", err)
	}
	a.tokens = startTokens(issue, a.ac, log)
	return a, nil
}

// Close ends the connections.
func (a *Admin) Close() {
	a.tokens.stop()
	a.ac.Close()
	a.logs.stop()
}

// ask runs one question within ctx and adminTimeout. The client repeats it until time runs out, and then says only that;
// a login or certificate that was refused ends it at once.
//
// While a question waits and no broker listens, the client connects again at once, thousands of times a second (librdkafka
// 2.14: every failed connection has the question ask for the next one, which takes the pause between them away). So the
// question is then taken back, and asked again when a broker listens.
func (a *Admin) ask(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	a.logs.forget()
	err := a.try(ctx, f)
	for errors.Is(err, errGone) && a.awaitListener(ctx) {
		err = a.try(ctx, f)
	}
	if err == nil {
		return nil
	}
	if token, stays := a.tokens.failure(); token != nil {
		if stays {
			return &Error{Kind: Login, Brokers: a.brokers, Err: token, Hint: "there is no token for the login"}
		}
		return fmt.Errorf("kafka %s cannot be asked (%s): there is no token for the login: %w", strings.Join(a.brokers, ","), what, token)
	}
	var kerr kafka.Error
	if errors.As(err, &kerr) {
		if e := classify(a.brokers, nil, kerr); e != nil {
			diagnose(context.WithoutCancel(ctx), a.kafka, e)
			return e
		}
	}
	reason := a.logs.fail()
	if code := refusal(reason); code != kafka.ErrNoError {
		e := classify(a.brokers, nil, kafka.NewError(code, reason, false))
		diagnose(context.WithoutCancel(ctx), a.kafka, e)
		return e
	}
	where := "kafka " + strings.Join(a.brokers, ",")
	if reason != "" {
		return fmt.Errorf("%s does not answer (%s): %s: check kafka.brokers, kafka.security and that the brokers run: %w", where, what, reason, err)
	}
	return fmt.Errorf("%s: %s: %w", where, what, err)
}

// errGone: no broker listens.
var errGone = errors.New("no broker accepts connections")

// try asks once.
func (a *Admin) try(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go a.watch(ctx, cancel)
	err := f(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errGone) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// watch ends a question when its connection is refused for a reason that stays, or when no broker listens.
func (a *Admin) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	const second = 20 // ticks
	tick := time.NewTicker(time.Second / second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, stays := a.tokens.failure()
		switch r := a.logs.fail(); {
		case stays, refusal(r) == kafka.ErrAuthentication, strings.Contains(r, "certificate verify failed"), certificateRefused(r):
			cancel(nil)
			return
		case n%second == 0 && !a.listens(ctx):
			cancel(errGone)
			return
		}
	}
}

// listens says whether any of the configured brokers accepts connections.
func (a *Admin) listens(ctx context.Context) bool {
	for _, addr := range a.brokers {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = c.Close() // nothing was said
			return true
		}
		if ctx.Err() != nil {
			return true // not known any more
		}
	}
	return false
}

// awaitListener waits until a broker accepts connections; false: ctx ended before.
func (a *Admin) awaitListener(ctx context.Context) bool {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !a.listens(ctx) {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return ctx.Err() == nil
}

// refusal tells from the client's log line about a broken connection what was refused; ErrNoError: nothing.
func refusal(line string) kafka.ErrorCode {
	switch {
	case strings.Contains(line, "SASL authentication error"), strings.Contains(line, "Authentication failed"), strings.Contains(line, "mechanism handshake failed"):
		return kafka.ErrAuthentication
	case certificateRefused(line), strings.Contains(line, "SSL handshake failed"), strings.Contains(line, "in state SSL_HANDSHAKE"):
		return kafka.ErrSsl
	}
	return kafka.ErrNoError
}

// ClusterID returns the id of the cluster.
func (a *Admin) ClusterID(ctx context.Context) (id string, err error) {
	err = a.ask(ctx, "cluster id", func(ctx context.Context) error {
		// The client's own ClusterID does not return before its deadline when the context is cancelled.
		res, err := a.ac.DescribeCluster(ctx)
		if err == nil && res.ClusterID == nil {
			err = errors.New("the broker did not tell the cluster's id")
		}
		if err != nil {
			return err
		}
		id = *res.ClusterID
		return nil
	})
	return id, err
}

// TopicIDs returns the ids of topics. An id never returns: a topic that is made again has another one. A topic that
// does not exist is an *Error of kind Topic.
func (a *Admin) TopicIDs(ctx context.Context, topics []string) (map[string]string, error) {
	ids := make(map[string]string, len(topics))
	err := a.describe(ctx, topics, func(d kafka.TopicDescription) { ids[d.Name] = d.TopicID.String() })
	return ids, err
}

func (a *Admin) describe(ctx context.Context, topics []string, f func(kafka.TopicDescription)) error {
	if len(topics) == 0 {
		return nil
	}
	return a.ask(ctx, "topics "+strings.Join(topics, ", "), func(ctx context.Context) error {
		res, err := a.ac.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames(topics))
		if err != nil {
			return err
		}
		for _, d := range res.TopicDescriptions {
			if d.Error.Code() != kafka.ErrNoError {
				return kafka.NewError(d.Error.Code(), fmt.Sprintf("topic %s: %s", d.Name, d.Error.Code()), false)
			}
			f(d)
		}
		return nil
	})
}

// Partitions lists the partitions of the topics of s, sorted: those named, or those whose whole name matches the
// pattern (a POSIX extended expression; names that start with two underscores are left out).
func (a *Admin) Partitions(ctx context.Context, s configs.Source) ([]Partition, error) {
	topics := s.Topics
	if s.Pattern != "" {
		var err error
		if topics, err = a.matching(ctx, s.Pattern); err != nil {
			return nil, err
		}
	}
	var ps []Partition
	err := a.describe(ctx, topics, func(d kafka.TopicDescription) {
		for _, p := range d.Partitions {
			ps = append(ps, Partition{d.Name, int32(p.Partition)})
		}
	})
	slices.SortFunc(ps, comparePartitions)
	return ps, err
}

func (a *Admin) matching(ctx context.Context, pattern string) ([]string, error) {
	re, err := topicPattern(pattern)
	if err != nil {
		return nil, err
	}
	var topics []string
	err = a.ask(ctx, "list topics", func(ctx context.Context) error {
		end, _ := ctx.Deadline() // ask sets one
		m, err := a.ac.GetMetadata(nil, true, int(max(time.Until(end), time.Millisecond)/time.Millisecond))
		if err != nil {
			return err
		}
		for name := range m.Topics {
			if re.MatchString(name) && !strings.HasPrefix(name, "__") {
				topics = append(topics, name)
			}
		}
		return nil
	})
	return topics, err
}

// Watermarks are what can be read of a partition: [Low, High). High is the last stable offset, where records of open
// transactions begin.
type Watermarks struct{ Low, High int64 }

// Watermarks asks for the first and the end offset of partitions.
func (a *Admin) Watermarks(ctx context.Context, ps []Partition) (map[Partition]Watermarks, error) {
	return a.between(ctx, ps, kafka.IsolationLevelReadCommitted)
}

// Extents are Watermarks with all that the partitions hold: High is behind the records of open transactions too, and behind what
// cannot be read because of them.
func (a *Admin) Extents(ctx context.Context, ps []Partition) (map[Partition]Watermarks, error) {
	return a.between(ctx, ps, kafka.IsolationLevelReadUncommitted)
}

// between asks for the first offsets, and for the end as a reader of a level sees it.
func (a *Admin) between(ctx context.Context, ps []Partition, level kafka.IsolationLevel) (map[Partition]Watermarks, error) {
	low, err := a.offsets(ctx, ps, kafka.EarliestOffsetSpec, kafka.IsolationLevelReadCommitted)
	if err != nil {
		return nil, err
	}
	high, err := a.offsets(ctx, ps, kafka.LatestOffsetSpec, level)
	if err != nil {
		return nil, err
	}
	out := make(map[Partition]Watermarks, len(ps))
	for _, p := range ps {
		out[p] = Watermarks{low[p], high[p]}
	}
	return out, nil
}

// GroupOffsets reads the offsets that a consumer group has committed; those of transactions that are open do not count yet.
func (a *Admin) GroupOffsets(ctx context.Context, group string) (out map[Partition]GroupOffset, err error) {
	err = a.ask(ctx, "offsets of group "+group, func(ctx context.Context) error {
		out, err = offsetsOfGroup(ctx, a.kafka, nil, group, false)
		return err
	})
	return out, err
}

// OffsetsForTime returns the first offset of each partition whose record is not older than t; without one, the end.
func (a *Admin) OffsetsForTime(ctx context.Context, ps []Partition, t time.Time) (map[Partition]int64, error) {
	out, err := a.offsets(ctx, ps, kafka.NewOffsetSpecForTimestamp(t.UnixMilli()), kafka.IsolationLevelReadCommitted)
	if err != nil {
		return nil, err
	}
	var none []Partition
	for p, o := range out {
		if o < 0 {
			none = append(none, p)
		}
	}
	end, err := a.offsets(ctx, none, kafka.LatestOffsetSpec, kafka.IsolationLevelReadCommitted)
	if err != nil {
		return nil, err
	}
	for p, o := range end {
		out[p] = o
	}
	return out, nil
}

func (a *Admin) offsets(ctx context.Context, ps []Partition, spec kafka.OffsetSpec, isolation kafka.IsolationLevel) (map[Partition]int64, error) {
	out := make(map[Partition]int64, len(ps))
	if len(ps) == 0 {
		return out, nil
	}
	want := make(map[kafka.TopicPartition]kafka.OffsetSpec, len(ps))
	for _, p := range ps {
		want[kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition}] = spec
	}
	err := a.ask(ctx, "offsets of "+list(ps), func(ctx context.Context) error {
		res, err := a.ac.ListOffsets(ctx, want, kafka.SetAdminIsolationLevel(isolation))
		if err != nil {
			return err
		}
		for tp, info := range res.ResultInfos {
			p := partitionOf(tp)
			if info.Error.Code() != kafka.ErrNoError {
				return kafka.NewError(info.Error.Code(), fmt.Sprintf("%s: %s", p, info.Error.Code()), false)
			}
			out[p] = int64(info.Offset)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		if _, ok := out[p]; !ok {
			return nil, fmt.Errorf("kafka %s: no offset of %s was answered", strings.Join(a.brokers, ","), p)
		}
	}
	return out, nil
}
