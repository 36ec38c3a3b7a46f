package jobs

import (
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/objects"
)

// Cost is what a run would ask of the object store: an estimate, good for its order of magnitude.
type Cost struct {
	ReadBytes  int64 `json:"read_bytes"`
	WriteBytes int64 `json:"write_bytes"`
	FreeBytes  int64 `json:"free_bytes"` // that are no longer stored; for what a commit replaces, when its snapshots have expired
	// Requests: Get are those that read, Put those that write; a Delete removes up to 1,000 objects.
	Get    int64 `json:"get"`
	Put    int64 `json:"put"`
	List   int64 `json:"list"`
	Delete int64 `json:"delete"`
	// USD is what the requests cost; 0: the prices are not known.
	USD float64 `json:"usd,omitempty"`
}

// Prices are US$ for 1,000 requests: Put those that write or list, Get those that read. Deletes cost nothing.
type Prices struct{ Put, Get float64 }

// Layout is what the number of requests follows from.
type Layout struct {
	Columns    int64 // leaves of the row type
	RowGroup   int64 // bytes
	TargetSize int64 // of files, bytes
	Part       int64 // of an upload, bytes
}

const pageOfObjects = 1000 // in a listing, and in a deletion

// Read adds reading some of the columns of files that have so many bytes: small files whole, else the size and the footer of each, and
// each column of each row group.
func (c *Cost) Read(files, bytes, columns int64, l Layout) {
	if files > 0 && bytes/files <= objects.WholeSize {
		c.ReadBytes += bytes
		c.Get += files
		return
	}
	bytes = bytes * columns / max(columns, l.Columns)
	c.ReadBytes += bytes
	c.Get += 2*files + max(files, parts(bytes, l.RowGroup))*columns
}

// Write adds writing so many bytes as a number of files at least, and says how many.
func (c *Cost) Write(bytes, atLeast int64, l Layout) (files int64) {
	if bytes == 0 {
		return 0
	}
	c.WriteBytes += bytes
	files = max(atLeast, parts(bytes, l.TargetSize))
	each := int64(1)
	if size := bytes / files; size > l.Part {
		each = parts(size, l.Part) + 2 // begin and end
	}
	c.Put += files * each
	return files
}

// Commit adds commits: the metadata and the manifest list are read; a manifest, a manifest list and the metadata written.
func (c *Cost) Commit(n int64) {
	c.Get += 2 * n
	c.Put += 3 * n
}

// Remove adds deleting objects.
func (c *Cost) Remove(objects, bytes int64) {
	c.Delete += parts(objects, pageOfObjects)
	c.FreeBytes += bytes
}

// Listing adds listing objects of some folders.
func (c *Cost) Listing(objects, folders int64) { c.List += folders + objects/pageOfObjects }

// Price sets what the requests cost.
func (c *Cost) Price(p Prices) {
	c.USD = (float64(c.Put+c.List)*p.Put + float64(c.Get)*p.Get) / 1000
}

func parts(n, of int64) int64 {
	if of <= 0 {
		return n
	}
	return (n + of - 1) / of
}

// String is a line for people; empty: it costs nothing.
func (c *Cost) String() string {
	var bytes, requests []string
	for _, x := range []struct {
		n    int64
		what string
	}{{c.ReadBytes, "read"}, {c.WriteBytes, "written"}, {c.FreeBytes, "freed"}} {
		if x.n > 0 {
			bytes = append(bytes, fmt.Sprintf("%d bytes %s", x.n, x.what))
		}
	}
	for _, x := range []struct {
		n    int64
		what string
	}{{c.Get, "GET"}, {c.Put, "PUT"}, {c.List, "LIST"}, {c.Delete, "DELETE"}} {
		if x.n > 0 {
			requests = append(requests, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	line := strings.Join(bytes, ", ")
	if len(requests) > 0 {
		if line != "" {
			line += "; "
		}
		line += "about " + strings.Join(requests, ", ") + " requests"
	}
	if c.USD > 0 {
		line += fmt.Sprintf(", US$ %.6f", c.USD)
	}
	return line
}
