// Package routes sends rows, besides the lake, to topics, webhooks and search indexes. A route in the mode committed is an outbox:
// what it sends is decided by what was committed to the pipeline's tables, and how far it has come is a cursor of offsets.
//
// What each receiver guarantees, and why:
//
//   - A topic: a transaction holds the messages and the cursor, as offsets of a consumer group of the route's own. The transactional
//     id is that of the route, so an older instance is fenced. Exactly once for readers of committed records.
//   - A search index: the document's id is the row's topic, partition and offset, and the cursor moves behind the answer. A row that
//     is sent twice is one document: effectively once.
//   - A webhook: the cursor moves behind the answers, so after a crash some rows are sent again, with the same idempotency key: at
//     least once.
//
// Cursors of webhooks and search indexes are objects in the warehouse, numbered and never overwritten: whoever puts the next
// number moved the cursor, and another instance that finds it taken reads again. Leases keep two instances from sending at once;
// they save work and repetitions only.
package routes
