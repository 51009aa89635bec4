/*
 * log_writer: byte rings with one producer and one consumer each, and the thread that empties them.
 *
 *     control  --> ring 0 --\                     +-> buffer --> stderr
 *     worker 0 --> ring 1 ---+--> writer thread --+
 *     worker 1 --> ring 2 --/                     +-> buffer --> stdout or a file
 *
 * A ring holds records: a header of eight bytes, the line, padding to eight bytes. `head` counts
 * the bytes ever put in and belongs to the producer, `tail` counts those taken out and belongs to
 * the writer; a position is a count modulo the size. The store of head (release or stronger)
 * publishes the bytes before it, the store of tail gives their room back.
 *
 * Sleeping and waking.
 *
 *     AWAKE --nothing left--> ASLEEP --any line----------------------------> AWAKE
 *     AWAKE --wrote some----> LINGERS --10 ms, a ring holds an eighth,
 *                                       a line of the process log---------> AWAKE
 *
 * The first line after a pause goes out at once. Behind it the writer lingers and takes what comes
 * in one go: a wake-up for each line (a write to the eventfd, two switches of threads, a small
 * write) costs more than the line (bench/telemetry.c). The writer rests in read(2) or
 * poll(2) on an eventfd; a producer writes to it only when the writer says that it sleeps, or
 * lingers while a ring fills or the process log has something to say, so that a busy writer costs
 * producers no system call. No wake-up is lost because both sides first tell and then look
 * (Dekker's pattern):
 *
 *     producer: head = new        writer: rest = ASLEEP
 *               look at rest              look at every head, and
 *                                         where the process log's last line ends
 *
 * All four are sequentially consistent, so there is one order of them in which every thread
 * agrees: whichever "tell" comes second is followed by a "look" that sees the other's. With
 * anything weaker both could read the old value (store buffering), and a line would wait for the
 * next one. At worst a wake-up is superfluous: then the writer finds nothing and sleeps again.
 *
 * Lines of the process log that repeat are folded (telemetry/log_fold.h). A file that was renamed
 * or removed is opened anew (telemetry/access_reopen.h), in place: producers look at its
 * descriptor.
 *
 * What is lost (a write failed, a ring was full) is said on the process log by the writer itself,
 * see telemetry/log_losses.h. It sleeps no longer than until it has the next of it to say.
 *
 * Stopping. A write to a pipe that nobody reads blocks, and must: the descriptor may be shared
 * with other processes, so O_NONBLOCK is not ours to set. log_writer_stop waits on a second
 * eventfd up to its deadline. When the thread is stuck, it is left behind; who comes last of the
 * two, frees.
 */
#include "telemetry/log_writer.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "telemetry/access_file.h"
#include "telemetry/access_reopen.h"
#include "telemetry/log_fold.h"
#include "telemetry/log_losses.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CACHE_LINE = 64,
    RECORD_ALIGN = 8,
    BUFFER_SIZE = 64 * 1024,
    LINE_MAX_BYTES = 32 * 1024,
    /* Access lines may not use this part of a ring: a flood of them does not push out the
       process log. */
    PROCESS_RESERVE = LOG_RING_BYTES / 4,
    /* In a ring: no lingering. The rest is for what comes until the writer gets a CPU. */
    MUCH_BYTES = LOG_RING_BYTES / 8,
};

enum rest { AWAKE = 0, ASLEEP, LINGERS };

_Static_assert((LOG_RING_BYTES & (LOG_RING_BYTES - 1)) == 0, "a position is a count and a mask");
_Static_assert(LINE_MAX_BYTES < BUFFER_SIZE, "any line fits an empty buffer");

struct record {
    uint32_t len;
    uint32_t channel;
};

_Static_assert(sizeof(struct record) == RECORD_ALIGN, "the header keeps the alignment");

