package main

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
)

// counting counts the requests that a store of S3 would make: Open asks for the size, OpenSized reads it whole.
type counting struct {
	objects.Store
	gets, puts atomic.Int64
}

func (c *counting) Open(ctx context.Context, uri string) (objects.Reader, error) {
	c.gets.Add(1)
	r, err := c.Store.Open(ctx, uri)
	return countingReader{r, c}, err
}

func (c *counting) OpenSized(ctx context.Context, uri string, _ int64) (objects.Reader, error) {
	c.gets.Add(1)
	return c.Store.Open(ctx, uri)
}

func (c *counting) Create(ctx context.Context, uri string) (objects.Upload, error) {
	c.puts.Add(1)
	return c.Store.Create(ctx, uri)
}

type countingReader struct {
	objects.Reader
	c *counting
}

func (r countingReader) ReadAt(p []byte, off int64) (int, error) {
	r.c.gets.Add(1)
	return r.Reader.(io.ReaderAt).ReadAt(p, off)
}

// What a plan of a compaction says is of the order of what it then asks for, of data files.
func TestCompactionCost(t *testing.T) {
	t.Parallel()
	file, _ := jobLake(t)
	u := later(t, file, 2*time.Hour)
	u.cfg.Jobs.Prices = configs.Prices{Put: 5000, Get: 400}
	plan := planJob(t, u, "compact")["lake.t"]
	if plan.Cost == nil || plan.Cost.ReadBytes == 0 || plan.Cost.Get != 0 || plan.Cost.USD != 0 || !strings.Contains(plan.Details[0], " bytes read") {
		t.Errorf("a local folder: %+v, %+v", plan, plan.Cost)
	}
	root := u.lake.root
	u.lake.root = "s3://bucket/lake" // as if
	priced := planJob(t, u, "compact")["lake.t"].Cost
	u.lake.root = root
	count := &counting{Store: u.lake.objects}
	u.lake.objects = count
	runJob(t, u, "compact")
	gets, puts := count.gets.Load()+2, count.puts.Load()+3 // and those of the commit
	t.Logf("%d GET, %d PUT; planned %s", gets, puts, priced)
	if priced.Put != puts || priced.Get < gets/2 || priced.Get > 2*gets || priced.USD == 0 || !strings.Contains(priced.String(), "US$ 0.000") {
		t.Errorf("%d GET, %d PUT; planned %+v", gets, puts, priced)
	}
}
