package pipeline_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/schemas"
)

// Dead letters in Avro are read by the schemas that they name, values and keys, also where the pipeline could not use these. What cannot be
// read is counted, and the proof does not pass it over.
func TestForgetAvroLetters(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	r := newRegistry(t, e)
	e.Create(t, "a", 1)
	most := "1000"
	cfg := avro(func(p *configs.Pipeline) {
		p.Commit.Records = 100
		p.Decode.Key = &configs.Format{Format: "avro"}
		p.Cleanse = []configs.Step{{Name: "ids", Validate: &configs.ValidateStep{Columns: []string{"id"}, Max: &most}}}
	})
	v1 := r.Register("a-value", userV1)
	of := r.Register("a-key", `{"type":"record","name":"k","fields":[{"name":"id","type":"long"}]}`)
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		reg := d.Registry
		d.NewDecoder = func(accept func(*batch.Type) error) (*schemas.Decoder, error) {
			return schemas.NewDecoder(cfg.Pipelines[0].Decode, reg, schemas.Options{Accept: accept, UnknownIDAfter: time.Nanosecond})
		}
	})
	e.Produce(t, "a", 0, user(v1, 1, ""))
	l.Read(1)
	v2, v3 := r.Register("a-value", userV2), r.Register("a-value", userV3)
	header := func(id int32) []byte { return binary.BigEndian.AppendUint32([]byte{0}, uint32(id)) }
	e.Send(t, "a", 0,
		&kgo.Record{Value: []byte(user(v1, 4711, ""))},                               // 1: refused by the step
		&kgo.Record{Value: append(header(v3), "\x084711"...)},                        // 2: of a schema that does not fit the table
		&kgo.Record{Value: []byte(user(v1, 4712, ""))},                               // 3: somebody else
		&kgo.Record{Key: []byte(user(of, 4711, ""))},                                 // 4: a tombstone, whose key tells
		&kgo.Record{Value: append(header(123_456), "\x02x"...)},                      // 5: of a schema that nobody knows
		&kgo.Record{Value: []byte(strings.TrimSuffix(user(v2, 4711, "Ann"), "Ann"))}, // 6: broken off
		&kgo.Record{Value: []byte("no wire format")})                                 // 7: text
	l.Read(8)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 8) 1 rows 7 dead")
	keys := []forget.Key{{{Column: "id", Text: "4711"}}}

	r.down.Store(true)
	rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: keys, DryRun: true})
	if u := rep.Unread; u == nil || u.Letters != 6 || u.First != "a-0-1" || !strings.Contains(u.Why, "503") || rep.Letters != 0 || !slices.Contains(rep.Doubtful, "a-0-2") {
		t.Errorf("%+v, %+v", rep, rep.Unread)
	}
	r.down.Store(false)
	rep = forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: keys})
	if u := rep.Unread; u == nil || u.Letters != 2 || u.First != "a-0-5" || !strings.Contains(u.Why, "not found") || rep.Letters != 3 || !slices.Equal(rep.Doubtful, []string{"a-0-6"}) {
		t.Errorf("%+v, %+v", rep, rep.Unread)
	}
	if left, _ := lettersLeft(t, e); left != "3 5 6 7" {
		t.Errorf("left are %s", left)
	}
	whole(t, e, cfg, "a-0 [0, 8) 1 rows 7 dead")
	for rule, held := range map[pipeline.LetterRule]int64{pipeline.LettersMatch: 2, pipeline.LettersIgnore: 0} {
		looks, unread, err := pipeline.LettersOf(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), keys, rule)
		if err != nil {
			t.Fatal(err)
		}
		rows := int64(0)
		for _, f := range e.Files(t, dead) {
			n, err := looks.Count(t.Context(), e.Objects, f.Path, f.Size)
			if err != nil {
				t.Fatal(err)
			}
			rows += n
		}
		if u := unread(); rows != held || u == nil || u.Letters != 2 {
			t.Errorf("%s: %d rows, %+v", rule, rows, u)
		}
	}
	if rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: keys, Letters: pipeline.LettersRemove}); rep.Letters != 1 || !rep.Done || rep.Unread.Letters != 2 {
		t.Errorf("%+v", rep)
	}
}
