package jobs

import (
	"math"
	"testing"
)

func TestCost(t *testing.T) {
	l := Layout{Columns: 10, RowGroup: 32 << 20, TargetSize: 128 << 20, Part: 8 << 20}
	var c Cost
	if c.String() != "" {
		t.Errorf("nothing: %q", c.String())
	}
	c.Read(100, 100<<20, l.Columns, l) // small ones
	if n := c.Write(100<<20, 1, l); n != 1 || c.Put != 13+2 {
		t.Errorf("%d files, %+v", n, c)
	}
	c.Read(1, 100<<20, l.Columns, l)
	c.Commit(1)
	c.Price(Prices{Put: 0.005, Get: 0.0004})
	if c.Get != 100+2+40+2 || c.Put != 15+3 || math.Abs(c.USD-(18*0.005+144*0.0004)/1000) > 1e-12 {
		t.Errorf("%+v", c)
	}
	if got := c.String(); got != "209715200 bytes read, 104857600 bytes written; about 144 GET, 18 PUT requests, US$ 0.000148" {
		t.Error(got)
	}
	c = Cost{}
	c.Read(2, 200<<20, 5, l) // half of the columns
	if c.Get != 2*2+4*5 || c.ReadBytes != 100<<20 {
		t.Errorf("some columns: %+v", c)
	}
	c = Cost{}
	c.Remove(2001, 5)
	c.Listing(2500, 2)
	if got := c.String(); c.Delete != 3 || got != "5 bytes freed; about 4 LIST, 3 DELETE requests" {
		t.Error(got)
	}
	c = Cost{}
	c.Write(3<<20, 0, l)
	c.Write(0, 1, l)
	if c.Put != 1 {
		t.Errorf("a small file: %+v", c)
	}
	c.Write(256<<20, 2, l)
	if c.Put != 1+2*(16+2) {
		t.Errorf("two files: %+v", c)
	}
}
