package iceberg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	icebergo "github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
)

// remoteFiles is an object store that counts what it is asked for.
type remoteFiles struct {
	remoteIO
	mu     sync.Mutex
	opened map[string]int
	files  map[string][]byte
}

func (r *remoteFiles) Open(name string) (icebergio.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened[name]++
	data, ok := r.files[name]
	if !ok {
		return nil, errors.New("it is gone")
	}
	return &memoryFile{bytes.NewReader(data), name}, nil
}

func read(t *testing.T, files icebergio.IO, name string) []byte {
	t.Helper()
	f, err := files.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != int64(len(data)) || info.Name() != name {
		t.Errorf("%s: %v, %v", name, info, err)
	}
	return data
}

// Manifests are read once, as long as there is room for them; other metadata every time.
func TestManifestsAreReadOnce(t *testing.T) {
	r := &remoteFiles{opened: map[string]int{}, files: map[string][]byte{"a.avro": []byte("aa"), "b.avro": []byte("b"), "v1.metadata.json": []byte("{}"),
		"large.avro": make([]byte, cachedBytes-2), "huge.avro": make([]byte, cachedBytes+1)}}
	cache := &manifestCache{}
	files := cachedIO{r, cache}
	for range 3 {
		for name, want := range r.files {
			if name != "large.avro" && !bytes.Equal(read(t, files, name), want) {
				t.Errorf("%s is another", name)
			}
		}
	}
	if got := fmt.Sprint(r.opened); got != "map[a.avro:1 b.avro:1 huge.avro:3 v1.metadata.json:3]" {
		t.Error(got)
	}
	read(t, files, "large.avro") // for which the others go
	read(t, files, "a.avro")
	if r.opened["a.avro"] != 2 || cache.bytes > cachedBytes {
		t.Errorf("%v, %d bytes", r.opened, cache.bytes)
	}
	if _, err := files.Open("none.avro"); err == nil {
		t.Error("what is not there was read")
	}
}

// warm reads what is missing, if all of it has room.
func TestManifestsAreReadAhead(t *testing.T) {
	r := &remoteFiles{opened: map[string]int{}, files: map[string][]byte{}}
	var few, many []icebergo.ManifestFile
	for i := range 20 {
		name := fmt.Sprintf("%d.avro", i)
		if i > 0 { // one is gone
			r.files[name] = []byte(name)
		}
		few = append(few, icebergo.NewManifestFile(2, name, 10, 0, 1).Build())
		many = append(many, icebergo.NewManifestFile(2, name, cachedBytes/10, 0, 1).Build())
	}
	files := cachedIO{r, &manifestCache{}}
	warm(files, many)
	if len(r.opened) != 0 {
		t.Errorf("%d were read, for which there is no room", len(r.opened))
	}
	warm(files, few)
	warm(files, few)
	if len(r.opened) != 20 || r.opened["7.avro"] != 1 || r.opened["0.avro"] != 2 {
		t.Errorf("%v", r.opened)
	}
}
