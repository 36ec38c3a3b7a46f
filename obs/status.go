package obs

import (
	"time"

	"github.com/lakeloader/lakeloader/views"
)

// Phase is what a pipeline is doing.
type Phase string

// The phases.
const (
	Starting Phase = "starting" // not reading yet
	Running  Phase = "running"  // reading, or all caught up
	Waiting  Phase = "waiting"  // for something outside (registry, broker, catalog), which is retried; Reason says what
	Failing  Phase = "failing"  // the last attempt failed; LastError says why and when the next one is
	Stopped  Phase = "stopped"
)

// Status is the state of a daemon at one moment: the document of /api/status.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"`
	// Ready: there are pipelines, and the commits of every one are progressing.
	Ready     bool             `json:"ready"`
	Memory    MemoryStatus     `json:"memory"`
	Pipelines []PipelineStatus `json:"pipelines"` // by name
	// Lookups are what pipelines join their rows with, in the order of the configuration.
	Lookups []LookupStatus `json:"lookups,omitempty"`
	// Windows are the totals that this process keeps, in the order of the configuration.
	Windows []WindowStatus `json:"windows,omitempty"`
	// Jobs are those that this process has run, by name and target.
	Jobs []JobStatus `json:"jobs,omitempty"`
}

// MemoryStatus is how the ceiling on the process's resident memory is divided, bytes; zeros: there is none.
type MemoryStatus struct {
	Ceiling int64 `json:"ceiling_bytes"`
	// Fetch is what Kafka's client may take for all pipelines, Go the limit of the Go runtime.
	Fetch int64 `json:"fetch_bytes"`
	Go    int64 `json:"go_bytes"`
	// Work is what the pipelines may hold together, Used what they hold.
	Work int64 `json:"work_bytes"`
	Used int64 `json:"used_bytes"`
	// Lookups is what the lookups take, which the pipelines may hold less of Work by.
	Lookups int64 `json:"lookups_bytes,omitempty"`
	// Windows is what the windows may take.
	Windows int64 `json:"windows_bytes,omitempty"`
	// Current is what the job may take that brings tables of present rows up to date.
	Current int64 `json:"current_bytes,omitempty"`
}

// MemoryUse is what a pipeline holds of MemoryStatus.Work, bytes.
type MemoryUse struct {
	Batches  int64 `json:"batches"`  // the records of the last fetch
	Files    int64 `json:"files"`    // rows and pages of open files
	Uploads  int64 `json:"uploads"`  // files on their way to the object store
	Finished int64 `json:"finished"` // what is known of finished files, until the commit
}

// PipelineStatus is the state of one pipeline. Counts are since the process started; rates are over the last minute.
type PipelineStatus struct {
	Name   string `json:"name"`
	Table  string `json:"table"`
	Phase  Phase  `json:"state"`
	Reason string `json:"reason,omitempty"`
	Ready  bool   `json:"ready"`
	// NotReady says why, when Ready is false.
	NotReady string `json:"not_ready,omitempty"`
	// Alarm: it has not been ready for longer than commit.alarm_after.
	Alarm     bool         `json:"alarm"`
	LastError *ErrorStatus `json:"last_error,omitempty"`

	RecordsPerSecond     float64 `json:"records_per_second"`
	BytesPerSecond       float64 `json:"bytes_per_second"`
	DeadLettersPerSecond float64 `json:"dead_letters_per_second"`

	// Records and Bytes were read from Kafka. What was read again after a dropped round counts again.
	Records     int64     `json:"records"`
	Bytes       int64     `json:"bytes"`
	LastMessage time.Time `json:"last_message,omitzero"` // when it was read
	// Rows, WrittenBytes, Files, Filtered and DeadLetters are in committed rounds.
	Rows         int64            `json:"rows"`
	WrittenBytes int64            `json:"written_bytes"`
	Files        int64            `json:"files"`
	Filtered     int64            `json:"filtered"`
	FilteredBy   map[string]int64 `json:"filtered_by,omitempty"` // step name
	RoutedRows   map[string]int64 `json:"routed_rows,omitempty"` // those of Rows in tables other than the pipeline's own, by table
	DeadLetters  int64            `json:"dead_letters"`
	DeadBy       []DeadStatus     `json:"dead_letters_by,omitempty"`
	LastReject   *RejectStatus    `json:"last_reject,omitempty"`

	LastCommit       *CommitStatus `json:"last_commit,omitempty"`
	UnpublishedRows  int64         `json:"unpublished_rows"`
	UnpublishedBytes int64         `json:"unpublished_bytes"`
	UnpublishedSince time.Time     `json:"unpublished_since,omitzero"` // when the oldest of them was read
	Memory           MemoryUse     `json:"memory"`

	Rounds        int64 `json:"rounds"` // committed
	Fences        int64 `json:"fences"`
	DroppedRounds int64 `json:"dropped_rounds"`

	// LagRecords is the sum over partitions; LagSeconds the greatest.
	LagRecords int64             `json:"lag_records"`
	LagSeconds float64           `json:"lag_seconds"`
	Partitions []PartitionStatus `json:"partitions"` // by topic and number

	// Views are what the rows of the last minutes add up to.
	Views []views.Table `json:"views,omitempty"`
	// Joins are those of enrich, in order.
	Joins []JoinStatus `json:"joins,omitempty"`

	// Complete is what the pipeline's tables say is complete, by table; of pipelines that say so.
	Complete []CompleteStatus `json:"complete,omitempty"`
	// Routes are where rows are sent besides the lake, by name.
	Routes []RouteStatus `json:"routes,omitempty"`
}

// ErrorStatus is the last error of a pipeline. It stays after the pipeline has recovered; its phase tells.
type ErrorStatus struct {
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
	// Since is when the trouble began, and Attempts how often something has failed since; a commit ends it.
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	NextTry  time.Time `json:"next_try,omitzero"`
}

// DeadStatus counts the dead letters of a step.
type DeadStatus struct {
	Stage string `json:"stage"`
	Step  string `json:"step,omitempty"`
	Count int64  `json:"count"`
}

// RejectStatus is the last record that broke a rule.
type RejectStatus struct {
	Time   time.Time `json:"time"`
	Stage  string    `json:"stage"`
	Step   string    `json:"step,omitempty"`
	Reason string    `json:"reason"`
}

// CommitStatus is the last committed round.
type CommitStatus struct {
	ID      string    `json:"id"`
	Number  int64     `json:"number"`
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds"` // that the commit took
	Rows    int64     `json:"rows"`
	Bytes   int64     `json:"bytes"`
	Files   int64     `json:"files"`
}

// PartitionStatus is the state of a topic partition that this process owns. Offsets are -1 where they are not known.
type PartitionStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Epoch     int32  `json:"epoch"`
	// Committed is the next offset by the table, Position the next one to read, HighWatermark the end of the partition.
	Committed     int64 `json:"committed"`
	Position      int64 `json:"position"`
	HighWatermark int64 `json:"high_watermark"`
	// LagRecords is from Committed to HighWatermark: what is not in the lake. LagSeconds is the age of the oldest record
	// of those; of one that was not read yet it is an upper bound.
	LagRecords int64   `json:"lag_records"`
	LagSeconds float64 `json:"lag_seconds"`
	// Stopped says why nothing of the partition's topic is loaded, while other topics are.
	Stopped string `json:"stopped,omitempty"`
}

// LagKnown reports whether LagRecords and LagSeconds say something: they are 0 while an end is not known.
func (p PartitionStatus) LagKnown() bool { return p.Committed >= 0 && p.HighWatermark >= 0 }
