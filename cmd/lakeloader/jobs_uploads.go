package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// uploadFolders are where lakeloader and Iceberg put files.
func (u *upkeep) uploadFolders(ctx context.Context, tables []table.Ident) ([]string, error) {
	all := []string{u.lake.root + "/_lakeloader/"}
	for _, id := range tables {
		of, err := tableFolders(ctx, u.lake, id)
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	return all, nil
}

// uploadsReport adds unfinished uploads to the report of orphans.
func uploadsReport(r *jobs.Report, list []objects.Unfinished) {
	r.Numbers["uploads"] = int64(len(list))
	if len(list) == 0 {
		return
	}
	r.Summary += ", " + count(len(list), "unfinished upload")
	for i, u := range list {
		if i == 10 {
			r.Details = append(r.Details, fmt.Sprintf("and %d more unfinished uploads", len(list)-i))
			break
		}
		r.Details = append(r.Details, fmt.Sprintf("%s: an upload that was begun at %s and never ended", u.URI, u.Begun.UTC().Format(time.RFC3339)))
	}
}
