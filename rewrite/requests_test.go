package rewrite

import (
	"context"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// counting is a store that reads objects whole if their size is known, as S3 does, and counts what it is asked for.
type counting struct {
	objects.Store
	mu            sync.Mutex
	wholes, opens map[string]int
}

func newCounting(s objects.Store) *counting {
	return &counting{Store: s, wholes: map[string]int{}, opens: map[string]int{}}
}

func (c *counting) count(in map[string]int, uri string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in[uri]++
}

func (c *counting) OpenSized(ctx context.Context, uri string, _ int64) (objects.Reader, error) {
	c.count(c.wholes, uri)
	return c.Store.Open(ctx, uri)
}

func (c *counting) Open(ctx context.Context, uri string) (objects.Reader, error) {
	c.count(c.opens, uri)
	return c.Store.Open(ctx, uri)
}

// Every small file of a merge is asked for once, however its rows are ordered, and so is one that is rewritten.
func TestSmallFilesTakeOneRequest(t *testing.T) {
	for name, change := range map[string]func(in *MergeInput){
		"unsorted":  func(*MergeInput) {},
		"sorted":    func(in *MergeInput) { in.SortBy = []table.SortField{{Source: "campaignId"}} },
		"z-ordered": func(in *MergeInput) { in.ZOrder = []string{"campaignId", "ts"} },
		"deleted": func(in *MergeInput) {
			in.Deleted = map[string]*roaring64.Bitmap{in.Sources[3].Path: roaring64.BitmapOf(1)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClicks(t)
			var sources []table.File
			for range 40 {
				sources = append(sources, c.write(50))
			}
			in := c.input(sources...)
			change(&in)
			store := newCounting(c.store)
			in.Store = store
			m, err := Merge(t.Context(), in)
			if err != nil || m.Rows+m.Deleted != 40*50 {
				t.Fatalf("%+v, %v", m, err)
			}
			for _, f := range sources {
				if store.wholes[f.Path] != 1 || store.opens[f.Path] != 0 {
					t.Errorf("%s is fetched %d times, and opened %d times", f.Path, store.wholes[f.Path], store.opens[f.Path])
				}
			}
		})
	}
	l := newLake(t)
	f := l.write("x", "a", 0, 0, 9)
	in := l.input(offsets("a", 0, map[int64]Verdict{1: Drop}))
	store := newCounting(in.Store)
	in.Store, in.Source = store, f
	if r, err := File(t.Context(), in); err != nil || r.Dropped != 1 || store.wholes[f.Path] != 1 || store.opens[f.Path] != 0 {
		t.Errorf("%+v, %v, fetched %d times", r, err, store.wholes[f.Path])
	}
}
