package configs

// Jobs are what is done to the tables beside loading them. Of several processes one at a time runs a job on a table.
type Jobs struct {
	// InDaemon says whether loaders run the schedules; false: only lakeloader jobs does. Default true.
	InDaemon *bool `yaml:"in_daemon"`
	// TimeZone is the one of the schedules, e.g. Europe/Berlin. Default UTC.
	TimeZone string `yaml:"time_zone"`
	// CatchUp says whether a run that was missed, because no process was there at its time, is made up for when one starts.
	// Default true.
	CatchUp *bool `yaml:"catch_up"`
	// Deadline of one run of a job on a table. Default 2h.
	Deadline Duration `yaml:"deadline" rule:"range=1m:7d"`
	// Expire removes old snapshots of the tables, and the files that only those had.
	Expire Expire `yaml:"expire"`
	// Compact puts the rows of small files into fewer, larger ones. It needs memory of its own, so loaders never run it:
	// lakeloader jobs and lakeloader job run do.
	Compact Compact `yaml:"compact"`
	// Retention drops what is older than table.retention and dead_letters.retention say. Loaders never run it, as compact.
	Retention Retention `yaml:"retention"`
	// Fold puts what old rounds decided (filtered records, dead letters, gaps) into one object in the place of two for each.
	Fold Fold `yaml:"fold"`
	// Complete says of pipelines with table.complete which of their time partitions are complete.
	Complete CompleteJob `yaml:"complete"`
	// Current brings the tables of pipelines with table.current up to date.
	Current CurrentJob `yaml:"current"`
	// Orphans removes objects from the tables' folders that no snapshot and no round refers to, such as programs leave that
	// were killed. Every pipeline that writes into the tables must be in this configuration.
	Orphans Orphans `yaml:"orphans"`
	// History puts every ended run of a job into a table, which the jobs expire, compact and orphans look after too.
	History History `yaml:"history"`
	// Prices are those by which lakeloader job plan estimates what requests to the object store cost.
	Prices Prices `yaml:"prices"`
}

// Expire is the job that expires snapshots.
type Expire struct {
	// Schedule of the job. Default @hourly.
	Schedule string `yaml:"schedule"`
	// Age of the snapshots that go. Time travel, and readers that follow the table's changes, reach back as far. Default 24h.
	Age Duration `yaml:"age" rule:"range=1s:3650d"`
	// KeepLast is how many of the newest snapshots stay in any case, beside those that loaders need. Default 10.
	KeepLast int `yaml:"keep_last" rule:"range=1:1000000"`
}

// Compact is the job that compacts files.
type Compact struct {
	// Schedule of the job. Default @hourly.
	Schedule string `yaml:"schedule"`
	// MinFiles is how many files of a partition there must be to be merged into one. Default 5.
	MinFiles int `yaml:"min_files" rule:"range=2:10000"`
	// Quiet is how long a file must have been in the table. Default 1h.
	Quiet Duration `yaml:"quiet" rule:"range=1s:3650d"`
	// Engine that compacts instead of lakeloader, by the name that it has in engines: what is to be done is planned here, and done there. Left out:
	// lakeloader itself.
	Engine string `yaml:"engine"`
	// MaxSize of the files that one run merges in a table; what is beyond is left for the next run. Default 10GiB.
	MaxSize Bytes `yaml:"max_size" rule:"range=1MiB:"`
}

// Retention is the job that drops old rows and dead letters.
type Retention struct {
	// Schedule of the job. Default @daily.
	Schedule string `yaml:"schedule"`
}

// Fold is the job that folds round objects.
type Fold struct {
	// Schedule of the job. Default @daily.
	Schedule string `yaml:"schedule"`
}

// Orphans is the job that removes orphans.
type Orphans struct {
	// Schedule of the job. Default off.
	Schedule string `yaml:"schedule"`
	// Age that objects must have to go; loaders and jobs commit nothing older than half of 72h. Default 72h.
	Age Duration `yaml:"age" rule:"range=72h:3650d"`
}

// CompleteJob is the job that says what is complete.
type CompleteJob struct {
	// Schedule of the job. Default @every 1m.
	Schedule string `yaml:"schedule"`
}

// History is the job that moves ended runs into a table.
type History struct {
	// Schedule of the job; with off, lakeloader job run history does it. Default @hourly.
	Schedule string `yaml:"schedule"`
	// Table of the runs, or namespace.table; off: there is none. Default lakeloader_jobs.
	Table string `yaml:"table"`
	// Retention is how long runs stay in the table, by whole months. Default 365d.
	Retention Duration `yaml:"retention" rule:"range=1d:36500d"`
}

// Prices of an object store. Transfer within a region costs nothing.
type Prices struct {
	// Put is what 1,000 requests cost that write or list, US$. Default 0.005 on AWS (S3 Standard, us-east-1), else none.
	Put Dollars `yaml:"put" rule:"range=0.000001:1000"`
	// Get is what 1,000 requests cost that read, US$. Default 0.0004 on AWS (S3 Standard, us-east-1), else none.
	Get Dollars `yaml:"get" rule:"range=0.000001:1000"`
}
