/*
 * log_writer: the thread that writes logs, so that no worker ever waits for a disk or a pipe.
 *
 * Each producer (control, each worker) has a bounded ring of its own, written without locks; what
 * does not fit is dropped and counted. Writes are blocking ones in the writer's thread;
 * O_NONBLOCK is never set on a descriptor that others share.
 */
#ifndef BULKHEAD_TELEMETRY_LOG_WRITER_H
#define BULKHEAD_TELEMETRY_LOG_WRITER_H

#include "base/errbuf.h"
#include "base/log.h"

#include <stddef.h>
#include <stdint.h>

enum log_channel { LOG_CHANNEL_PROCESS = 0, LOG_CHANNEL_ACCESS, LOG_CHANNEL_COUNT };
enum { LOG_RING_BYTES = 256 * 1024 };

struct log_writer;
struct log_ring;

/* access_path: "stdout", "none" or a file's path (opened for appending, mode 0640, made when
   absent). The process log goes to stderr. Starts the thread. NULL with err. */
struct log_writer *log_writer_start(const char *access_path, size_t producers, struct errbuf *err);
/* How the lines look in which the writer itself says what was lost (telemetry/log_losses.h); text
   and info until it is called. Any thread. */
void log_writer_set_style(struct log_writer *writer, enum log_level level, enum log_format format);
/* How long access lines behind a written one wait for more, to be written together; less when a
   ring is half full, and not at the end. LOG_LINGER_MS until it is called. Any thread. */
enum { LOG_LINGER_MS = 10 };
void log_writer_set_linger(struct log_writer *writer, uint64_t ms);
/* Opens the access log's file anew, if it is one, when all that was written before is out; when it
   can't be, the one that is open stays. A file that was renamed or removed is found by itself at
   the next write. Any thread. */
void log_writer_reopen(struct log_writer *writer);
/* The ring of producer `index`; used by one thread at a time. */
struct log_ring *log_writer_ring(struct log_writer *writer, size_t index);
/* One line with its newline, at most 32 KiB, whole or not at all. Never blocks. A quarter of the
   ring is kept for the process log, so that access lines can't push it out. */
void log_ring_write(struct log_ring *ring, enum log_channel channel, const char *line, size_t len);
/* log_sink_fn (base/log.h) for the process log: arg is the ring. */
void log_ring_sink(void *ring, const char *line, size_t len);
/* Lines dropped since start, over all rings: for want of room, or because the write failed (a full
   disk, a closed pipe). Lines for "none" are not counted. Any thread. */
uint64_t log_writer_dropped(const struct log_writer *writer);
/* Of them, those for one log. */
uint64_t log_writer_dropped_of(const struct log_writer *writer, enum log_channel channel);
/* Writes what is queued, at most for deadline_ms, and ends. A thread that is stuck in a blocked
   write is left behind: the process is about to exit. Returns the lines lost: all that were
   dropped since start and all that could not be written by now. Nobody may use a ring from the
   call on; a log whose sink is a ring gets another sink before. */
uint64_t log_writer_stop(struct log_writer *writer, uint64_t deadline_ms);

#endif
