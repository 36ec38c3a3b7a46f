package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/current"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// forgetFlags say whose rows, of which pipeline, and how far to go.
type forgetFlags struct {
	config, out, pipeline, table, file, reason, letters *string
	keys                                                *[]string
	yes, prove, now                                     *bool
}

func newForget() *cobra.Command {
	c := &cobra.Command{
		Use:   "forget",
		Short: "Delete a person's rows, and prove that no file holds them",
		Long: `forget finds the rows that have all the values of a key, in the pipeline's table, in those that its rows are routed to, in its dead
letters, and in its table with the rows as they are now; and takes them out, with one swap for each table. Loaders and jobs go on
meanwhile. verify counts their offsets as removed. Without --yes it only says what there is.

Older snapshots have the rows until they expire. --prove looks into every object of the tables, says what still holds the person's rows or
values, why, and until when, and fails while anything does. --now expires all older snapshots at once, and then does the same.

Nothing that is kept tells the key. A key in a command line may be in the shell's history: --keys-file reads it from a file, - from
standard input.`,
		Example: `  lakeloader forget -c lakeloader.yaml --key customer_id=4711
  lakeloader forget -c lakeloader.yaml --key customer_id=4711 --yes --now
  lakeloader forget -c lakeloader.yaml --keys-file - --prove < keys.csv`,
		Args: cobra.NoArgs,
	}
	f := &forgetFlags{config: configFlag(c), out: outputFlag(c, "text", "json"),
		pipeline: c.Flags().String("pipeline", "", "the pipeline; may be left out if there is only one"),
		table:    c.Flags().String("table", "", "the pipeline's table, in place of its name"),
		keys:     c.Flags().StringArray("key", nil, "COLUMN=VALUE; several together are one key, whose values a row must all have"),
		file:     c.Flags().String("keys-file", "", "a CSV file with columns in its first line, and a key in each of the others; -: standard input"),
		letters:  c.Flags().String("dead-letters", string(pipeline.LettersMatch), "match: what has the key's names and values goes, what only has the values is named; remove: that goes too; ignore: it was looked at, as was what cannot be read"),
		reason:   c.Flags().String("reason", "", "kept with the snapshots, for people; must not name anybody"),
		yes:      c.Flags().Bool("yes", false, "do it; without it only what would be done is shown"),
		prove:    c.Flags().Bool("prove", false, "look for what still holds the rows; fails while something does"),
		now:      c.Flags().Bool("now", false, "with --yes: expire the older snapshots of these tables at once, delete their files, and prove it")}
	c.RunE = func(c *cobra.Command, _ []string) error { return f.run(c) }
	return c
}

func (f *forgetFlags) run(c *cobra.Command) error {
	if err := checkOutput(*f.out, "text", "json"); err != nil {
		return err
	}
	rule := pipeline.LetterRule(*f.letters)
	if !slices.Contains([]pipeline.LetterRule{pipeline.LettersMatch, pipeline.LettersRemove, pipeline.LettersIgnore}, rule) {
		return fail(exitUsage, fmt.Errorf("--dead-letters %q is none of match, remove and ignore", *f.letters))
	}
	if *f.now && !*f.yes {
		return fail(exitUsage, errors.New("--now deletes what older snapshots have, and time travel with it: it needs --yes"))
	}
	if err := f.choosePipeline(); err != nil {
		return err
	}
	return withPipeline(c, *f.config, *f.pipeline, func(d *daemon, p *configs.Pipeline) (err error) {
		keys, err := readKeys(*f.keys, *f.file, c.InOrStdin())
		if err != nil {
			return fail(exitUsage, err)
		}
		if d.lake, err = openLake(c.Context(), d.cfg); err != nil {
			return err
		}
		u := newUpkeep(d.cfg, d.lake, d.log)
		x := &forgetter{u: u, p: p, deps: u.pipelineDeps(p), keys: keys,
			options: pipeline.ForgetOptions{Keys: keys, Letters: rule, Reason: *f.reason, DryRun: !*f.yes}}
		if x.deps.Registry, err = registry(d.cfg); err != nil {
			return err
		}
		rep, err := x.run(c.Context(), *f.prove || *f.now, *f.now)
		if errors.Is(err, table.ErrNoTable) {
			err = fmt.Errorf("%w: nothing was loaded yet, or catalog and table names are not those that the daemon has", err)
		}
		if rep != nil {
			if *f.out == "json" {
				err = errors.Join(err, writeJSON(c.OutOrStdout(), rep))
			} else {
				err = errors.Join(err, rep.print(c.OutOrStdout()))
			}
		}
		return inPipeline(p, errors.Join(err, rep.verdict()))
	})
}

