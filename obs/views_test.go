package obs

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/views"
)

// What a view says reaches the endpoint, and the table for people also by way of JSON.
func TestViews(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := NewState("1", func() time.Time { return now })
	s.Pipeline("ratings", "lake.ratings", time.Minute)
	v, err := views.New([]configs.View{{Name: "live", Window: configs.Duration(time.Minute), Groups: 100, GroupBy: []string{"channel"},
		Measures: []configs.ViewMeasure{{Name: "n", Measure: "count(*)"}, {Name: "best", Measure: "top(channel, 1)"}, {Name: "mean", Measure: "avg(stars)"}}}})
	if err != nil {
		t.Fatal(err)
	}
	row := batch.StructOf(batch.Field{Name: "channel", Type: batch.Prim(batch.String)}, batch.Field{Name: "stars", Type: batch.Prim(batch.Int)})
	if err := v.Bind(row); err != nil {
		t.Fatal(err)
	}
	s.Views("ratings", v)
	r := &batch.Records{Topics: []string{"ratings"}}
	b := batch.New(r, row)
	for i, stars := range []int32{1, 2} {
		r.Topic, r.Partition, r.Offset, r.Timestamp = append(r.Topic, 0), append(r.Partition, 0), append(r.Offset, int64(i)), append(r.Timestamp, now.UnixMilli())
		b.Root.Children[0].AppendView(r.AppendString("web"))
		b.Root.Children[1].AppendInt32(stars)
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	v.Observe(b, []views.Partition{{Topic: "ratings", To: 2}}, now)

	w := httptest.NewRecorder()
	NewHandler(s, configs.NewRedactor(&configs.Config{})).ServeHTTP(w, httptest.NewRequest("GET", "/api/status", nil))
	var got Status
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, status := range []Status{s.Status(), got} {
		var text strings.Builder
		if err := RenderStatusWidth(&text, status, 0); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"ratings, live: the last", "CHANNEL  N     BEST  MEAN", "web      2  web (2)   1.5"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %q in:\n%s", want, &text)
			}
		}
	}
}
