package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/obs"
)

func newJobs() *cobra.Command {
	c := &cobra.Command{
		Use:   "jobs",
		Short: "Run the scheduled jobs, without loading",
		Long: `jobs runs the jobs of the configuration on their schedules until it is told to stop (SIGTERM, SIGINT). Loaders do so too, unless
jobs.in_daemon is false; of all processes only one at a time runs a job on a table.`,
		Example: `  lakeloader jobs -c lakeloader.yaml`,
		Args:    cobra.NoArgs,
	}
	path := configFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		stop, hard, release := signals(time.Minute)
		defer release()
		return withLake(hard, *path, func(cfg *configs.Config, l *lake) error {
			log := obs.NewLogger(cfg.Log, os.Stderr, configs.NewRedactor(cfg))
			r, err := newUpkeep(cfg, l, log).runner(false)
			if err != nil {
				return err
			}
			ctx, cancel := untilStopped(hard, stop)
			defer cancel()
			for _, j := range r.Jobs {
				log.Info("scheduled", "job", j.Name, "schedule", shownSchedule(j), "time_zone", cfg.Jobs.TimeZone)
			}
			return fail(exitFailed, r.Run(ctx))
		})
	}
	return c
}

// untilStopped is a context that ends when stop is closed.
func untilStopped(ctx context.Context, stop <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func newJob() *cobra.Command {
	c := &cobra.Command{
		Use:   "job",
		Short: "List, plan or run the jobs that keep the tables in shape",
		Long: `job works with the jobs of a configuration: expire (old snapshots, and the files that only they had), compact (small files
into larger ones), retention (rows and dead letters that are too old), fold (the objects of old rounds), orphans (objects that
nothing refers to), complete (which time partitions have all their rows), history (puts what jobs did into a table), and the
aggregates by their names. Loaders may be running.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newJobList(), newJobHistory(), newJobPlan(), newJobRun())
	return c
}

// jobCommand adds what the commands below job share.
func jobCommand(c *cobra.Command, do func(c *cobra.Command, u *upkeep, out string, args []string) error) *cobra.Command {
	path := configFlag(c)
	out := outputFlag(c, "text", "json")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		return withLake(c.Context(), *path, func(cfg *configs.Config, l *lake) error {
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			return do(c, newUpkeep(cfg, l, log), *out, args)
		})
	}
	return c
}

// find gives the job of a name.
func (u *upkeep) find(name string) (jobs.Job, error) {
	var names []string
	for _, j := range u.jobs() {
		if j.Name == name {
			return j, nil
		}
		names = append(names, j.Name)
	}
	return jobs.Job{}, fail(exitUsage, fmt.Errorf("there is no job %q: choose one of %v", name, names))
}

// tasks are those of a job, of one target if it is named.
func (u *upkeep) tasks(ctx context.Context, j jobs.Job, target string) ([]jobs.Task, error) {
	all, err := j.Tasks(ctx)
	if err != nil {
		return nil, fail(exitUnreachable, err)
	}
	if target == "" {
		return all, nil
	}
	var names []string
	for _, t := range all {
		if t.Target == target {
			return []jobs.Task{t}, nil
		}
		names = append(names, t.Target)
	}
	return nil, fail(exitUsage, fmt.Errorf("job %s has no table %q: choose one of %v", j.Name, target, names))
}

func shownSchedule(j jobs.Job) string {
	if j.Schedule == "" {
		return configs.Off
	}
	return j.Schedule
}

// jobStatus is a line of job list.
type jobStatus struct {
	Job      string       `json:"job"`
	Target   string       `json:"target"`
	Schedule string       `json:"schedule"`
	Next     time.Time    `json:"next,omitzero"`
	Last     *jobs.Record `json:"last,omitempty"`
}

func newJobList() *cobra.Command {
	return jobCommand(&cobra.Command{Use: "list", Short: "Show the jobs, when they run next, and how they ended last", Args: cobra.NoArgs,
		Example: `  lakeloader job list -c lakeloader.yaml`},
		func(c *cobra.Command, u *upkeep, out string, _ []string) error {
			zone, err := time.LoadLocation(u.cfg.Jobs.TimeZone)
			if err != nil {
				return fail(exitUsage, err)
			}
			list := []jobStatus{}
			for _, j := range u.jobs() {
				tasks, err := u.tasks(c.Context(), j, "")
				if err != nil {
					return err
				}
				for _, t := range tasks {
					s := jobStatus{Job: j.Name, Target: t.Target, Schedule: shownSchedule(j)}
					if j.Schedule != "" {
						when, err := jobs.ParseSchedule(j.Schedule)
						if err != nil {
							return fail(exitUsage, err)
						}
						s.Next = when.Next(time.Now().In(zone))
					}
					runs, err := u.leases().History(c.Context(), j.Name, t.Target, 1)
					if err != nil {
						return fail(exitUnreachable, err)
					}
					if len(runs) > 0 {
						s.Last = &runs[0]
					}
					list = append(list, s)
				}
			}
			if out == "json" {
				return writeJSON(c.OutOrStdout(), list)
			}
			return printJobs(c.OutOrStdout(), list, zone)
		})
}

func printJobs(w io.Writer, list []jobStatus, zone *time.Location) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "JOB\tTABLE\tSCHEDULE\tNEXT\tLAST\tOUTCOME")
	for _, s := range list {
		next, last, outcome := "-", "-", "-"
		if !s.Next.IsZero() {
			next = s.Next.In(zone).Format(time.DateTime + " MST")
		}
		if s.Last != nil {
			last, outcome = s.Last.Started.In(zone).Format(time.DateTime+" MST"), outcomeOf(*s.Last)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Job, s.Target, s.Schedule, next, last, outcome)
	}
	return tw.Flush()
}

func outcomeOf(r jobs.Record) string {
	switch {
	case r.Ended.IsZero():
		return "running, or died: " + r.Owner
	case r.Error != "":
		return "failed: " + r.Error
	case r.Done != nil:
		return r.Done.Summary
	}
	return "ended"
}

func newJobHistory() *cobra.Command {
	var n *int
	c := &cobra.Command{Use: "history NAME", Short: "Show how a job ended on each table, the newest first", Args: cobra.ExactArgs(1),
		Example: `  lakeloader job history expire -c lakeloader.yaml`}
	n = c.Flags().Int("last", 10, "how many runs on each table are shown")
	return jobCommand(c, func(c *cobra.Command, u *upkeep, out string, args []string) error {
		j, err := u.find(args[0])
		if err != nil {
			return err
		}
		tasks, err := u.tasks(c.Context(), j, "")
		if err != nil {
			return err
		}
		all := []jobs.Record{}
		for _, t := range tasks {
			runs, err := u.leases().History(c.Context(), j.Name, t.Target, *n)
			if err != nil {
				return fail(exitUnreachable, err)
			}
			all = append(all, runs...)
		}
		slices.SortStableFunc(all, func(a, b jobs.Record) int { return b.Started.Compare(a.Started) })
		if out == "json" {
			return writeJSON(c.OutOrStdout(), all)
		}
		tw := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "STARTED\tSECONDS\tTABLE\tOUTCOME\tBY")
		for _, r := range all {
			took := "-"
			if !r.Ended.IsZero() {
				took = fmt.Sprintf("%.1f", r.Ended.Sub(r.Started).Seconds())
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.Started.UTC().Format(time.RFC3339), took, r.Target, outcomeOf(r), r.Owner)
		}
		return tw.Flush()
	})
}

// taskReport is what a job did, or would do, on a target.
type taskReport struct {
	Job    string       `json:"job"`
	Target string       `json:"target"`
	Report *jobs.Report `json:"report,omitempty"`
	Error  string       `json:"error,omitempty"`
}

// eachTask runs do for the tasks of a job and prints what they report. Every one has its turn, also when others fail.
func eachTask(c *cobra.Command, u *upkeep, out, name, target string, do func(context.Context, jobs.Task) (*jobs.Report, error)) error {
	j, err := u.find(name)
	if err != nil {
		return err
	}
	tasks, err := u.tasks(c.Context(), j, target)
	if err != nil {
		return err
	}
	reports := []taskReport{}
	var errs []error
	for _, t := range tasks {
		r, err := do(c.Context(), t)
		x := taskReport{Job: t.Job, Target: t.Target, Report: r}
		if err != nil {
			err = fmt.Errorf("job %s on %s: %w", t.Job, t.Target, err)
			x.Error = err.Error()
			errs = append(errs, err)
		}
		if reports = append(reports, x); out == "text" && err == nil {
			fmt.Fprintf(c.OutOrStdout(), "%s %s: %s\n", t.Job, t.Target, r.Summary)
			for _, line := range r.Details {
				fmt.Fprintln(c.OutOrStdout(), "  "+line)
			}
		}
	}
	if out == "json" {
		errs = append(errs, writeJSON(c.OutOrStdout(), reports))
	} else if len(tasks) == 0 {
		fmt.Fprintln(c.OutOrStdout(), "There is no table yet.")
	}
	return fail(exitFailed, errors.Join(errs...))
}

func newJobPlan() *cobra.Command {
	c := &cobra.Command{Use: "plan NAME", Short: "Show what a job would do now; nothing is deleted", Args: cobra.ExactArgs(1),
		Long: `plan shows what a job would do now. Nothing is deleted or rewritten; to be sure of what are orphans, plan orphans commits an
empty snapshot to every table.`,
		Example: `  lakeloader job plan expire -c lakeloader.yaml
  lakeloader job plan orphans -c lakeloader.yaml`}
	target := c.Flags().String("table", "", "this table only")
	days := daysFlags(c)
	return jobCommand(c, func(c *cobra.Command, u *upkeep, out string, args []string) error {
		if err := days(u, args[0]); err != nil {
			return err
		}
		return eachTask(c, u, out, args[0], *target, func(ctx context.Context, t jobs.Task) (*jobs.Report, error) { return t.Plan(ctx) })
	})
}

func newJobRun() *cobra.Command {
	c := &cobra.Command{Use: "run NAME", Short: "Run a job once, now", Args: cobra.ExactArgs(1),
		Long: `run runs a job once, on all tables or on one, for Kubernetes CronJobs, Airflow and people. It ends with exit code 1 when a table
failed, or when another process is running the job on it. Of an aggregate --from and --to calculate all days between, both included,
whether they changed or not. Of a table with the present rows of change data --rebuild lets all rows go and applies all changes that are
loaded again, as is needed after a rewind; until it ends readers see a part of the rows.`,
		Example: `  lakeloader job run expire -c lakeloader.yaml
  lakeloader job run expire -c lakeloader.yaml --table lake.clicks
  lakeloader job run clicks_daily -c lakeloader.yaml --from 2026-11-01 --to 2026-11-20
  lakeloader job run current -c lakeloader.yaml --table lake.customers --rebuild`}
	target := c.Flags().String("table", "", "this table only")
	rebuild := c.Flags().Bool("rebuild", false, "of the job current: make the table anew from all changes that are loaded")
	days := daysFlags(c)
	return jobCommand(c, func(c *cobra.Command, u *upkeep, out string, args []string) error {
		if err := days(u, args[0]); err != nil {
			return err
		}
		if *rebuild && (args[0] != "current" || *target == "") {
			return fail(exitUsage, errors.New("--rebuild is of the job current, and needs --table"))
		}
		u.rebuild = *rebuild
		r, err := u.runner(false)
		if err != nil {
			return err
		}
		return eachTask(c, u, out, args[0], *target, r.Do)
	})
}
