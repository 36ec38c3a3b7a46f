// The few declarations of librdkafka that batch consumption needs. The library itself is linked by
// confluent-kafka-go, which does not put its header on anybody's include path. Everything is weak: with a library
// that lacks one of these functions the program still links, and lr_missing says so at run time.
// TestDeclarations compiles this file together with the bundled header, so that a difference cannot go unseen.
#ifndef LAKELOADER_RDKAFKA_H
#define LAKELOADER_RDKAFKA_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef LR_HAVE_RDKAFKA_H
typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_headers_s rd_kafka_headers_t;
typedef struct rd_kafka_topic_partition_list_s rd_kafka_topic_partition_list_t;
typedef struct rd_kafka_topic_partition_s rd_kafka_topic_partition_t;
typedef int rd_kafka_resp_err_t;
typedef int rd_kafka_timestamp_type_t;
#define LR_ERR_PARTITION_EOF (-191)
#else
#define LR_ERR_PARTITION_EOF RD_KAFKA_RESP_ERR__PARTITION_EOF
#endif

// lr_message is rd_kafka_message_t, whose fields are part of the library's public interface.
typedef struct {
  rd_kafka_resp_err_t err;
  rd_kafka_topic_t *rkt;
  int32_t partition;
  void *payload; // of an error: its text
  size_t len;
  void *key;
  size_t key_len;
  int64_t offset;
  void *_private;
} lr_message;

#ifndef LR_HAVE_RDKAFKA_H
typedef lr_message rd_kafka_message_t;
#endif

#define LR_WEAK __attribute__((weak))
LR_WEAK const char *rd_kafka_name(const rd_kafka_t *rk);
LR_WEAK rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk);
LR_WEAK void rd_kafka_queue_destroy(rd_kafka_queue_t *q);
LR_WEAK rd_kafka_queue_t *rd_kafka_queue_get_partition(rd_kafka_t *rk, const char *topic, int32_t partition);
LR_WEAK void rd_kafka_queue_forward(rd_kafka_queue_t *src, rd_kafka_queue_t *dst);
LR_WEAK ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t *q, int timeout_ms, rd_kafka_message_t **m, size_t n);
LR_WEAK void rd_kafka_message_destroy(rd_kafka_message_t *m);
LR_WEAK int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *m, rd_kafka_timestamp_type_t *type);
LR_WEAK rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *m, rd_kafka_headers_t **hdrs);
LR_WEAK rd_kafka_resp_err_t rd_kafka_header_get_all(const rd_kafka_headers_t *hdrs, size_t i, const char **name, const void **value, size_t *size);
LR_WEAK const char *rd_kafka_topic_name(const rd_kafka_topic_t *rkt);
LR_WEAK rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int size);
LR_WEAK void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *l);
LR_WEAK rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_add(rd_kafka_topic_partition_list_t *l, const char *topic, int32_t partition);
LR_WEAK rd_kafka_resp_err_t rd_kafka_topic_partition_list_set_offset(rd_kafka_topic_partition_list_t *l, const char *topic, int32_t partition, int64_t offset);
LR_WEAK rd_kafka_resp_err_t rd_kafka_commit(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *offsets, int async);
#endif
