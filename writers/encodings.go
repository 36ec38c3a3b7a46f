package writers

import (
	"fmt"
	"io"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"
)

const (
	// maxDictionary is the size of a dictionary beyond which the rest of a row group is written plainly; less where many
	// files share the memory.
	maxDictionary = 512 << 10
	// enoughRows is how many rows a batch needs for encodings to be chosen by trial; before, dictionaries are used.
	enoughRows = 1000
	// sampleRows is how many rows are tried.
	sampleRows = 4096
)

// pageVersion says which encodings and data pages readers of the table understand. Iceberg's vectorized reader in Spark
// takes the DELTA encodings of numbers since 1.10 and those of text since 1.11; older ones fail on the column. The
// table property write.parquet.page-version is Iceberg's own and means the same there.
type pageVersion uint8

const (
	pagesDefault pageVersion = iota // pages of version 1, DELTA_BINARY_PACKED for numbers where it is smaller
	pages1                          // v1: only PLAIN and dictionaries, for every reader there is
	pages2                          // v2: pages of version 2, DELTA encodings also for text
)

func pageVersionOf(properties map[string]string) (pageVersion, error) {
	const name = "write.parquet.page-version"
	switch v := properties[name]; v {
	case "":
		return pagesDefault, nil
	case "v1":
		return pages1, nil
	case "v2":
		return pages2, nil
	default:
		return 0, fmt.Errorf("the table property %s is %q; it can be v1 or v2", name, v)
	}
}

// candidates are the encodings worth trying for a leaf, the cheapest to read first.
//
// A dictionary is no candidate for columns with a bloom filter: parquet-go fills the filter from the dictionary, and
// would leave out the values written after it grew too large.
func candidates(l *leaf, pages pageVersion, bloom bool) []encoding.Encoding {
	out := []encoding.Encoding{&parquet.Plain}
	switch l.typ.Kind {
	case batch.Boolean:
		return out
	case batch.Int, batch.Date, batch.Long, batch.Time, batch.Timestamp, batch.TimestampTZ:
		if pages != pages1 {
			out = append(out, &parquet.DeltaBinaryPacked)
		}
	case batch.String, batch.Binary:
		if pages == pages2 {
			out = append(out, &parquet.DeltaLengthByteArray)
		}
	}
	if !bloom && !wide(l.typ) {
		out = append(out, &parquet.RLEDictionary)
	}
	return out
}

// initial is the encoding before enough rows were seen: a dictionary, which does little harm while small.
func initial(l *leaf, pages pageVersion, bloom bool) encoding.Encoding {
	c := candidates(l, pages, bloom)
	return c[len(c)-1]
}

// trial writes the present values of a leaf in some rows in each encoding and returns the cheapest, a plainer one winning
// over one that saves less than 3 percent or half a bit a value. The cost is the size, plus 2 percent of the size before
// compression, as that is what has to be compressed here and uncompressed by every reader.
func trial(f feed, options []encoding.Encoding, codec compress.Codec) (encoding.Encoding, error) {
	if len(f.slots) == 0 {
		return options[len(options)-1], nil
	}
	best, least := options[0], int64(0)
	for i, e := range options {
		cost, err := encodingCost(f, e, codec)
		if err != nil {
			return nil, fmt.Errorf("column %s: trying an encoding: %w", f.leaf.name(), err)
		}
		if i == 0 || cost < least-least/33-int64(len(f.slots)/16) {
			best, least = e, cost
		}
	}
	return best, nil
}

// encodingCost writes a Parquet file of one column to nowhere.
func encodingCost(f feed, e encoding.Encoding, codec compress.Codec) (int64, error) {
	node := parquet.Encoded(parquet.Leaf(newLeafType(f.leaf.typ, &f)), e)
	schema := parquet.NewSchema("trial", &group{fields: []parquet.Field{&column{Node: node, name: "v"}}})
	w := parquet.NewGenericWriter[any](io.Discard, schema, parquet.Compression(codec))
	if _, err := w.ColumnWriters()[0].WriteRowValues(make([]parquet.Value, len(f.slots))); err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	cost := int64(0)
	for _, g := range w.File().Metadata().RowGroups {
		cost += g.TotalCompressedSize + g.TotalByteSize/50
	}
	return cost, nil
}
