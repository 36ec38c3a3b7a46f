// Package sqlsink writes a pipeline's rows to a table of PostgreSQL, MySQL, MariaDB or SQLite, exactly once: the rows of a round,
// its dead letters and its offsets move in one transaction.
//
// The rows of an open round wait as files in a spool on the local disk, so memory is bounded as for a lake table, and a
// transaction that a database has undone can be tried again. A commit is, in one transaction:
//
//  1. For each partition, in ascending order: UPDATE lakeloader_offsets SET next_offset = To WHERE next_offset = From, of this
//     epoch, which must not have ended. It takes the lock of that row, so that a loader that has lost the partition waits, and
//     then finds that no row is as it was: it is fenced. A partition without a row is inserted, where the primary key fences.
//  2. The rows and the dead letters are inserted. A unique key over topic, partition, epoch and offset is the second line.
//  3. What was filtered, and the gaps, are added to the bitmaps of lakeloader_decided.
//
// A COMMIT whose reply was lost has landed if a partition of the round says so by the round's id. If it says nothing, it is
// tried again: should the first one land later, the second waits for its locks, and finds the id.
package sqlsink
