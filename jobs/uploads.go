package jobs

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Uploads are object stores that can tell of uploads that were begun and never ended.
type Uploads interface {
	// Unfinished lists those of objects whose URI begins with prefix.
	Unfinished(ctx context.Context, prefix string) ([]objects.Unfinished, error)
	// Abandon ends one; it is no error if it has ended meanwhile.
	Abandon(ctx context.Context, u objects.Unfinished) error
}

const abandonAtOnce = 8

// unfinished are the uploads into Folders that were begun before the cutoff. What they would become
// is as old, and nothing commits it any more.
func (o *Orphans) unfinished(ctx context.Context, tables []table.Ident, cutoff time.Time) (old []objects.Unfinished, err error) {
	if o.Uploads == nil {
		return nil, nil
	}
	folders, err := o.Folders(ctx, tables)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		list, err := o.Uploads.Unfinished(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, u := range list {
			if u.Begun.Before(cutoff) {
				old = append(old, u)
			}
		}
	}
	return old, nil
}

func (o *Orphans) abandon(ctx context.Context, list []objects.Unfinished) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(abandonAtOnce)
	for _, u := range list {
		g.Go(func() error { return o.Uploads.Abandon(ctx, u) })
	}
	return g.Wait()
}
