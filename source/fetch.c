#include "fetch.h"
#include <stdlib.h>
#include <string.h>

static const uint32_t null_off = UINT32_MAX; // batch.Null

// lr_missing tells whether the linked library lacks a function that batch consumption needs.
int lr_missing(void) {
  return !rd_kafka_name || !rd_kafka_queue_new || !rd_kafka_queue_destroy || !rd_kafka_queue_get_partition ||
         !rd_kafka_queue_forward || !rd_kafka_consume_batch_queue || !rd_kafka_message_destroy ||
         !rd_kafka_message_timestamp || !rd_kafka_message_headers || !rd_kafka_header_get_all || !rd_kafka_topic_name ||
         !rd_kafka_topic_partition_list_new || !rd_kafka_topic_partition_list_destroy ||
         !rd_kafka_topic_partition_list_add || !rd_kafka_topic_partition_list_set_offset || !rd_kafka_commit;
}

const char *lr_name(void *rk) { return rd_kafka_name(rk); }

lr_queue *lr_open(void *rk) {
  lr_queue *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->rk = rk;
  if (!(b->q = rd_kafka_queue_new(rk))) {
    free(b);
    return NULL;
  }
  return b;
}

static void forget_runs(lr_queue *b) {
  for (int i = 0; i < b->nruns; i++) free(b->runs[i].text);
  b->nruns = 0;
}

void lr_close(lr_queue *b) {
  forget_runs(b);
  for (; b->at < b->have; b->at++) rd_kafka_message_destroy((rd_kafka_message_t *)b->msgs[b->at]);
  rd_kafka_queue_destroy(b->q);
  free(b);
}

// lr_forward sends a partition's records to our queue (on), or to nobody.
int lr_forward(lr_queue *b, const char *topic, int32_t partition, int on) {
  rd_kafka_queue_t *p = rd_kafka_queue_get_partition(b->rk, topic, partition);
  if (!p) return -1;
  rd_kafka_queue_forward(p, on ? b->q : NULL);
  rd_kafka_queue_destroy(p);
  return 0;
}

// lr_purge drops what was taken of a partition and not delivered yet.
void lr_purge(lr_queue *b, const char *topic, int32_t partition) {
  int w = b->at;
  for (int i = b->at; i < b->have; i++) {
    lr_message *m = b->msgs[i];
    if (m->rkt && m->partition == partition && !strcmp(rd_kafka_topic_name(m->rkt), topic))
      rd_kafka_message_destroy((rd_kafka_message_t *)m);
    else
      b->msgs[w++] = m;
  }
  b->have = w;
}

static lr_run *add_run(lr_queue *b, const lr_message *m, int first) {
  lr_run *r = &b->runs[b->nruns++];
  const char *name = m->rkt ? rd_kafka_topic_name(m->rkt) : "";
  size_t n = strlen(name);
  if (n >= LR_TOPIC) n = LR_TOPIC - 1;
  memcpy(r->topic, name, n);
  r->topic[n] = 0;
  r->topic_len = (int32_t)n;
  r->text = NULL;
  r->partition = m->partition;
  r->err = m->err;
  r->offset = m->offset;
  r->first = first;
  r->n = 0;
  return r;
}

static size_t uvarint_len(uint64_t v) {
  size_t n = 1;
  for (; v >= 0x80; v >>= 7) n++;
  return n;
}

static uint8_t *put_uvarint(uint8_t *p, uint64_t v) {
  for (; v >= 0x80; v >>= 7) *p++ = (uint8_t)v | 0x80;
  *p++ = (uint8_t)v;
  return p;
}

static size_t headers_len(const rd_kafka_headers_t *h) {
  const char *name;
  const void *value;
  size_t size, total = 0;
  for (size_t i = 0; !rd_kafka_header_get_all(h, i, &name, &value, &size); i++) {
    size_t n = strlen(name);
    total += uvarint_len(n) + n + (value ? uvarint_len(size + 1) + size : 1);
  }
  return total;
}

