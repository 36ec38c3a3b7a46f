package lookups_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/localdb"
	"github.com/lakeloader/lakeloader/localdb/localdbtest"
	"github.com/lakeloader/lakeloader/lookups"
	"github.com/lakeloader/lakeloader/source"
)

// broker has one partition, whose records are sent by the test.
type broker struct {
	sent atomic.Pointer[[]string] // values
	more chan struct{}
	at   int64
}

var people = source.Partition{Topic: "people"}

func (b *broker) TopicIDs(context.Context, []string) (map[string]string, error) {
	return map[string]string{"people": "id"}, nil
}

func (b *broker) Watermarks(context.Context, []source.Partition) (map[source.Partition]source.Watermarks, error) {
	return map[source.Partition]source.Watermarks{people: {High: int64(len(*b.sent.Load()))}}, nil
}

func (b *broker) Partitions(context.Context, configs.Source) ([]source.Partition, error) {
	return []source.Partition{people}, nil
}

func (b *broker) Add(from map[source.Partition]int64) error { b.at = from[people]; return nil }

func (b *broker) Poll(ctx context.Context, r *batch.Records, wait time.Duration) error {
	values := *b.sent.Load()
	if b.at == int64(len(values)) {
		select {
		case <-b.more:
		case <-ctx.Done():
		case <-time.After(wait):
		}
		return ctx.Err()
	}
	first := b.at
	for ; b.at < int64(len(values)) && b.at < first+500; b.at++ {
		view := func(s string) batch.View {
			r.Mem = append(r.Mem, s...)
			return batch.View{Off: uint32(len(r.Mem) - len(s)), Len: uint32(len(s))}
		}
		r.Topic, r.Partition, r.Offset, r.Timestamp = append(r.Topic, 0), append(r.Partition, 0), append(r.Offset, b.at), append(r.Timestamp, b.at)
		r.Key, r.Value, r.Headers = append(r.Key, view(fmt.Sprint(b.at%100_000))), append(r.Value, view(values[b.at])), append(r.Headers, batch.View{})
	}
	r.Topics = []string{"people"}
	r.Spans = append(r.Spans, batch.Span{Topic: "people", First: first, Next: b.at})
	return nil
}

func (b *broker) LastError() (error, time.Time) { return nil, time.Time{} } //nolint:staticcheck // as Consumer has it

func (b *broker) Close() error { return nil }

func (b *broker) send(from, n int) {
	values := slices.Clone(*b.sent.Load())
	for i := range n {
		values = append(values, fmt.Sprintf(`{"id":%d,"name":"number %d%s"}`, from+i, from+i, strings.Repeat("x", 300)))
	}
	b.sent.Store(&values)
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// TestTopicOnAFullDisk: with little room left a lookup stays as it is; with none it is not ready until its rows have been read anew. What a
// killed process has left is gone, what a living one has is there.
func TestTopicOnAFullDisk(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	left := filepath.Join(temp, enrich.DiskPrefix+"1")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := localdb.NewTemp(enrich.DiskPrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Remove(); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(temp); err != nil || len(entries) > 0 {
			t.Errorf("left are %v, %v", entries, err)
		}
	})
	disk := localdbtest.NewDisk(1 << 30)
	b := &broker{more: make(chan struct{}, 1)}
	b.sent.Store(&[]string{})
	b.send(0, 8000)
	decode := configs.Decode{Value: configs.Format{Format: "json", Columns: []configs.ColumnDef{{Name: "id", Type: "long"}, {Name: "name", Type: "string"}}}}
	x := run(t, configs.Lookup{Name: "people", Key: []string{"id"}, Memory: 1 << 20, Topic: &configs.LookupTopic{Name: "people", Decode: decode}},
		lookups.Deps{Topics: b, NewConsumer: func(string) (lookups.Consumer, error) { return b, nil }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Disk: disk.Options(vfs.Default)})
	until := func(what string, is func(enrich.Status) bool) { t.Helper(); wait(t, x, what, is) }
	until("first version", func(st enrich.Status) bool { return st.Ready && st.Version == "0:8000" })
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s of a killed process is there: %v", left, err)
	}
	if _, err := os.Stat(other.Dir); err != nil {
		t.Error(err)
	}
	disk.SetFree(50 << 20)
	b.send(8000, 8000)
	until("refusal", func(st enrich.Status) bool { return strings.Contains(st.Trouble, "50 MiB, of which 64 MiB stay free") })
	st := x.Status()
	if !st.Ready || st.Version == "0:16000" {
		t.Errorf("%+v", st)
	}
	disk.SetFree(1 << 30)
	until("second version", func(st enrich.Status) bool { return st.Ready && st.Version == "0:16000" && st.Trouble == "" })
	if got := names(t, x, 15_999, 16_000); !strings.HasPrefix(got[0], "number 15999") || got[1] != "-" {
		t.Error(got)
	}
	disk.SetFull(true) // all at once, while what is left is not asked for
	b.send(16_000, 60_000)
	until("break", func(st enrich.Status) bool {
		return !st.Ready && strings.Contains(st.Waits, "no space left on device") && strings.Contains(st.Waits, "set TMPDIR") && strings.Contains(st.Waits, temp)
	})
	disk.SetFull(false)
	until("third version", func(st enrich.Status) bool { return st.Ready && st.Version == "0:76000" && st.Trouble == "" })
	if got := names(t, x, 75_999, 1); !strings.HasPrefix(got[0], "number 75999") || !strings.HasPrefix(got[1], "number 1x") {
		t.Error(got)
	}
}