struct log_ring {
    struct log_writer *writer;
    char *memory;
    char pad_before_producer[CACHE_LINE];
    /* Written by the producer. */
    _Atomic uint64_t head;
    _Atomic uint64_t process_head; /* behind the last line of the process log */
    uint64_t seen_tail;            /* a tail seen before: room to this point is certain */
    _Atomic uint64_t accepted;
    _Atomic uint64_t dropped[LOG_CHANNEL_COUNT];
    char pad_before_writer[CACHE_LINE];
    /* Written by the writer. */
    _Atomic uint64_t tail;
    char pad_behind[CACHE_LINE];
};

/* Where one channel's lines go, with what was collected for the next write. Writer thread only. */
struct output {
    int fd; /* -1: nowhere */
    bool owned;
    bool torn; /* the last write ended inside of a line */
    size_t lines;
    size_t len;
    char buffer[BUFFER_SIZE];
};

struct log_writer {
    size_t ring_count;
    struct log_ring *rings;
    struct output outputs[LOG_CHANNEL_COUNT];
    struct log_losses losses; /* writer thread, as the next two */
    struct log_fold fold;
    struct access_reopen reopen;
    pthread_t thread;
    int wake_fd;
    int done_fd;
    _Atomic int rest; /* enum rest */
    _Atomic uint64_t linger_ms;
    atomic_bool stopping;
    atomic_bool reopening; /* wanted */
    atomic_bool released;  /* set by the thread at its end and by whoever leaves it behind */
    _Atomic uint64_t written;
    _Atomic uint64_t failed[LOG_CHANNEL_COUNT];
    _Atomic uint64_t own; /* lines of the writer's own */
    _Atomic int level;    /* for those; enum log_level, enum log_format */
    _Atomic int format;
};

/* For a count that only one thread changes: cheaper than an atomic addition. */
static void add(_Atomic uint64_t *count, uint64_t more)
{
    uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, now + more, memory_order_relaxed);
}

static uint64_t record_size(size_t line_len)
{
    return sizeof(struct record) + ((line_len + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1));
}

/* Start */

static int open_outputs(struct log_writer *writer, const char *access_path, struct errbuf *err)
{
    writer->outputs[LOG_CHANNEL_PROCESS].fd = STDERR_FILENO;
    struct output *access = &writer->outputs[LOG_CHANNEL_ACCESS];
    if (strcmp(access_path, "none") == 0) {
        access->fd = -1;
    } else if (strcmp(access_path, "stdout") == 0) {
        access->fd = STDOUT_FILENO;
    } else {
        access_reopen_init(&writer->reopen, access_path);
        access->fd = access_file_open(access_path, err);
        access->owned = access->fd >= 0;
        return access->owned ? 0 : -1;
    }
    return 0;
}

static int open_events(struct log_writer *writer, struct errbuf *err)
{
    writer->wake_fd = eventfd(0, EFD_CLOEXEC);
    writer->done_fd = eventfd(0, EFD_CLOEXEC);
    if (writer->wake_fd < 0 || writer->done_fd < 0) {
        errbuf_set_errno(err, "can't make an eventfd for the log writer");
        return -1;
    }
    return 0;
}

static void close_if_open(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void free_writer(struct log_writer *writer)
{
    for (size_t i = 0; i < LOG_CHANNEL_COUNT; i++) {
        if (writer->outputs[i].owned) {
            close_if_open(writer->outputs[i].fd);
        }
    }
    close_if_open(writer->wake_fd);
    close_if_open(writer->done_fd);
    for (size_t i = 0; i < writer->ring_count; i++) {
        mem_free(writer->rings[i].memory);
    }
    access_reopen_fini(&writer->reopen);
    mem_free(writer->rings);
    mem_free(writer);
}

static void *run(void *arg);
static void put_own_line(void *arg, const char *line, size_t len);

/* All signals stay blocked in the thread: they are control's business, and the SIGPIPE of a log
   pipe whose reader is gone becomes a plain EPIPE. */
static int start_thread(struct log_writer *writer, struct errbuf *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&writer->thread, NULL, run, writer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        errno = failed;
        errbuf_set_errno(err, "can't start the log writer's thread");
        return -1;
    }
    (void)pthread_setname_np(writer->thread, "log_writer"); /* only for people */
    return 0;
}

