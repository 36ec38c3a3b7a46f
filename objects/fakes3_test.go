package objects

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// fakeS3 is a small S3 server over a map, with a hook that breaks requests.
type fakeS3 struct {
	mu       sync.Mutex
	objects  map[string]fakeObject // by bucket/key
	uploads  map[string]*fakeUpload
	requests []string // method, path, query key
	inFlight int      // parts being received
	maxParts int      // the most of them at once
	// fault decides what happens to a request; nil: nothing. Called without the lock.
	fault func(r *http.Request) fault
}

type fakeObject struct {
	data     []byte
	owner    string
	modified time.Time
}

type fakeUpload struct {
	key   string
	begun time.Time
	owner string
	parts map[int][]byte
}

type fault int

const (
	none        fault = iota
	unavailable       // 503 without doing it
	reset             // close the connection without doing it
	lose              // do it, then close the connection without an answer
	midBody           // answer half of the body, then close the connection
	denied            // 403 InvalidAccessKeyId
	hang              // no answer until the client gives up
	stall             // answer half of the body, then nothing until the client gives up
	notImpl           // 501
)

func newFakeS3(t *testing.T) (*fakeS3, configs.Warehouse) {
	f := &fakeS3{objects: map[string]fakeObject{}, uploads: map[string]*fakeUpload{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, configs.Warehouse{Location: "s3://bucket/lake", S3: configs.S3{Endpoint: srv.URL, AccessKey: "a", SecretKey: "b"}}
}

func (f *fakeS3) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery)
	f.mu.Unlock()
	kind := none
	if f.fault != nil {
		kind = f.fault(r)
	}
	switch kind {
	case unavailable:
		s3Error(w, 503, "SlowDown")
	case denied:
		_, _ = io.Copy(io.Discard, r.Body) // else the client may see a reset instead
		s3Error(w, 403, "InvalidAccessKeyId")
	case notImpl:
		s3Error(w, 501, "NotImplemented")
	case reset:
		panic(http.ErrAbortHandler)
	case hang:
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	case lose:
		f.serve(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case midBody, stall:
		rec := httptest.NewRecorder()
		f.serve(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		w.(http.Flusher).Flush()
		if kind == stall {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	default:
		f.serve(w, r)
	}
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>fake</Message></Error>", code)
}

func (f *fakeS3) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method == "PUT" && q.Has("partNumber") {
		f.mu.Lock()
		f.inFlight++
		f.maxParts = max(f.maxParts, f.inFlight)
		f.mu.Unlock()
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	name := bucket + "/" + key
	if bucket != "bucket" {
		s3Error(w, 404, "NoSuchBucket")
		return
	}
	_, exists := f.objects[name]
	taken := exists && r.Header.Get("If-None-Match") == "*"
	switch {
	case r.Method == "PUT" && q.Has("partNumber"):
		f.inFlight--
		f.putPart(w, q.Get("uploadId"), q.Get("partNumber"), body)
	case r.Method == "POST" && q.Has("delete"):
		f.deleteMany(w, bucket, body)
	case r.Method == "POST" && q.Has("uploads"):
		id := fmt.Sprintf("upload%d", len(f.requests))
		f.uploads[id] = &fakeUpload{key: key, begun: time.Now(), owner: r.Header.Get("X-Amz-Meta-" + ownerKey), parts: map[int][]byte{}}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case taken:
		s3Error(w, 412, "PreconditionFailed")
	case r.Method == "POST" && q.Has("uploadId"):
		f.complete(w, name, q.Get("uploadId"))
	case r.Method == "PUT":
		f.objects[name] = fakeObject{body, r.Header.Get("X-Amz-Meta-" + ownerKey), time.Now()}
	case r.Method == "GET" && q.Has("uploads"):
		f.listUploads(w, q.Get("prefix"), q.Get("key-marker"), q.Get("upload-id-marker"))
	case r.Method == "DELETE" && q.Has("uploadId") && f.uploads[q.Get("uploadId")] == nil:
		s3Error(w, 404, "NoSuchUpload")
	case r.Method == "DELETE" && q.Has("uploadId"):
		delete(f.uploads, q.Get("uploadId"))
		w.WriteHeader(204)
	case r.Method == "DELETE":
		delete(f.objects, name)
		w.WriteHeader(204)
	case r.Method == "GET" && q.Get("list-type") == "2":
		f.list(w, bucket, q.Get("prefix"), q.Get("continuation-token"))
	case r.Method == "HEAD" && key == "":
	case !exists:
		s3Error(w, 404, "NoSuchKey")
	default:
		o := f.objects[name]
		w.Header().Set("X-Amz-Meta-"+ownerKey, o.owner)
		http.ServeContent(w, r, key, time.Time{}, bytes.NewReader(o.data))
	}
}

// deleteMany answers as with Quiet. Keys that end in "locked" are refused.
func (f *fakeS3) deleteMany(w http.ResponseWriter, bucket string, body []byte) {
	var req struct{ Object []struct{ Key string } }
	if err := xml.Unmarshal(body, &req); err != nil || len(req.Object) > bulkSize {
		s3Error(w, 400, "MalformedXML")
		return
	}
	fmt.Fprint(w, "<DeleteResult>")
	for _, o := range req.Object {
		if strings.HasSuffix(o.Key, "locked") {
			fmt.Fprintf(w, "<Error><Key>%s</Key><Code>AccessDenied</Code><Message>locked</Message></Error>", o.Key)
			continue
		}
		delete(f.objects, bucket+"/"+o.Key)
	}
	fmt.Fprint(w, "</DeleteResult>")
}

func (f *fakeS3) putPart(w http.ResponseWriter, id, number string, body []byte) {
	up := f.uploads[id]
	if up == nil {
		s3Error(w, 404, "NoSuchUpload")
		return
	}
	n, _ := strconv.Atoi(number)
	up.parts[n] = body
	sum := md5.Sum(body)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
}

func (f *fakeS3) complete(w http.ResponseWriter, name, id string) {
	up := f.uploads[id]
	if up == nil {
		s3Error(w, 404, "NoSuchUpload")
		return
	}
	var data []byte
	for i := 1; i <= len(up.parts); i++ {
		data = append(data, up.parts[i]...)
	}
	f.objects[name] = fakeObject{data, up.owner, time.Now()}
	delete(f.uploads, id)
	fmt.Fprint(w, "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
}

// list answers pages of two, so that paging is always tried.
func (f *fakeS3) list(w http.ResponseWriter, bucket, prefix, after string) {
	type entry struct {
		Key          string
		Size         int
		LastModified string
	}
	var out struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []entry
	}
	var keys []string
	for k := range f.objects {
		if k = strings.TrimPrefix(k, bucket+"/"); strings.HasPrefix(k, prefix) && k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if len(out.Contents) == 2 {
			out.IsTruncated, out.NextContinuationToken = true, out.Contents[1].Key
			break
		}
		o := f.objects[bucket+"/"+k]
		out.Contents = append(out.Contents, entry{k, len(o.data), o.modified.UTC().Format(time.RFC3339)})
	}
	_ = xml.NewEncoder(w).Encode(out)
}

// listUploads answers pages of two, in order of keys and then of ids.
func (f *fakeS3) listUploads(w http.ResponseWriter, prefix, keyMarker, idMarker string) {
	type entry struct {
		Key       string
		ID        string `xml:"UploadId"`
		Initiated string
	}
	var out struct {
		XMLName       xml.Name `xml:"ListMultipartUploadsResult"`
		IsTruncated   bool
		NextKeyMarker string
		NextID        string `xml:"NextUploadIdMarker"`
		Upload        []entry
	}
	var all []entry
	for id, u := range f.uploads {
		if strings.HasPrefix(u.key, prefix) && (u.key > keyMarker || u.key == keyMarker && id > idMarker) {
			all = append(all, entry{u.key, id, u.begun.UTC().Format(time.RFC3339)})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.Key+" "+a.ID, b.Key+" "+b.ID) })
	if out.Upload = all; len(all) > 2 {
		out.Upload, out.IsTruncated, out.NextKeyMarker, out.NextID = all[:2], true, all[1].Key, all[1].ID
	}
	_ = xml.NewEncoder(w).Encode(out)
}
