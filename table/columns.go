package table

// The columns that every row of a pipeline's tables carries, and that no row lacks.
const (
	ColumnTopic     = "_kafka_topic"     // string
	ColumnPartition = "_kafka_partition" // int
	ColumnOffset    = "_kafka_offset"    // long
	ColumnEpoch     = "_kafka_epoch"     // int: raised when a partition's offsets begin anew
)
