package pipeline

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
)

// LetterGroup counts the dead letters that have a stage, step and reason in common.
type LetterGroup struct {
	Table    string    `json:"table"`
	Stage    string    `json:"stage"`
	Step     string    `json:"step"`
	Error    string    `json:"error"`
	Count    int64     `json:"count"`
	Replayed int64     `json:"replayed"`
	First    time.Time `json:"first"` // when they failed
	Last     time.Time `json:"last"`
	// Sample names one of them: topic-partition-offset.
	Sample string `json:"sample"`
}

// knownGroups bounds the groups that are told apart; the reasons of the others may quote the records.
const knownGroups = 10_000

// OtherErrors stands for the reasons beyond knownGroups.
const OtherErrors = "(other reasons)"

// ListLetters groups the dead letters of a pipeline, the most frequent first.
func ListLetters(ctx context.Context, d Deps, f LetterFilter) ([]LetterGroup, error) {
	r, err := newLetterReader(ctx, d)
	if err != nil {
		return nil, err
	}
	type groupKey struct{ stage, step, reason string }
	groups := map[groupKey]*LetterGroup{}
	err = r.each(ctx, 0, &f, func(c letterColumns, b *batch.Batch, rows []int32) error {
		for _, row := range rows {
			i := int(row)
			k := groupKey{c.text(b, letterStage, i), c.text(b, letterStep, i), c.text(b, letterError, i)}
			if groups[k] == nil && len(groups) >= knownGroups {
				k.reason = OtherErrors
			}
			g := groups[k]
			if g == nil {
				g = &LetterGroup{Table: r.info.Ident.String(), Stage: k.stage, Step: k.step, Error: k.reason, Sample: letterName(c, b, i)}
				groups[k] = g
			}
			g.Count++
			if !c[ColumnReplayedRound].IsNull(i) {
				g.Replayed++
			}
			if at := c.time(letterFailedAt, i); !at.IsZero() {
				if g.First.IsZero() || at.Before(g.First) {
					g.First = at
				}
				if at.After(g.Last) {
					g.Last = at
				}
			}
		}
		return nil
	})
	list := []LetterGroup{}
	for _, g := range slices.Collect(maps.Values(groups)) {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b LetterGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Stage, b.Stage), strings.Compare(a.Step, b.Step), strings.Compare(a.Error, b.Error))
	})
	return list, err
}

func letterName(c letterColumns, b *batch.Batch, i int) string {
	return fmt.Sprintf("%s-%d-%d", c.text(b, ColumnTopic, i), c[ColumnPartition].Int32[i], c[ColumnOffset].Int64[i])
}

// Letter is one dead letter.
type Letter struct {
	Topic         string         `json:"topic"`
	Partition     int32          `json:"partition"`
	Offset        int64          `json:"offset"`
	Epoch         int32          `json:"epoch"`
	Timestamp     *time.Time     `json:"timestamp"` // null: it has none, or one that no column holds
	Key           *Payload       `json:"key"`
	Value         *Payload       `json:"value"`
	Headers       []LetterHeader `json:"headers"`
	SchemaID      int32          `json:"schema_id,omitempty"`
	KeySchemaID   int32          `json:"key_schema_id,omitempty"`
	Stage         string         `json:"stage"`
	Step          string         `json:"step"`
	Error         string         `json:"error"`
	Pipeline      string         `json:"pipeline"`
	Version       string         `json:"pipeline_version"`
	FailedAt      time.Time      `json:"failed_at"`
	ReplayedAt    *time.Time     `json:"replayed_at"`
	ReplayedRound int64          `json:"replayed_round,omitempty"`
}

// LetterHeader is a header of a dead letter; its value may be null.
type LetterHeader struct {
	Name  string   `json:"name"`
	Value *Payload `json:"value"`
}

// Payload is some bytes. Text is there when they are UTF-8 that can be shown.
type Payload struct {
	Hex  string  `json:"hex"`
	Text *string `json:"text,omitempty"`
}

// NewPayload makes a Payload; nil of nil.
func NewPayload(b []byte) *Payload {
	if b == nil {
		return nil
	}
	p := &Payload{Hex: hex.EncodeToString(b)}
	shown := func(r rune) bool { return r >= ' ' && r != 0x7f || r == '\n' || r == '\t' || r == '\r' }
	if utf8.Valid(b) && strings.IndexFunc(string(b), func(r rune) bool { return !shown(r) }) < 0 {
		text := string(b)
		p.Text = &text
	}
	return p
}

var errEnough = errors.New("enough")

// ShowLetters gives the first n dead letters of a pipeline that are found.
func ShowLetters(ctx context.Context, d Deps, f LetterFilter, n int) ([]Letter, error) {
	r, err := newLetterReader(ctx, d)
	if err != nil {
		return nil, err
	}
	list := []Letter{}
	err = r.each(ctx, 0, &f, func(c letterColumns, b *batch.Batch, rows []int32) error {
		for _, row := range rows {
			if len(list) == n {
				return errEnough
			}
			list = append(list, c.letter(b, int(row)))
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, err
}

func (c letterColumns) letter(b *batch.Batch, i int) Letter {
	optional := func(name string) *time.Time {
		if t := c.time(name, i); !t.IsZero() {
			return &t
		}
		return nil
	}
	l := Letter{Topic: c.text(b, ColumnTopic, i), Partition: c[ColumnPartition].Int32[i], Offset: c[ColumnOffset].Int64[i], Epoch: c[ColumnEpoch].Int32[i],
		Timestamp: optional(ColumnTimestamp), Key: NewPayload(c.bytes(b, letterKey, i)), Value: NewPayload(c.bytes(b, letterValue, i)), Headers: []LetterHeader{},
		SchemaID: c.id(letterSchemaID, i), KeySchemaID: c.id(letterKeySchemaID, i), Stage: c.text(b, letterStage, i), Step: c.text(b, letterStep, i),
		Error: c.text(b, letterError, i), Pipeline: c.text(b, letterPipeline, i), Version: c.text(b, letterVersion, i), FailedAt: c.time(letterFailedAt, i),
		ReplayedAt: optional(ColumnReplayedAt)}
	if !c[ColumnReplayedRound].IsNull(i) {
		l.ReplayedRound = c[ColumnReplayedRound].Int64[i]
	}
	for _, h := range c.headers(b, i) {
		l.Headers = append(l.Headers, LetterHeader{h.name, NewPayload(h.value)})
	}
	return l
}
