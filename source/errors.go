package source

import (
	"fmt"
	"strings"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Kind says what an Error is about, so that a caller can choose an exit code or stop a single topic.
type Kind uint8

// The kinds.
const (
	Login   Kind = iota + 1 // user, password or mechanism was refused
	TLS                     // no trusted encrypted connection
	Topic                   // a topic or partition does not exist (any more)
	Access                  // the user may not read a topic or join the group
	Group                   // the consumer group refuses this member
	Corrupt                 // a record batch cannot be read
	Fatal                   // the client cannot go on
)

var kinds = [...]string{Login: "login", TLS: "tls", Topic: "topic", Access: "access", Group: "group", Corrupt: "corrupt", Fatal: "fatal"}

func (k Kind) String() string {
	if int(k) < len(kinds) && k > 0 {
		return kinds[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is a problem that waiting does not cure.
type Error struct {
	Kind Kind
	// Partition that it is about; the zero value: the whole consumer.
	Partition Partition
	Brokers   []string
	// Hint says what to do.
	Hint string
	Err  error
}

func (e *Error) Error() string {
	where := "kafka " + strings.Join(e.Brokers, ",")
	if e.Partition.Topic != "" {
		where += ", " + e.Partition.String()
	}
	return fmt.Sprintf("%s: %v: %s", where, e.Err, e.Hint)
}

func (e *Error) Unwrap() error { return e.Err }

// OffsetOutOfRange says that the next offset to read of a partition is not there: fallen out of retention, or past
// the end because the topic was made again. Nothing more is delivered of the partition until Seek; others go on.
type OffsetOutOfRange struct {
	Partition Partition
	// Offset is the position that cannot be read on from; [Low, High) is what the broker has.
	Offset, Low, High int64
	// Truncated: the broker has the offset, but not what was read before it. The log was truncated and written anew since.
	Truncated bool
}

func (e *OffsetOutOfRange) Error() string {
	why := "those records fell out of retention"
	if e.Truncated {
		return fmt.Sprintf("%s: the broker's log is not the one that was read up to offset %d: it was truncated before that, by an unclean leader election or a loss of data, "+
			"and written anew since; set source.on_reset to earliest or latest to go on", e.Partition, e.Offset)
	}
	if e.Offset > e.High {
		why = "the partition ends before it, so the topic was made again or lost records"
	}
	return fmt.Sprintf("%s: offset %d is not on the broker, which has [%d, %d): %s; set source.on_reset to earliest or latest to go on with a gap",
		e.Partition, e.Offset, e.Low, e.High, why)
}

// AssignError says that the Handler could not give start offsets. The partitions are not read; the next Poll gives
// them back to the group, which deals them out again.
type AssignError struct {
	Partitions []Partition
	Err        error
}

func (e *AssignError) Error() string {
	return fmt.Sprintf("start offsets of %d partitions (first %s): %v", len(e.Partitions), e.Partitions[0], e.Err)
}

func (e *AssignError) Unwrap() error { return e.Err }

// classify makes an Error of a client error that waiting does not cure; nil for the others.
func classify(brokers []string, p *Partition, err kafka.Error) *Error {
	e := &Error{Brokers: brokers, Err: err}
	if p != nil {
		e.Partition = *p
	}
	if certificateRefused(err.String()) {
		e.Kind, e.Hint = TLS, "the broker wants another client certificate: check kafka.tls.cert_file and key_file"
		return e
	}
	switch err.Code() {
	case kafka.ErrAuthentication, kafka.ErrSaslAuthenticationFailed, kafka.ErrUnsupportedSaslMechanism, kafka.ErrIllegalSaslState:
		e.Kind, e.Hint = Login, "check kafka.sasl.mechanism, username and password (or where its tokens come from), and kafka.security"
	case kafka.ErrSsl:
		e.Kind, e.Hint = TLS, "check kafka.tls.ca_file, that the broker's certificate is for the host in kafka.brokers, and kafka.security"
	case kafka.ErrUnknownTopicOrPart, kafka.ErrUnknownTopic, kafka.ErrUnknownPartition, kafka.ErrUnknownTopicID:
		e.Kind, e.Hint = Topic, "check source.topics, or create the topic; the name is case sensitive"
	case kafka.ErrTopicException:
		e.Kind, e.Hint = Topic, "check source.topics: the name is not a legal topic name"
	case kafka.ErrTopicAuthorizationFailed:
		e.Kind, e.Hint = Access, "give the user READ and DESCRIBE on the topic"
	case kafka.ErrGroupAuthorizationFailed:
		e.Kind, e.Hint = Access, "give the user READ on the group (source.group)"
	case kafka.ErrClusterAuthorizationFailed:
		e.Kind, e.Hint = Access, "give the user DESCRIBE on the cluster"
	case kafka.ErrInconsistentGroupProtocol, kafka.ErrInvalidGroupID, kafka.ErrFencedInstanceID, kafka.ErrGroupMaxSizeReached:
		e.Kind, e.Hint = Group, "give the pipeline a consumer group of its own (source.group) that nothing else uses"
	case kafka.ErrBadMsg, kafka.ErrBadCompression, kafka.ErrNotImplemented, kafka.ErrInvalidMsg:
		e.Kind, e.Hint = Corrupt, "the broker holds a record batch that cannot be read; nothing after it is delivered"
	default:
		if !err.IsFatal() {
			return nil
		}
		e.Kind, e.Hint = Fatal, "the Kafka client gave up; start the process again"
	}
	return e
}

// certificateRefused recognizes a broker's alert about the client's certificate, which comes when the connection seems to
// be up already.
func certificateRefused(text string) bool {
	return strings.Contains(text, "SSL alert number") && (strings.Contains(text, "certificate") || strings.Contains(text, "unknown ca"))
}

func (p Partition) String() string { return fmt.Sprintf("%s[%d]", p.Topic, p.Partition) }
