package routes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// search writes rows through the bulk API of Elasticsearch and OpenSearch. A row's document always has the same id, so one that is
// written again changes nothing. It is for one goroutine.
type search struct {
	cfg    *configs.OutletSearch
	client *http.Client
	now    func() time.Time
	body   bytes.Buffer
	// most is how many rows a request has at most: fewer, once the service found one too long.
	most int
}

// mostDocuments bounds the rows of one request.
const mostDocuments = 5_000

func newSearch(cfg *configs.OutletSearch, now func() time.Time) (*search, error) {
	client, err := httpClient("search.ca_file", cfg.CA, time.Duration(cfg.Timeout))
	return &search{cfg: cfg, client: client, now: now, most: mostDocuments}, err
}

func (s *search) close() { s.client.CloseIdleConnections() }

// index is the name of the index that a row goes to.
func (s *search) index(r *Row) (string, error) {
	at := time.UnixMicro(r.Time)
	if !r.HasTime {
		at = time.UnixMilli(max(r.Timestamp, 0))
	}
	return configs.IndexName(s.cfg.Index, func(verb byte) string {
		return at.UTC().Format(map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15"}[verb])
	})
}

// send implements sender, with one request.
func (s *search) send(ctx context.Context, rows []Row) (dealt int, refused []refusal, err error) {
	s.body.Reset()
	n := 0
	for ; n < min(len(rows), s.most) && (n == 0 || s.body.Len()+len(rows[n].Body) < int(s.cfg.BatchSize)); n++ {
		index, err := s.index(&rows[n])
		if err != nil {
			return 0, nil, err
		}
		action := appendString(append(s.body.AvailableBuffer(), `{"index":{"_index":`...), index)
		action = appendString(append(action, `,"_id":`...), rows[n].ID())
		s.body.Write(append(action, "}}\n"...))
		s.body.Write(rows[n].Body)
		s.body.WriteByte('\n')
	}
	rows = rows[:n]
	items, status, err := s.bulk(ctx)
	switch {
	case status == http.StatusRequestEntityTooLarge && n > 1:
		s.most = (n + 1) / 2
		return 0, nil, nil
	case status == http.StatusRequestEntityTooLarge:
		return 1, []refusal{{&rows[0], err.Error()}}, nil
	case err != nil:
		return 0, nil, err
	case len(items) != n:
		return 0, nil, fmt.Errorf("search %s answered about %d documents, of %d", s.host(), len(items), n)
	}
	s.most = min(2*s.most, mostDocuments)
	for i, it := range items {
		switch {
		case it.Status/100 == 2:
		case passing(it.Status):
			return i, refused, &later{err: fmt.Errorf("search %s: document %s: %s", s.host(), rows[i].ID(), it.reason())}
		default:
			refused = append(refused, refusal{&rows[i], it.reason()})
		}
	}
	return n, refused, nil
}

// item is what the service says of one document.
type item struct {
	Status int             `json:"status"`
	Error  json.RawMessage `json:"error"`
}

func (i item) reason() string {
	return fmt.Sprintf("status %d: %s", i.Status, shorten(string(i.Error)))
}

func (s *search) host() string {
	_, host, _ := strings.Cut(s.cfg.URL, "://")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	return strings.TrimRight(host, "/")
}

// wantedOfAnswer is what the service is to answer: it tells much more of each document.
const wantedOfAnswer = "items.*.status,items.*.error"

// mostAnswer bounds an answer: about a kilobyte for each document, and an error for each is a few of them.
const mostAnswer = 64 << 20

// bulk sends the request. The error of a status other than 200 says what the service answered.
func (s *search) bulk(ctx context.Context) (items []item, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(s.cfg.URL, "/")+"/_bulk?filter_path="+wantedOfAnswer, bytes.NewReader(s.body.Bytes()))
	if err != nil {
		return nil, 0, errors.New("search.url cannot be read")
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	switch {
	case s.cfg.APIKey != "":
		req.Header.Set("Authorization", "ApiKey "+s.cfg.APIKey)
	case s.cfg.Username != "":
		req.SetBasicAuth(s.cfg.Username, s.cfg.Password)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("search %s: %w", s.host(), plain(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("search %s answered %s: %s", s.host(), resp.Status, shorten(string(text)))
		switch {
		case passing(resp.StatusCode):
			err = &later{retryAfter(resp.Header, s.now()), err}
		case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
			err = fmt.Errorf("%w; check search.username and search.password, or search.api_key", err)
		}
		return nil, resp.StatusCode, err
	}
	if err != nil {
		return nil, 0, fmt.Errorf("search %s: reading the answer: %w", s.host(), err)
	}
	var answer struct {
		Items []struct {
			Index item `json:"index"`
		} `json:"items"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, 0, fmt.Errorf("search %s: the answer is no answer to a bulk request: %w; is search.url right?", s.host(), err)
	}
	for _, it := range answer.Items {
		items = append(items, it.Index)
	}
	return items, resp.StatusCode, nil
}
