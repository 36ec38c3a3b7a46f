// Batch consumption in C: one call takes up to LR_MAX messages of the queue that all partitions are forwarded to.
#ifndef LAKELOADER_FETCH_H
#define LAKELOADER_FETCH_H
#include "rdkafka.h"

enum { LR_MAX = 4096, LR_TOPIC = 256 };

// lr_view is batch.View.
typedef struct {
  uint32_t off, len;
} lr_view;

// lr_run is rows [first, first+n) of one partition with ascending offsets, or one event (err != 0, n == 0).
typedef struct {
  char topic[LR_TOPIC];
  char *text; // of an error; freed by the next call
  int64_t offset;
  int32_t partition, err, first, n, topic_len;
} lr_run;

typedef struct {
  rd_kafka_t *rk;
  rd_kafka_queue_t *q;
  lr_message *msgs[LR_MAX]; // [at, have): taken from the queue, not delivered yet
  int have, at;
  lr_run runs[LR_MAX];
  int nruns;
  size_t used; // bytes that the call wrote into the arena
  size_t need; // bytes that the next message needs, when the arena was too small for it
} lr_queue;

int lr_missing(void);
const char *lr_name(void *rk);
lr_queue *lr_open(void *rk);
void lr_close(lr_queue *b);
int lr_forward(lr_queue *b, const char *topic, int32_t partition, int on);
int lr_fetch(lr_queue *b, int timeout_ms, int want, uint8_t *mem, size_t cap, uint32_t base, int64_t *offset, int64_t *timestamp, lr_view *key, lr_view *value, lr_view *header);
void lr_purge(lr_queue *b, const char *topic, int32_t partition);
int lr_commit(void *rk, int n, const char **topics, const int32_t *partitions, const int64_t *offsets);
#endif
