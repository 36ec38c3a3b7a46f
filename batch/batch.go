package batch

// Null is the View of an absent Kafka key or value (an empty one is View{}, with any Off).
var Null = View{Off: ^uint32(0)}

// IsNull reports whether the view stands for an absent key or value.
func (v View) IsNull() bool { return v == Null }

// Span is a range [First, Next) of the offsets of one topic partition. Spans come from the consumer's
// position, so they cover control records and aborted transactions, which have no record.
type Span struct {
	Topic     string
	Partition int32
	First     int64
	Next      int64
}

// Records is what a consumer delivers at once: a struct of arrays over one arena, rows in the order
// of fetching (ascending offsets within a partition). Whoever holds it owns it until Reset.
type Records struct {
	// Mem is the arena: payloads, and what decoders and steps append to it. At most 4 GiB.
	Mem []byte
	// Topics are the names that Topic points into.
	Topics    []string
	Topic     []int32
	Partition []int32
	Offset    []int64
	Timestamp []int64 // milliseconds since the Unix epoch; -1: none
	Key       []View
	Value     []View
	// Headers are the record's headers, each as uvarint name length, name, uvarint value length + 1
	// (0: null value), value; an empty view: none.
	Headers []View
	// Spans say which offsets this fetch has dealt with, records or not.
	Spans []Span
}

// Len is the number of records.
func (r *Records) Len() int { return len(r.Offset) }

// Bytes returns the bytes of a view; nil for Null. The slice is good until Mem grows.
func (r *Records) Bytes(v View) []byte {
	if v.IsNull() {
		return nil
	}
	return r.Mem[v.Off : v.Off+v.Len : v.Off+v.Len]
}

// Append copies b into the arena.
func (r *Records) Append(b []byte) View {
	v := View{uint32(len(r.Mem)), uint32(len(b))}
	r.Mem = append(r.Mem, b...)
	return v
}

// AppendString is Append for a string.
func (r *Records) AppendString(s string) View {
	v := View{uint32(len(r.Mem)), uint32(len(s))}
	r.Mem = append(r.Mem, s...)
	return v
}

// Reset empties r and keeps its memory.
func (r *Records) Reset() {
	r.Mem, r.Topic, r.Partition, r.Offset, r.Timestamp = r.Mem[:0], r.Topic[:0], r.Partition[:0], r.Offset[:0], r.Timestamp[:0]
	r.Key, r.Value, r.Headers, r.Spans = r.Key[:0], r.Value[:0], r.Headers[:0], r.Spans[:0]
}

// Fate says what becomes of a row.
type Fate uint8

// The fates. A row has the first that a stage gave it.
const (
	Keep     Fate = iota
	Filtered      // dropped by a rule that the user wrote; counted by step
	Dead          // broke a rule; goes to the dead-letter table
)

// Reject is why a record goes to the dead letters.
type Reject struct {
	Record   int32 // index into Records
	SchemaID int32 // of the value, in the registry; 0: none known
	// KeySchemaID is that of the key, when the key was refused; 0: none known.
	KeySchemaID int32
	Stage       string // decode, resolve, changes, cleanse, enrich, partition, encode, evolve
	Step        string // name of the step within the stage, with its position: "cleanse[3] validate"
	Reason      string
}

// Batch is the rows decoded from some records.
//
// Invariants: Root is a required struct column with Rows slots; Record, SchemaID and Fate have Rows
// entries; Record ascends. A record that could not be decoded has no row, only a Reject. Views in
// columns point into Records.Mem.
type Batch struct {
	*Records
	Root     *Column
	Rows     int
	Record   []int32
	SchemaID []int32
	Fate     []Fate
	Rejects  []Reject
	// FilteredBy counts, per step name, and keeps for the round object, the records that were filtered.
	FilteredBy map[string][]int32
}

// New returns an empty batch of the given row type over r.
func New(r *Records, row *Type) *Batch {
	return &Batch{Records: r, Root: NewColumn(row, r.Len())}
}

// Reject makes row a dead letter unless it already has another fate.
func (b *Batch) Reject(row int, stage, step, reason string) {
	if b.Fate[row] != Keep {
		return
	}
	b.Fate[row] = Dead
	b.Rejects = append(b.Rejects, Reject{Record: b.Record[row], SchemaID: b.SchemaID[row], Stage: stage, Step: step, Reason: reason})
}

// Filter drops row on behalf of a step unless it already has another fate.
func (b *Batch) Filter(row int, step string) {
	if b.Fate[row] != Keep {
		return
	}
	b.Fate[row] = Filtered
	if b.FilteredBy == nil {
		b.FilteredBy = map[string][]int32{}
	}
	b.FilteredBy[step] = append(b.FilteredBy[step], b.Record[row])
}

// AppendRow notes that a row was appended to Root for a record.
func (b *Batch) AppendRow(record int, schemaID int32) {
	b.Rows++
	b.Record = append(b.Record, int32(record))
	b.SchemaID = append(b.SchemaID, schemaID)
	b.Fate = append(b.Fate, Keep)
}

// Reset empties b for other records and keeps its memory.
func (b *Batch) Reset(r *Records) {
	b.Records, b.Rows = r, 0
	b.Root.Reset()
	b.Record, b.SchemaID, b.Fate, b.Rejects, b.FilteredBy = b.Record[:0], b.SchemaID[:0], b.Fate[:0], b.Rejects[:0], nil
}