struct log_writer *log_writer_start(const char *access_path, size_t producers, struct errbuf *err)
{
    struct log_writer *writer = mem_alloc(sizeof(*writer));
    writer->wake_fd = -1;
    writer->done_fd = -1;
    writer->ring_count = producers;
    writer->rings = mem_alloc_array(producers, sizeof(writer->rings[0]));
    for (size_t i = 0; i < producers; i++) {
        writer->rings[i].writer = writer;
        writer->rings[i].memory = mem_alloc(LOG_RING_BYTES);
    }
    log_writer_set_style(writer, LOG_INFO, LOG_FORMAT_TEXT);
    log_writer_set_linger(writer, LOG_LINGER_MS);
    log_losses_init(&writer->losses, put_own_line, writer);
    if (open_outputs(writer, access_path, err) != 0 || open_events(writer, err) != 0 ||
        start_thread(writer, err) != 0) {
        free_writer(writer);
        return NULL;
    }
    return writer;
}

void log_writer_set_style(struct log_writer *writer, enum log_level level, enum log_format format)
{
    atomic_store_explicit(&writer->level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&writer->format, (int)format, memory_order_relaxed);
}

void log_writer_set_linger(struct log_writer *writer, uint64_t ms)
{
    atomic_store_explicit(&writer->linger_ms, ms, memory_order_relaxed);
}

struct log_ring *log_writer_ring(struct log_writer *writer, size_t index)
{
    ASSERT(index < writer->ring_count);
    return &writer->rings[index];
}

/* The producer's side */

static void copy_in(struct log_ring *ring, uint64_t count, const void *data, size_t len)
{
    size_t at = (size_t)(count & (LOG_RING_BYTES - 1));
    size_t to_end = LOG_RING_BYTES - at;
    size_t first = len < to_end ? len : to_end;
    memcpy(ring->memory + at, data, first);
    memcpy(ring->memory, (const char *)data + first, len - first);
}

static bool has_room(struct log_ring *ring, uint64_t head, uint64_t needed)
{
    if (head + needed - ring->seen_tail <= LOG_RING_BYTES) {
        return true;
    }
    ring->seen_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return head + needed - ring->seen_tail <= LOG_RING_BYTES;
}

/* Adding one to an eventfd blocks only at 2^64-2, which one wake-up per sleep can't reach. */
static void signal_event(int fd)
{
    static const uint64_t one = 1;
    ssize_t done;
    do {
        done = write(fd, &one, sizeof(one));
    } while (done < 0 && errno == EINTR);
}

static void wake(struct log_writer *writer)
{
    if (atomic_exchange(&writer->rest, AWAKE) != AWAKE) {
        signal_event(writer->wake_fd);
    }
}

void log_writer_reopen(struct log_writer *writer)
{
    atomic_store(&writer->reopening, true);
    wake(writer);
}

static bool holds_much(struct log_ring *ring, uint64_t head)
{
    if (head - ring->seen_tail <= MUCH_BYTES) {
        return false;
    }
    ring->seen_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return head - ring->seen_tail > MUCH_BYTES;
}

/* By the ring's producer, who has just put a line in. */
static void wake_for(struct log_ring *ring, enum log_channel channel, uint64_t head)
{
    int rest = atomic_load(&ring->writer->rest);
    bool waits = rest == LINGERS && channel == LOG_CHANNEL_ACCESS && !holds_much(ring, head);
    if (rest != AWAKE && !waits) {
        wake(ring->writer);
    }
}

void log_ring_write(struct log_ring *ring, enum log_channel channel, const char *line, size_t len)
{
    struct log_writer *writer = ring->writer;
    if (writer->outputs[channel].fd < 0) {
        return;
    }
    uint64_t size = record_size(len);
    uint64_t needed = size + (channel == LOG_CHANNEL_ACCESS ? PROCESS_RESERVE : 0);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (len > LINE_MAX_BYTES || !has_room(ring, head, needed)) {
        add(&ring->dropped[channel], 1);
        return;
    }
    struct record record = {.len = (uint32_t)len, .channel = (uint32_t)channel};
    copy_in(ring, head, &record, sizeof(record));
    copy_in(ring, head + sizeof(record), line, len);
    add(&ring->accepted, 1);
    atomic_store(&ring->head, head + size);
    if (channel == LOG_CHANNEL_PROCESS) {
        atomic_store(&ring->process_head, head + size);
    }
    wake_for(ring, channel, head + size);
}

