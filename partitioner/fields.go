// Package partitioner assigns the rows of a batch to Iceberg partitions: it reads the partition_by setting, checks it
// against the columns, and splits batches into lists of row indexes. It never copies rows.
package partitioner

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// Parse reads partition_by entries (day(ts), country, bucket(16, id), truncate(4, sku), ...) and checks each against
// the row type, a struct. Fields get the names that Iceberg's own libraries choose: ts_day, country, id_bucket,
// sku_trunc. An error names the entry, what is wrong with it, and what would be right.
func Parse(entries []string, row *batch.Type) ([]table.PartitionField, error) {
	var fields []table.PartitionField
	names := map[string]string{}
	times := map[string]string{}
	for i, text := range entries {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("partition_by[%d] %s: %s", i, text, fmt.Sprintf(format, args...))
		}
		t, err := configs.ParseTransform(text)
		if err != nil {
			return nil, fail("%v", err)
		}
		f := table.PartitionField{Source: t.Column, Transform: t.Name, Name: t.Column + suffix[t.Name]}
		if t.Param > 0 {
			f.Transform = fmt.Sprintf("%s[%d]", t.Name, t.Param)
		}
		if _, err := compile(f, row); err != nil {
			return nil, fail("%v", err)
		}
		if other, ok := names[f.Name]; ok {
			return nil, fail("it gives the partition field %s, as %s does; leave one of them out", f.Name, other)
		}
		names[f.Name] = text
		if row.Index(f.Name) >= 0 && t.Name != "identity" {
			return nil, fail("its partition field would be called %s, as a column is; rename the column", f.Name)
		}
		if units[t.Name] {
			if other, ok := times[f.Source]; ok {
				return nil, fail("%s already divides by the time in %s; keep only the finer one", other, f.Source)
			}
			times[f.Source] = text
		}
		fields = append(fields, f)
	}
	return fields, nil
}

var (
	suffix = map[string]string{"year": "_year", "month": "_month", "day": "_day", "hour": "_hour", "bucket": "_bucket", "truncate": "_trunc"}
	units  = map[string]bool{"year": true, "month": true, "day": true, "hour": true}
	// sources are the column types that a transform takes. Binary floating point is left out everywhere: values that
	// print alike would make partitions of their own.
	sources = map[string][]batch.Kind{
		"identity": {batch.Boolean, batch.Int, batch.Long, batch.Decimal, batch.Date, batch.Time, batch.Timestamp,
			batch.TimestampTZ, batch.String, batch.UUID, batch.Fixed, batch.Binary},
		"year":  {batch.Date, batch.Timestamp, batch.TimestampTZ},
		"month": {batch.Date, batch.Timestamp, batch.TimestampTZ},
		"day":   {batch.Date, batch.Timestamp, batch.TimestampTZ},
		"hour":  {batch.Timestamp, batch.TimestampTZ},
		"bucket": {batch.Int, batch.Long, batch.Decimal, batch.Date, batch.Time, batch.Timestamp, batch.TimestampTZ,
			batch.String, batch.UUID, batch.Fixed, batch.Binary},
		"truncate": {batch.Int, batch.Long, batch.Decimal, batch.String, batch.Binary},
		"void":     nil,
	}
)

// compile checks one partition field against the row type.
func compile(f table.PartitionField, row *batch.Type) (*field, error) {
	c := &field{name: f.Name, path: strings.Split(f.Source, ".")}
	var arg string
	c.transform, arg, _ = strings.Cut(f.Transform, "[")
	kinds, known := sources[c.transform]
	if !known {
		return nil, fmt.Errorf("the transform %s is not known", f.Transform)
	}
	if c.transform == "bucket" || c.transform == "truncate" {
		n, err := strconv.ParseInt(strings.TrimSuffix(arg, "]"), 10, 32)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("the transform %s needs a positive number", f.Transform)
		}
		c.param = n
	}
	t := row
	for i, name := range c.path {
		at := strings.Join(c.path[:i+1], ".")
		if t.Kind != batch.Struct {
			return nil, fmt.Errorf("%s is a %s and has no field %s that could be partitioned by", strings.Join(c.path[:i], "."), t, name)
		}
		k := t.Index(name)
		if k < 0 {
			return nil, fmt.Errorf("there is no column %s; there are %s", at, fieldNames(t))
		}
		t = t.Fields[k].Type
	}
	c.typ = t
	if kinds == nil {
		return c, nil
	}
	for _, k := range kinds {
		if k == t.Kind {
			return c, nil
		}
	}
	hint := ""
	if t.Kind == batch.Float || t.Kind == batch.Double {
		hint = "; cast it to a decimal or an integer first"
	} else if units[c.transform] {
		hint = "; it needs a date or timestamp: the steps cast and parse_timestamp make one"
	}
	return nil, fmt.Errorf("%s is a %s, which %s cannot divide%s", f.Source, t, c.transform, hint)
}

func fieldNames(t *batch.Type) string {
	names := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}
