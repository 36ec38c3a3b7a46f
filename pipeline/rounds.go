package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// RoundObjects keeps round objects below <root>/_lakeloader/<pipeline>/<uuid of the primary table>/: outside of any
// table's location, where other engines' orphan clean-up would take them for leftovers.
//
//	rounds/<id>.json    what a round did (Round)
//	committed/<number>  the id of the round that was given the number
//	folded/<number>.json  what the rounds up to the number decided, whose objects it takes the place of (Fold)
type RoundObjects struct {
	Store    objects.Store
	Root     string // no trailing slash
	Pipeline string
}

func (o *RoundObjects) dir(uuid, kind string) string {
	return o.Root + "/_lakeloader/" + o.Pipeline + "/" + uuid + "/" + kind + "/"
}

func committedName(number int64) string { return fmt.Sprintf("%012d", number) }

// PutRound implements Rounds.
func (o *RoundObjects) PutRound(ctx context.Context, uuid string, r *Round) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return o.put(ctx, o.dir(uuid, "rounds")+r.ID+".json", data)
}

// PutCommitted implements Rounds.
func (o *RoundObjects) PutCommitted(ctx context.Context, uuid string, number int64, id string) error {
	return o.put(ctx, o.dir(uuid, "committed")+committedName(number), []byte(id))
}

// IsCommitted says whether it is noted that a round is in all of its tables.
func (o *RoundObjects) IsCommitted(ctx context.Context, uuid string, number int64) (bool, error) {
	_, err := objects.Read(ctx, o.Store, o.dir(uuid, "committed")+committedName(number))
	if errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// put writes an object that no one may have written differently.
func (o *RoundObjects) put(ctx context.Context, uri string, data []byte) error {
	err := o.Store.Put(ctx, uri, data)
	if !errors.Is(err, objects.ErrExists) {
		return err
	}
	old, rerr := objects.Read(ctx, o.Store, uri)
	if rerr != nil {
		return fmt.Errorf("%w, and it cannot be read: %w", err, rerr)
	}
	if !bytes.Equal(old, data) {
		return fmt.Errorf("%w: %s holds something else", ErrStop, uri)
	}
	return nil
}

// Round implements Rounds.
func (o *RoundObjects) Round(ctx context.Context, uuid, id string) (*Round, error) {
	uri := o.dir(uuid, "rounds") + id + ".json"
	data, err := objects.Read(ctx, o.Store, uri)
	if err != nil {
		return nil, err
	}
	r, err := parseRound(id, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	return r, nil
}

func parseRound(id string, data []byte) (*Round, error) {
	r := &Round{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	return r, r.wellFormed(id)
}

// Committed lists the ids of the rounds with objects that have left pending, by number.
func (o *RoundObjects) Committed(ctx context.Context, uuid string) (map[int64]string, error) {
	dir := o.dir(uuid, "committed")
	list, err := o.Store.List(ctx, dir)
	if err != nil {
		return nil, err
	}
	ids := map[int64]string{}
	for _, i := range list {
		n, err := strconv.ParseInt(strings.TrimPrefix(i.URI, dir), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: the name is no round number", i.URI)
		}
		id, err := objects.Read(ctx, o.Store, i.URI)
		if errors.Is(err, objects.ErrNotFound) {
			continue // it has just been folded
		}
		if err != nil {
			return nil, err
		}
		ids[n] = string(id)
	}
	return ids, nil
}

// Objects lists the round objects of every primary table that the pipeline has had, by its uuid and the round's id.
func (o *RoundObjects) Objects(ctx context.Context) (map[string]map[string]objects.Info, error) {
	dir := o.Root + "/_lakeloader/" + o.Pipeline + "/"
	list, err := o.Store.List(ctx, dir)
	if err != nil {
		return nil, err
	}
	byTable := map[string]map[string]objects.Info{}
	for _, i := range list {
		uuid, rest, _ := strings.Cut(strings.TrimPrefix(i.URI, dir), "/")
		id, isRound := strings.CutPrefix(strings.TrimSuffix(rest, ".json"), "rounds/")
		if !isRound {
			continue
		}
		if byTable[uuid] == nil {
			byTable[uuid] = map[string]objects.Info{}
		}
		byTable[uuid][id] = i
	}
	return byTable, nil
}

// Files are the paths of the data files that a round names, of all tables.
func (o *RoundObjects) Files(ctx context.Context, uuid, id string) ([]string, error) {
	r, err := o.Round(ctx, uuid, id)
	if err != nil {
		return nil, err
	}
	return r.files(), nil
}

// Decided is what a ledger's rounds decided: the last fold, nil if there is none, and the rounds with objects behind it,
// committed and pending, ascending by number. Those that were committed after the ledger was read are left out.
func (o *RoundObjects) Decided(ctx context.Context, uuid string, l *table.Ledger) (*Fold, []table.Pending, error) {
	ids, err := o.Committed(ctx, uuid)
	if err != nil {
		return nil, nil, fmt.Errorf("listing committed rounds: %w", err)
	}
	return o.decided(ctx, uuid, l, ids)
}

// decided is Decided for the committed rounds that were listed before.
func (o *RoundObjects) decided(ctx context.Context, uuid string, l *table.Ledger, committed map[int64]string) (*Fold, []table.Pending, error) {
	f, err := o.lastFold(ctx, uuid, l.Number) // behind the list: see Fold
	if err != nil {
		return nil, nil, err
	}
	ids := maps.Clone(committed)
	for _, p := range l.Pending {
		ids[p.Number] = p.ID
	}
	var out []table.Pending
	for _, n := range slices.Sorted(maps.Keys(ids)) {
		if n <= l.Number && (f == nil || n > f.Number) {
			out = append(out, table.Pending{Number: n, ID: ids[n]})
		}
	}
	return f, out, nil
}
