package iceberg

import (
	"bytes"
	"context"
	"net/url"
	"os"

	icebergio "github.com/apache/iceberg-go/io"
	_ "github.com/apache/iceberg-go/io/gocloud/s3" // the s3 scheme, without the SDKs of other clouds

	"github.com/lakeloader/lakeloader/objects"
)

// iceberg-go finds the access to metadata files by the scheme of their location, in a registry of the process. Its own
// for local files neither syncs nor refuses to overwrite, so a power cut could leave a catalog that points at an empty
// file; ours replaces it.
func init() {
	store := objects.NewLocal()
	for _, scheme := range []string{"file", ""} {
		icebergio.Unregister(scheme)
		icebergio.Register(scheme, func(ctx context.Context, _ *url.URL, _ map[string]string) (icebergio.IO, error) {
			return localIO{ctx, store}, nil
		})
	}
}

// localIO is durable access to local metadata files.
type localIO struct {
	ctx   context.Context
	store objects.Store
}

func (l localIO) Open(name string) (icebergio.File, error) {
	path, err := objects.LocalPath(name)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (l localIO) ReadFile(name string) ([]byte, error) {
	path, err := objects.LocalPath(name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func (l localIO) Remove(name string) error { return l.store.Delete(l.ctx, name) }

func (l localIO) WriteFile(name string, data []byte) error { return l.store.Put(l.ctx, name, data) }

func (l localIO) Create(name string) (icebergio.FileWriter, error) {
	return &localFile{io: l, name: name}, nil
}

// localFile collects a metadata file (a few megabytes at most) and stores it when it is closed.
type localFile struct {
	bytes.Buffer
	io     localIO
	name   string
	closed bool
}

func (f *localFile) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return f.io.WriteFile(f.name, f.Bytes())
}
