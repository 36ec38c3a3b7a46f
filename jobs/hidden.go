package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/table"
)

// Unhider writes data files anew in which delete files hide rows, so that these rows are in no file of main. It changes no rows.
type Unhider struct {
	Tables Tables
	// Merge and Commit are as a Compactor's.
	Merge  func(ctx context.Context, id table.Ident, sources []table.File, deletes []string) (Merged, error)
	Commit func(ctx context.Context, rw *Rewrite) error
	// Which are the files to write anew.
	Which func(ctx context.Context, files []table.File, deletes []string) ([]table.File, error)
}

// tries is how often files are looked for again when others have changed them meanwhile.
const tries = 10

// Run writes the files anew, one after the other, and says how many there were. In a dry run it only looks.
func (u *Unhider) Run(ctx context.Context, id table.Ident, dry bool) (n int, err error) {
	for failed := 0; ; failed++ {
		done, err := u.once(ctx, id, dry)
		n += done
		if !errors.Is(err, ErrStale) || failed == tries {
			return n, err
		}
	}
}

func (u *Unhider) once(ctx context.Context, id table.Ident, dry bool) (n int, err error) {
	s, err := u.Tables.Open(ctx, id)
	if err != nil {
		return 0, err
	}
	base, err := s.Load(ctx)
	if err != nil || base.Snapshot == 0 {
		return 0, err
	}
	files, deletes, err := u.Tables.Files(ctx, id, base.Snapshot)
	if err != nil || len(deletes) == 0 {
		return 0, err
	}
	which, err := u.Which(ctx, files, deletes)
	if err != nil || dry {
		return len(which), err
	}
	for _, f := range which {
		out, err := u.Merge(ctx, id, []table.File{f}, deletes)
		if err != nil {
			return n, fmt.Errorf("writing %s of table %s anew: %w", f.Path, id, err)
		}
		err = u.Commit(ctx, &Rewrite{Table: id, UUID: base.UUID, Snapshot: base.Snapshot, Inputs: []string{f.Path}, Deletes: deletes, Output: out.Files,
			Summary: map[string]string{table.SummaryJob: table.JobCompact}}) // the rows are those that were there before
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