// choosePipeline finds the pipeline of --table.
func (f *forgetFlags) choosePipeline() error {
	if *f.table == "" {
		return nil
	}
	if *f.pipeline != "" {
		return fail(exitUsage, errors.New("--table and --pipeline: one of them is enough"))
	}
	cfg, _, err := load(*f.config)
	if err != nil {
		return err
	}
	var names []string
	for i := range cfg.Pipelines {
		p := &cfg.Pipelines[i]
		if inLake(p) != nil {
			continue
		}
		primary, _ := pipeline.Idents(cfg, p)
		if names = append(names, primary.String()); *f.table == primary.Name || *f.table == primary.String() {
			*f.pipeline = p.Name
			return nil
		}
	}
	return fail(exitUsage, fmt.Errorf("no pipeline of the configuration loads the table %q: choose one of %v", *f.table, names))
}

// readKeys takes them from flags and a file. Errors do not tell values.
func readKeys(flags []string, file string, stdin io.Reader) (keys []forget.Key, err error) {
	var one forget.Key
	for i, text := range flags {
		column, value, ok := strings.Cut(text, "=")
		if !ok || column == "" || value == "" {
			return nil, fmt.Errorf("--key number %d is no COLUMN=VALUE", i+1)
		}
		one = append(one, forget.Value{Column: column, Text: value})
	}
	if len(one) > 0 {
		keys = append(keys, one)
	}
	if file != "" {
		in := stdin
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return nil, fmt.Errorf("--keys-file: %w", err)
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			in = f
		}
		more, err := readKeysFile(in)
		if err != nil {
			return nil, fmt.Errorf("--keys-file %s: %w", file, err)
		}
		keys = append(keys, more...)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key: say whose rows with --key COLUMN=VALUE or --keys-file")
	}
	return keys, nil
}

func readKeysFile(in io.Reader) (keys []forget.Key, err error) {
	r := csv.NewReader(in)
	columns, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty: its first line names columns")
	}
	for err == nil {
		var values []string
		if values, err = r.Read(); err != nil {
			break
		}
		var k forget.Key
		for i, v := range values {
			if v == "" {
				line, _ := r.FieldPos(i)
				return nil, fmt.Errorf("line %d has no value for the column %s", line, columns[i])
			}
			k = append(k, forget.Value{Column: columns[i], Text: v})
		}
		keys = append(keys, k)
	}
	if !errors.Is(err, io.EOF) {
		return nil, err // the position of what is wrong, no values
	}
	if len(keys) == 0 {
		return nil, errors.New("it has columns and no keys")
	}
	return keys, nil
}

// forgotten is what the command says.
type forgotten struct {
	*pipeline.ForgetReport
	Current *current.Forgotten `json:"current,omitempty"`
	// Hidden is the number of files in which delete files hide rows.
	Hidden int `json:"files_with_hidden_rows,omitempty"`
	// Expired is the number of snapshots that went at once, Deleted that of their objects.
	Expired int `json:"expired_snapshots,omitempty"`
	Deleted int `json:"deleted_objects,omitempty"`
	// Proofs are there if they were asked for; Holders are what keeps the person from being forgotten.
	Proofs  []*forget.Proof `json:"proofs,omitempty"`
	Holders []forget.Holder `json:"holders,omitempty"`
	Proved  bool            `json:"proved"`
	// Elsewhere is what the command does not reach.
	Elsewhere []string `json:"elsewhere"`
	planned   bool
	asked     bool
}

// verdict fails while something holds the rows, if that was asked.
func (r *forgotten) verdict() error {
	if r == nil || !r.asked || r.Proved {
		return nil
	}
	if len(r.Holders) == 0 {
		return errors.New("not every table could be searched")
	}
	return fmt.Errorf("%s may still hold rows or values of the persons", count(len(r.Holders), "object"))
}

// forgetter carries the command out.
type forgetter struct {
	u       *upkeep
	p       *configs.Pipeline
	deps    pipeline.Deps
	keys    []forget.Key
	options pipeline.ForgetOptions
}

// run takes the rows out of the log first, so that nothing makes them again, then out of what is made of it. A run that is killed anywhere
// is gone on with by running the command again.
func (x *forgetter) run(ctx context.Context, prove, now bool) (*forgotten, error) {
	rep := &forgotten{Elsewhere: x.elsewhere(), planned: x.options.DryRun, asked: prove}
	var err error
	if rep.ForgetReport, err = pipeline.Forget(ctx, x.p, x.deps, x.options); err != nil {
		return nil, err
	}
	if x.p.Table.Current != nil {
		e := current.Edit{Number: rep.Round, Before: rep.Before}
		if rep.Current, err = x.u.applier(x.p).Forget(ctx, x.keys, pipeline.ParseTexts, e, x.options.DryRun); err != nil {
			return nil, err
		}
	}
	if err := x.unhide(ctx, rep); err != nil {
		return rep, err
	}
	if now {
		if err := x.expire(ctx, rep); err != nil {
			return rep, err
		}
	}
	if prove {
		err = x.prove(ctx, rep)
	}
	return rep, err
}