static uint8_t *put_headers(uint8_t *p, const rd_kafka_headers_t *h) {
  const char *name;
  const void *value;
  size_t size;
  for (size_t i = 0; !rd_kafka_header_get_all(h, i, &name, &value, &size); i++) {
    size_t n = strlen(name);
    p = put_uvarint(p, n);
    memcpy(p, name, n);
    p += n;
    p = put_uvarint(p, value ? size + 1 : 0);
    if (value && size) {
      memcpy(p, value, size);
      p += size;
    }
  }
  return p;
}

static uint8_t *put_bytes(uint8_t *p, uint8_t *mem, uint32_t base, const void *from, size_t n, lr_view *v) {
  if (!from) {
    *v = (lr_view){null_off, 0};
    return p;
  }
  *v = (lr_view){base + (uint32_t)(p - mem), (uint32_t)n};
  if (n) memcpy(p, from, n);
  return p + n;
}

// lr_fetch delivers what was kept from the call before, or else takes up to want messages from the queue, waiting
// up to timeout_ms. Payloads go into mem, whose first byte is at offset base of the arena; row i's fields into the
// i-th slot of the arrays (room for LR_MAX). A message for which mem has no room ends the batch; it and those after
// it are kept. Returns the number of rows.
int lr_fetch(lr_queue *b, int timeout_ms, int want, uint8_t *mem, size_t cap, uint32_t base, int64_t *offset,
             int64_t *timestamp, lr_view *key, lr_view *value, lr_view *header) {
  uint8_t *p = mem;
  int rows = 0;
  lr_run *run = NULL;
  const rd_kafka_topic_t *last = NULL; // of the run; a pointer may come again once its messages are destroyed
  forget_runs(b);
  b->used = b->need = 0;
  if (b->at == b->have) {
    ssize_t n = rd_kafka_consume_batch_queue(b->q, timeout_ms, (rd_kafka_message_t **)b->msgs, (size_t)want);
    b->at = 0;
    b->have = n > 0 ? (int)n : 0;
  }
  for (; b->at < b->have; b->at++) {
    lr_message *m = b->msgs[b->at];
    if (m->err) {
      lr_run *e = add_run(b, m, rows);
      if (m->err != LR_ERR_PARTITION_EOF && m->payload) e->text = strndup(m->payload, m->len);
      run = NULL;
      rd_kafka_message_destroy((rd_kafka_message_t *)m);
      continue;
    }
    rd_kafka_headers_t *h = NULL;
    size_t hlen = 0;
    if (!rd_kafka_message_headers((rd_kafka_message_t *)m, &h)) hlen = headers_len(h);
    size_t need = (m->payload ? m->len : 0) + (m->key ? m->key_len : 0) + hlen;
    if (need > cap - (size_t)(p - mem)) {
      b->need = need;
      break;
    }
    if (!run || last != m->rkt || run->partition != m->partition || m->offset <= offset[rows - 1]) {
      run = add_run(b, m, rows);
      last = m->rkt;
    }
    p = put_bytes(p, mem, base, m->payload, m->len, &value[rows]);
    p = put_bytes(p, mem, base, m->key, m->key_len, &key[rows]);
    header[rows] = (lr_view){hlen ? base + (uint32_t)(p - mem) : 0, (uint32_t)hlen};
    if (hlen) p = put_headers(p, h);
    rd_kafka_timestamp_type_t type;
    offset[rows] = m->offset;
    timestamp[rows] = rd_kafka_message_timestamp((rd_kafka_message_t *)m, &type);
    rows++;
    run->n++;
    rd_kafka_message_destroy((rd_kafka_message_t *)m);
  }
  b->used = (size_t)(p - mem);
  return rows;
}

// lr_commit commits offsets to the group without waiting; the outcome arrives as an event. Returns an error code.
int lr_commit(void *rk, int n, const char **topics, const int32_t *partitions, const int64_t *offsets) {
  rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(n);
  for (int i = 0; i < n; i++) {
    rd_kafka_topic_partition_list_add(l, topics[i], partitions[i]);
    rd_kafka_topic_partition_list_set_offset(l, topics[i], partitions[i], offsets[i]);
  }
  int err = rd_kafka_commit(rk, l, 1);
  rd_kafka_topic_partition_list_destroy(l);
  return err;
}