void log_ring_sink(void *ring, const char *line, size_t len)
{
    log_ring_write(ring, LOG_CHANNEL_PROCESS, line, len);
}

static uint64_t dropped_of_ring(const struct log_ring *ring)
{
    uint64_t sum = 0;
    for (size_t channel = 0; channel < LOG_CHANNEL_COUNT; channel++) {
        sum += atomic_load_explicit(&ring->dropped[channel], memory_order_relaxed);
    }
    return sum;
}

static uint64_t without_room(const struct log_writer *writer)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < writer->ring_count; i++) {
        sum += dropped_of_ring(&writer->rings[i]);
    }
    return sum;
}

uint64_t log_writer_dropped_of(const struct log_writer *writer, enum log_channel channel)
{
    uint64_t sum = atomic_load_explicit(&writer->failed[channel], memory_order_relaxed);
    for (size_t i = 0; i < writer->ring_count; i++) {
        sum += atomic_load_explicit(&writer->rings[i].dropped[channel], memory_order_relaxed);
    }
    return sum;
}

uint64_t log_writer_dropped(const struct log_writer *writer)
{
    return log_writer_dropped_of(writer, LOG_CHANNEL_PROCESS) +
           log_writer_dropped_of(writer, LOG_CHANNEL_ACCESS);
}

/* The writer's side */

/* How much was written; less than len when the descriptor failed. A descriptor that somebody
   else made non-blocking is waited for. */
static size_t write_all(int fd, const char *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t written = write(fd, data + done, len - done);
        if (written >= 0) {
            done += (size_t)written;
        } else if (errno == EAGAIN) {
            struct pollfd entry = {.fd = fd, .events = POLLOUT};
            (void)poll(&entry, 1, -1); /* whatever it says, the next write tells */
        } else if (errno != EINTR) {
            break;
        }
    }
    return done;
}

static size_t count_lines(const char *data, size_t len)
{
    size_t lines = 0;
    for (size_t i = 0; i < len; i++) {
        lines += data[i] == '\n';
    }
    return lines;
}

static struct log *own_log(struct log_writer *writer)
{
    return &writer->losses.log;
}

static void reopen(struct log_writer *writer)
{
    struct output *access = &writer->outputs[LOG_CHANNEL_ACCESS];
    if (access_reopen_now(&writer->reopen, access->fd, own_log(writer))) {
        access->torn = false;
    }
}

static void flush(struct log_writer *writer, struct output *output)
{
    if (output->len == 0) {
        return;
    }
    if (output->owned && access_reopen_is_due(&writer->reopen, output->fd)) {
        reopen(writer);
    }
    /* A disk that was full has room again: the half line that it holds is ended first. */
    if (output->torn && write_all(output->fd, "\n", 1) == 1) {
        output->torn = false;
    }
    size_t done = output->torn ? 0 : write_all(output->fd, output->buffer, output->len);
    size_t lines = output->lines;
    if (done < output->len) {
        lines = count_lines(output->buffer, done);
        output->torn = output->torn || (done > 0 && output->buffer[done - 1] != '\n');
    }
    int error = errno;
    add(&writer->written, lines);
    add(&writer->failed[output - writer->outputs], output->lines - lines);
    /* When it is stderr that fails, there is no place left where this could be told. */
    if (output == &writer->outputs[LOG_CHANNEL_ACCESS]) {
        if (done < output->len) {
            log_losses_failed(&writer->losses, error, output->lines - lines);
        } else {
            log_losses_written(&writer->losses);
        }
    }
    output->len = 0;
    output->lines = 0;
}

