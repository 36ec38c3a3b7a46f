package iceberg

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	icebergo "github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	icetable "github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"
)

const (
	// cachedBytes is what manifests in memory may take together, readers how many are read at once.
	cachedBytes = 8 << 20
	readers     = 8
)

// manifestCache keeps manifests and manifest lists of an object store. They never change, and a commit reads each of them several
// times: to look for what it removes, to check that, to write what is left, and all of it again after a conflict. Without it an attempt
// takes so long, in a table with very many files, that others always commit in between. It is safe for concurrent use.
type manifestCache struct {
	mu    sync.Mutex
	files map[string][]byte
	bytes int
}

func (c *manifestCache) get(name string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.files[name]
	return data, ok
}

// put drops what else there is when it has grown too large: what is needed comes back with the next commit.
func (c *manifestCache) put(name string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files[name] != nil || len(data) > cachedBytes {
		return
	}
	if c.bytes+len(data) > cachedBytes || c.files == nil {
		c.files, c.bytes = map[string][]byte{}, 0
	}
	c.files[name] = data
	c.bytes += len(data)
}

// cached gives a table access to its manifests by way of the cache, unless they lie in a local folder.
func (l *lake) cached(tbl *icetable.Table) *icetable.Table {
	if !strings.HasPrefix(tbl.Location(), "s3") {
		return tbl
	}
	open := func(ctx context.Context) (icebergio.IO, error) {
		files, err := tbl.FS(ctx)
		if remote, ok := files.(remoteIO); ok && err == nil {
			return cachedIO{remote, &l.manifestsRead}, nil
		}
		return files, err
	}
	return icetable.New(tbl.Identifier(), tbl.Metadata(), tbl.MetadataLocation(), open, l.backend)
}

// warm reads manifests that are not in the cache, several at once, if all of them have room there. Errors are those of whoever reads
// them after it.
func warm(files icebergio.IO, manifests []icebergo.ManifestFile) {
	c, ok := files.(cachedIO)
	if !ok {
		return
	}
	all := int64(0)
	for _, m := range manifests {
		all += m.Length()
	}
	if all > cachedBytes {
		return
	}
	var g errgroup.Group
	g.SetLimit(readers)
	for _, m := range manifests {
		g.Go(func() error {
			f, err := c.Open(m.FilePath())
			if err == nil {
				err = f.Close()
			}
			return err
		})
	}
	_ = g.Wait() // see above
}

// remoteIO is all that Iceberg's library asks an object store for: what the cache did not pass on, the library would do without, and
// otherwise.
type remoteIO interface {
	icebergio.WriteFileIO
	icebergio.BulkRemovableIO
	icebergio.ListableIO
}

// cachedIO is access to metadata files that reads manifests once.
type cachedIO struct {
	remoteIO
	cache *manifestCache
}

// Open implements icebergio.IO.
func (c cachedIO) Open(name string) (icebergio.File, error) {
	if !strings.HasSuffix(name, ".avro") {
		return c.remoteIO.Open(name)
	}
	if data, ok := c.cache.get(name); ok {
		return &memoryFile{bytes.NewReader(data), name}, nil
	}
	f, err := c.remoteIO.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	c.cache.put(name, data)
	return &memoryFile{bytes.NewReader(data), name}, nil
}

// memoryFile is a file in memory.
type memoryFile struct {
	*bytes.Reader
	name string
}

// Close implements icebergio.File.
func (*memoryFile) Close() error { return nil }

// Stat implements icebergio.File.
func (f *memoryFile) Stat() (fs.FileInfo, error) { return fileInfo{f}, nil }

type fileInfo struct{ f *memoryFile }

func (i fileInfo) Name() string     { return path.Base(i.f.name) }
func (i fileInfo) Size() int64      { return i.f.Reader.Size() }
func (fileInfo) Mode() fs.FileMode  { return 0o444 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }
