// Package obs is how people and machines see a running daemon: logs, the state of every pipeline and partition, metrics
// for Prometheus, health and readiness over HTTP, and the table that lakeloader status prints.
//
// There is one source of truth, State. Pipelines tell their Recorder what happened, once a batch and once a commit; the
// status document and the metrics are both computed from it when somebody asks, so they cannot disagree and cost the hot
// path nothing but a lock a batch.
package obs