/* log_sink_fn of the writer's own lines: straight to the process log. */
static void put_own_line(void *arg, const char *line, size_t len)
{
    struct log_writer *writer = arg;
    struct output *output = &writer->outputs[LOG_CHANNEL_PROCESS];
    if (len > BUFFER_SIZE - output->len) {
        flush(writer, output);
    }
    memcpy(output->buffer + output->len, line, len);
    output->len += len;
    output->lines++;
    add(&writer->own, 1);
}

static void set_own_style(struct log_writer *writer)
{
    log_set_level(own_log(writer),
                  (enum log_level)atomic_load_explicit(&writer->level, memory_order_relaxed));
    log_set_format(own_log(writer),
                   (enum log_format)atomic_load_explicit(&writer->format, memory_order_relaxed));
}

/* Says what was lost and what has repeated; when there will be more to say. */
static uint64_t report(struct log_writer *writer)
{
    uint64_t now = clock_mono_ms();
    uint64_t losses = log_losses_report(&writer->losses, without_room(writer), now);
    uint64_t fold = log_fold_report(&writer->fold, now, own_log(writer));
    flush(writer, &writer->outputs[LOG_CHANNEL_PROCESS]);
    return losses < fold ? losses : fold;
}

static void copy_out(const struct log_ring *ring, uint64_t count, void *data, size_t len)
{
    size_t at = (size_t)(count & (LOG_RING_BYTES - 1));
    size_t to_end = LOG_RING_BYTES - at;
    size_t first = len < to_end ? len : to_end;
    memcpy(data, ring->memory + at, first);
    memcpy((char *)data + first, ring->memory, len - first);
}

/* A line of the process log that repeats is not written, and not lost. */
static bool is_folded(struct log_writer *writer, const struct log_ring *ring, uint64_t count,
                      const struct record *record)
{
    char line[LOG_LINE_SIZE];
    if (record->channel != LOG_CHANNEL_PROCESS || record->len > sizeof(line)) {
        return false;
    }
    copy_out(ring, count, line, record->len);
    if (!log_fold_takes(&writer->fold, line, record->len, clock_mono_ms(), own_log(writer))) {
        return false;
    }
    add(&writer->written, 1);
    return true;
}

static void take_line(struct log_writer *writer, const struct log_ring *ring, uint64_t count,
                      const struct record *record)
{
    struct output *output = &writer->outputs[record->channel];
    if (is_folded(writer, ring, count, record)) {
        return;
    }
    if (record->len > BUFFER_SIZE - output->len) {
        flush(writer, output);
    }
    copy_out(ring, count, output->buffer + output->len, record->len);
    output->len += record->len;
    output->lines++;
}

/* Moves what is in the ring now to the buffers. True when there was something. */
static bool drain(struct log_writer *writer, struct log_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    bool any = tail != head;
    while (tail != head) {
        struct record record;
        copy_out(ring, tail, &record, sizeof(record));
        ASSERT(record.len <= LINE_MAX_BYTES && record.channel < LOG_CHANNEL_COUNT);
        take_line(writer, ring, tail + sizeof(record), &record);
        tail += record_size(record.len);
        atomic_store_explicit(&ring->tail, tail, memory_order_release);
    }
    return any;
}

/* One round: what every ring holds now goes out. */
static bool drain_all(struct log_writer *writer)
{
    bool any = false;
    for (size_t i = 0; i < writer->ring_count; i++) {
        any = drain(writer, &writer->rings[i]) || any;
    }
    for (size_t i = 0; i < LOG_CHANNEL_COUNT; i++) {
        flush(writer, &writer->outputs[i]);
    }
    return any;
}

/* Whether no ring holds more than that or a line of the process log, and nobody wants the end. */
static bool may_rest(struct log_writer *writer, uint64_t bytes)
{
    for (size_t i = 0; i < writer->ring_count; i++) {
        struct log_ring *ring = &writer->rings[i];
        uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        /* Behind the tail, unless that is past it already. */
        bool speaks = (int64_t)(atomic_load(&ring->process_head) - tail) > 0;
        if (speaks || atomic_load(&ring->head) - tail > bytes) {
            return false;
        }
    }
    return !atomic_load(&writer->stopping) && !atomic_load(&writer->reopening);
}

/* until_ms: clock_mono_ms, or LOG_LOSSES_NEVER. */
static void wait_for_wake(struct log_writer *writer, uint64_t until_ms)
{
    uint64_t count;
    if (until_ms != LOG_LOSSES_NEVER) {
        uint64_t now = clock_mono_ms();
        struct pollfd entry = {.fd = writer->wake_fd, .events = POLLIN};
        int left = until_ms > now ? (int)(until_ms - now) : 0;
        if (poll(&entry, 1, left) != 1) {
            return;
        }
    }
    /* Interrupted or woken for nothing: the next round finds nothing and sleeps again. */
    ssize_t ignored = read(writer->wake_fd, &count, sizeof(count));
    (void)ignored;
}

static void sleep_until_woken(struct log_writer *writer, uint64_t until_ms)
{
    atomic_store(&writer->rest, ASLEEP);
    if (may_rest(writer, 0)) {
        wait_for_wake(writer, until_ms);
    }
    atomic_store(&writer->rest, AWAKE);
}

static void linger(struct log_writer *writer)
{
    atomic_store(&writer->rest, LINGERS);
    if (may_rest(writer, MUCH_BYTES)) {
        uint64_t ms = atomic_load_explicit(&writer->linger_ms, memory_order_relaxed);
        wait_for_wake(writer, clock_mono_ms() + ms);
    }
    atomic_store(&writer->rest, AWAKE);
}

static void *run(void *arg)
{
    struct log_writer *writer = arg;
    for (;;) {
        /* Taken before the round: what was written before the stop is then in it. */
        bool stopping = atomic_load(&writer->stopping);
        bool reopening = atomic_exchange(&writer->reopening, false);
        set_own_style(writer);
        bool any = drain_all(writer);
        if (reopening) {
            reopen(writer);
        }
        uint64_t next_report_ms = report(writer);
        if (any) {
            linger(writer);
        } else if (stopping) {
            break;
        } else {
            sleep_until_woken(writer, next_report_ms);
        }
    }
    log_fold_report_all(&writer->fold, own_log(writer));
    log_losses_report_all(&writer->losses, without_room(writer));
    flush(writer, &writer->outputs[LOG_CHANNEL_PROCESS]);
    signal_event(writer->done_fd);
    if (atomic_exchange(&writer->released, true)) {
        free_writer(writer);
    }
    return NULL;
}

/* Stop */

static uint64_t lines_lost(const struct log_writer *writer)
{
    uint64_t lost = atomic_load_explicit(&writer->own, memory_order_relaxed);
    for (size_t i = 0; i < writer->ring_count; i++) {
        lost += dropped_of_ring(&writer->rings[i]) +
                atomic_load_explicit(&writer->rings[i].accepted, memory_order_relaxed);
    }
    return lost - atomic_load_explicit(&writer->written, memory_order_relaxed);
}

static bool wait_done(const struct log_writer *writer, uint64_t deadline_ms)
{
    struct pollfd entry = {.fd = writer->done_fd, .events = POLLIN};
    uint64_t until = clock_mono_ms() + deadline_ms;
    int ready;
    do {
        uint64_t now = clock_mono_ms();
        uint64_t left = now < until ? until - now : 0;
        ready = poll(&entry, 1, left < INT_MAX ? (int)left : INT_MAX);
    } while (ready < 0 && errno == EINTR);
    return ready == 1;
}

uint64_t log_writer_stop(struct log_writer *writer, uint64_t deadline_ms)
{
    atomic_store(&writer->stopping, true);
    wake(writer);
    if (wait_done(writer, deadline_ms)) {
        (void)pthread_join(writer->thread, NULL); /* it is past its last line already */
        uint64_t lost = lines_lost(writer);
        free_writer(writer);
        return lost;
    }
    uint64_t lost = lines_lost(writer);
    (void)pthread_detach(writer->thread);
    if (atomic_exchange(&writer->released, true)) {
        free_writer(writer);
    }
    return lost;
}
