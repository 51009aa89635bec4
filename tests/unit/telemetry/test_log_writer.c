/* log_writer: every line arrives whole and in order, or is counted; nobody ever waits for it. */
#include "telemetry/log_writer.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };

struct place {
    char dir[256];
    char path[300];
};

static int setup(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    const char *base = getenv("TMPDIR");
    (void)snprintf(place->dir, sizeof(place->dir), "%s/bulkhead-log-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(place->dir));
    (void)snprintf(place->path, sizeof(place->path), "%s/access", place->dir);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    (void)unlink(place->path);
    (void)rmdir(place->dir);
    mem_free(place);
    return 0;
}

static struct log_writer *start(const char *path, size_t producers)
{
    struct errbuf err = {.text = ""};
    struct log_writer *writer = log_writer_start(path, producers, &err);
    if (writer == NULL) {
        fail_msg("%s", err.text);
    }
    return writer;
}

/* At most `size` bytes, when any come in time; 0 at the end. */
static size_t read_some(int fd, char *out, size_t size)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&entry, 1, PATIENCE_MS), 1);
    ssize_t got = read(fd, out, size);
    assert_true(got >= 0);
    return (size_t)got;
}

static void expect_bytes(int fd, const char *expected)
{
    char got[256];
    size_t len = 0;
    while (len < strlen(expected)) {
        size_t more = read_some(fd, got + len, strlen(expected) - len);
        assert_true(more > 0);
        len += more;
    }
    assert_memory_equal(got, expected, len);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *text = mem_alloc(size + 1);
    assert_int_equal(fread(text, 1, size, file), size);
    (void)fclose(file);
    return text;
}

/* A FIFO that is full already; returns its reading end. */
static int full_fifo(const char *path, size_t *filled)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    int filler = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(filler >= 0);
    static const char block[4096];
    *filled = 0;
    ssize_t put;
    while ((put = write(filler, block, sizeof(block))) > 0) {
        *filled += (size_t)put;
    }
    assert_int_equal(errno, EAGAIN);
    (void)close(filler);
    return reader;
}

static void test_log_writer_appends_to_a_file(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < 2; i++) {
        struct log_writer *writer = start(place->path, 1);
        struct log_ring *ring = log_writer_ring(writer, 0);
        log_ring_write(ring, LOG_CHANNEL_ACCESS, "one\n", 4);
        log_ring_write(ring, LOG_CHANNEL_ACCESS, "two\n", 4);
        assert_int_equal(log_writer_stop(writer, PATIENCE_MS), 0);
    }
    char *text = read_file(place->path);
    assert_string_equal(text, "one\ntwo\none\ntwo\n");
    mem_free(text);
    struct stat st;
    assert_int_equal(stat(place->path, &st), 0);
    assert_int_equal(st.st_mode & 0137, 0);
}

static void test_log_writer_start_says_what_is_wrong(void **state)
{
    const struct place *place = *state;
    struct errbuf err = {.text = ""};
    assert_null(log_writer_start(place->dir, 1, &err));
    assert_non_null(strstr(err.text, "Is a directory"));
    assert_null(log_writer_start("/nonexistent/dir/access.log", 1, &err));
    assert_non_null(strstr(err.text, "\"/nonexistent/dir/access.log\": No such file"));
    /* A FIFO without a reader must not hold the start up. */
    assert_int_equal(mkfifo(place->path, 0600), 0);
    assert_null(log_writer_start(place->path, 1, &err));
    assert_non_null(strstr(err.text, "can't open the access log"));
}

static void test_log_writer_none_counts_nothing(void **state)
{
    (void)state;
    struct log_writer *writer = start("none", 2);
    for (int i = 0; i < 100000; i++) {
        log_ring_write(log_writer_ring(writer, 1), LOG_CHANNEL_ACCESS, "x\n", 2);
    }
    assert_int_equal(log_writer_dropped(writer), 0);
    assert_int_equal(log_writer_stop(writer, PATIENCE_MS), 0);
}

/* Puts the writing end of a pipe in place of `fd`; returns the reading end. */
static int capture(int fd, int *saved)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL);
    *saved = dup(fd);
    assert_int_equal(dup2(ends[1], fd), fd);
    (void)close(ends[1]);
    return ends[0];
}

static void restore(int fd, int saved, int reader)
{
    (void)dup2(saved, fd);
    (void)close(saved);
    (void)close(reader);
}

static void test_log_writer_standard_descriptors(void **state)
{
    (void)state;
    int saved_out;
    int saved_err;
    int out = capture(STDOUT_FILENO, &saved_out);
    int err = capture(STDERR_FILENO, &saved_err);
    int out_flags = fcntl(STDOUT_FILENO, F_GETFL);
    int err_flags = fcntl(STDERR_FILENO, F_GETFL);
    struct log_writer *writer = start("stdout", 1);
    struct log_ring *ring = log_writer_ring(writer, 0);
    log_ring_sink(ring, "process\n", 8);
    log_ring_write(ring, LOG_CHANNEL_ACCESS, "access\n", 7);
    uint64_t lost = log_writer_stop(writer, PATIENCE_MS);
    int out_flags_after = fcntl(STDOUT_FILENO, F_GETFL);
    int err_flags_after = fcntl(STDERR_FILENO, F_GETFL);
    /* From here a failure can be printed again. */
    (void)dup2(saved_out, STDOUT_FILENO);
    (void)dup2(saved_err, STDERR_FILENO);
    assert_int_equal(lost, 0);
    assert_int_equal(out_flags, out_flags_after);
    assert_int_equal(err_flags, err_flags_after);
    assert_int_equal(out_flags_after & O_NONBLOCK, 0);
    expect_bytes(out, "access\n");
    expect_bytes(err, "process\n");
    restore(STDOUT_FILENO, saved_out, out);
    restore(STDERR_FILENO, saved_err, err);
}

static void test_log_writer_waits_for_a_nonblocking_descriptor(void **state)
{
    (void)state;
    int saved;
    int out = capture(STDOUT_FILENO, &saved);
    /* Another process that shares our standard output may have done this. */
    (void)fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
    struct log_writer *writer = start("stdout", 1);
    struct log_ring *ring = log_writer_ring(writer, 0);
    static char line[1024];
    memset(line, 'a', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    size_t sent = 150 * sizeof(line); /* more than a pipe holds, less than the ring */
    for (size_t i = 0; i < sent / sizeof(line); i++) {
        log_ring_write(ring, LOG_CHANNEL_ACCESS, line, sizeof(line));
    }
    size_t got = 0;
    while (got < sent) {
        char chunk[4096];
        got += read_some(out, chunk, sizeof(chunk));
    }
    uint64_t lost = log_writer_stop(writer, PATIENCE_MS);
    restore(STDOUT_FILENO, saved, out);
    assert_int_equal(got, sent);
    assert_int_equal(lost, 0);
}

/* Each line must arrive without a later one pushing it. */
static void test_log_writer_loses_no_wake_up(void **state)
{
    const struct place *place = *state;
    assert_int_equal(mkfifo(place->path, 0600), 0);
    int reader = open(place->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct log_writer *writer = start(place->path, 2);
    log_writer_set_linger(writer, 0);
    for (unsigned i = 0; i < 5000; i++) {
        char line[32];
        int len = snprintf(line, sizeof(line), "line %u\n", i);
        log_ring_write(log_writer_ring(writer, i % 2), LOG_CHANNEL_ACCESS, line, (size_t)len);
        expect_bytes(reader, line);
        if (i % 3 == 0) {
            (void)sched_yield(); /* now and then the writer gets to sleep, or half way there */
        }
    }
    assert_int_equal(log_writer_stop(writer, PATIENCE_MS), 0);
    (void)close(reader);
}

/* The first line after a pause goes out at once; the others wait for company, and come in order. */
static void test_log_writer_lingers_until_a_ring_holds_much(void **state)
{
    const struct place *place = *state;
    assert_int_equal(mkfifo(place->path, 0600), 0);
    int reader = open(place->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct log_writer *writer = start(place->path, 2);
    log_writer_set_linger(writer, UINT64_C(3600) * 1000);
    log_ring_write(log_writer_ring(writer, 0), LOG_CHANNEL_ACCESS, "first\n", 6);
    expect_bytes(reader, "first\n");
    static char line[1024];
    memset(line, 'a', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    log_ring_write(log_writer_ring(writer, 1), LOG_CHANNEL_ACCESS, "other\n", 6);
    /* The process log does not wait, and what waits goes with it. */
    log_ring_write(log_writer_ring(writer, 0), LOG_CHANNEL_PROCESS, "a line\n", 7);
    expect_bytes(reader, "other\n");
    /* Twice of what is much for a ring: the first of it may meet a writer that lingers not yet, and
       the last of it waits again. */
    enum { MUCH = LOG_RING_BYTES / 8 };
    size_t sent = 0;
    while (sent < 2 * (size_t)MUCH) {
        sent += sizeof(line);
        log_ring_write(log_writer_ring(writer, 0), LOG_CHANNEL_ACCESS, line, sizeof(line));
    }
    char chunk[4096];
    size_t got = 0;
    while (got + MUCH < sent) {
        got += read_some(reader, chunk, sizeof(chunk));
    }
    /* The end does not wait for what lingers. */
    log_ring_write(log_writer_ring(writer, 1), LOG_CHANNEL_ACCESS, "last\n", 5);
    assert_int_equal(log_writer_stop(writer, PATIENCE_MS), 0);
    while (got < sent + 5) {
        got += read_some(reader, chunk, sizeof(chunk));
    }
    assert_int_equal(got, sent + 5);
    (void)close(reader);
}

/* Nor one that comes while the writer is about to linger: what waits before it goes with it. */
static void test_log_writer_lingers_with_no_line_of_the_process_log(void **state)
{
    const struct place *place = *state;
    enum { ROUNDS = 1000 };
    int usual = dup(STDERR_FILENO);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(dup2(nowhere, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(mkfifo(place->path, 0600), 0);
    int reader = open(place->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct log_writer *writer = start(place->path, 1);
    log_writer_set_linger(writer, UINT64_C(3600) * 1000);
    for (int i = 0; i < ROUNDS; i++) {
        log_ring_write(log_writer_ring(writer, 0), LOG_CHANNEL_ACCESS, "x\n", 2);
        log_ring_write(log_writer_ring(writer, 0), LOG_CHANNEL_PROCESS, "a line\n", 7);
        expect_bytes(reader, "x\n");
    }
    assert_int_equal(log_writer_stop(writer, PATIENCE_MS), 0);
    assert_int_equal(dup2(usual, STDERR_FILENO), STDERR_FILENO);
    (void)close(usual);
    (void)close(nowhere);
    (void)close(reader);
}

static void test_log_writer_drops_what_is_too_long(void **state)
{
    const struct place *place = *state;
    struct log_writer *writer = start(place->path, 1);
    struct log_ring *ring = log_writer_ring(writer, 0);
    size_t longest = 32 * 1024;
    char *line = mem_alloc(longest + 1);
    memset(line, 'a', longest);
    line[longest - 1] = '\n';
    log_ring_write(ring, LOG_CHANNEL_ACCESS, line, longest);
    assert_int_equal(log_writer_dropped(writer), 0);
    log_ring_write(ring, LOG_CHANNEL_ACCESS, line, longest + 1);
    assert_int_equal(log_writer_dropped(writer), 1);
    assert_int_equal(log_writer_stop(writer, PATIENCE_MS), 1);
    char *text = read_file(place->path);
    assert_int_equal(strlen(text), longest);
    mem_free(text);
    mem_free(line);
}

enum { PRODUCERS = 4, LINES = 20000 };

struct producer {
    struct log_ring *ring;
    unsigned number;
};

static void *produce(void *arg)
{
    const struct producer *self = arg;
    char line[160];
    for (unsigned i = 0; i < LINES; i++) {
        /* Lengths that let records wrap around the ring's end at every offset. */
        int len = snprintf(line, sizeof(line), "%u %u %*s\n", self->number, i, (int)(i % 97), "");
        log_ring_write(self->ring, LOG_CHANNEL_ACCESS, line, (size_t)len);
        if (i % 1024 == 0) {
            (void)sched_yield();
        }
    }
    return NULL;
}

/* All lines of the file are whole and in order for each producer. Returns how many there are. */
static uint64_t check_lines(const char *path)
{
    unsigned next[PRODUCERS] = {0};
    uint64_t lines = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char line[256];
    while (fgets(line, sizeof(line), file) != NULL) {
        char *rest = NULL;
        unsigned long number = strtoul(line, &rest, 10);
        unsigned long i = strtoul(rest, &rest, 10);
        assert_in_range(number, 0, PRODUCERS - 1);
        assert_in_range(i, next[number], LINES - 1);
        assert_int_equal(strlen(rest), 1 + (i % 97) + 1);
        next[number] = (unsigned)i + 1;
        lines++;
    }
    (void)fclose(file);
    return lines;
}

static void test_log_writer_many_producers(void **state)
{
    const struct place *place = *state;
    struct log_writer *writer = start(place->path, PRODUCERS);
    pthread_t threads[PRODUCERS];
    struct producer producers[PRODUCERS];
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.ring = log_writer_ring(writer, i), .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    (void)log_writer_dropped(writer); /* any thread may ask meanwhile */
    for (unsigned i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    uint64_t lost = log_writer_stop(writer, PATIENCE_MS);
    assert_int_equal(check_lines(place->path) + lost, (uint64_t)PRODUCERS * LINES);
    assert_true(lost < (uint64_t)PRODUCERS * LINES);
}

/* Everything the left-behind writer still has goes out when the pipe is read at last, and it ends
   by closing it. */
static size_t read_to_end(int reader)
{
    size_t total = 0;
    char chunk[8192];
    size_t got;
    while ((got = read_some(reader, chunk, sizeof(chunk))) > 0) {
        total += got;
    }
    return total;
}

static void test_log_writer_blocked_pipe_blocks_nobody(void **state)
{
    const struct place *place = *state;
    size_t filled = 0;
    int reader = full_fifo(place->path, &filled);
    struct log_writer *writer = start(place->path, 2);
    static char line[1000];
    memset(line, 'a', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    uint64_t sent = 2000;
    uint64_t before = clock_mono_ms();
    for (uint64_t i = 0; i < sent; i++) {
        log_ring_write(log_writer_ring(writer, i % 2), LOG_CHANNEL_ACCESS, line, sizeof(line));
    }
    assert_true(clock_mono_ms() - before < PATIENCE_MS);
    uint64_t dropped = log_writer_dropped(writer);
    assert_in_range(dropped, 1, sent - 1);
    before = clock_mono_ms();
    assert_int_equal(log_writer_stop(writer, 50), sent);
    uint64_t took = clock_mono_ms() - before;
    assert_in_range(took, 49, PATIENCE_MS / 2);
    assert_int_equal(read_to_end(reader), filled + (sent - dropped) * sizeof(line));
    (void)close(reader);
}

static void test_log_writer_keeps_room_for_the_process_log(void **state)
{
    const struct place *place = *state;
    size_t filled = 0;
    int reader = full_fifo(place->path, &filled);
    int saved;
    int err = capture(STDERR_FILENO, &saved);
    struct log_writer *writer = start(place->path, 1);
    log_writer_set_style(writer, LOG_ERROR, LOG_FORMAT_TEXT);
    struct log_ring *ring = log_writer_ring(writer, 0);
    static const char line[] = "an access line of a flood\n";
    for (int i = 0; i < 100000; i++) {
        log_ring_write(ring, LOG_CHANNEL_ACCESS, line, sizeof(line) - 1);
    }
    uint64_t dropped = log_writer_dropped(writer);
    log_ring_sink(ring, "level=error\n", 12);
    uint64_t dropped_after = log_writer_dropped(writer);
    uint64_t lost = log_writer_stop(writer, 0);
    /* Read to its end, the writer gets to the process log's line and ends. */
    size_t written = read_to_end(reader) - filled;
    char got[12] = "";
    size_t len = read_some(err, got, sizeof(got));
    restore(STDERR_FILENO, saved, err);
    (void)close(reader);
    assert_true(dropped > 0);
    assert_int_equal(dropped, dropped_after);
    assert_int_equal(written, (100000 - dropped) * (sizeof(line) - 1));
    assert_int_equal(lost, 100001);
    assert_int_equal(len, sizeof(got));
    assert_memory_equal(got, "level=error\n", sizeof(got));
}

static void test_log_writer_says_what_was_dropped(void **state)
{
    const struct place *place = *state;
    size_t filled = 0;
    int reader = full_fifo(place->path, &filled);
    int saved;
    int err = capture(STDERR_FILENO, &saved);
    struct log_writer *writer = start(place->path, 1);
    log_writer_set_style(writer, LOG_INFO, LOG_FORMAT_JSON);
    struct log_ring *ring = log_writer_ring(writer, 0);
    static const char line[] = "an access line of a flood\n";
    while (log_writer_dropped(writer) < 7) {
        log_ring_write(ring, LOG_CHANNEL_ACCESS, line, sizeof(line) - 1);
    }
    (void)log_writer_stop(writer, 0);
    (void)read_to_end(reader);
    char got[512] = "";
    (void)read_some(err, got, sizeof(got) - 1);
    restore(STDERR_FILENO, saved, err);
    (void)close(reader);
    assert_non_null(strstr(got, "\"level\":\"warn\",\"event\":\"log_lines_dropped\",\"count\":7,"));
}

static void test_log_writer_survives_a_closed_pipe(void **state)
{
    const struct place *place = *state;
    assert_int_equal(mkfifo(place->path, 0600), 0);
    int reader = open(place->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    (void)signal(SIGPIPE, SIG_DFL);
    struct log_writer *writer = start(place->path, 1);
    (void)close(reader);
    int saved;
    int err = capture(STDERR_FILENO, &saved);
    log_ring_write(log_writer_ring(writer, 0), LOG_CHANNEL_ACCESS, "lost\n", 5);
    uint64_t lost = log_writer_stop(writer, PATIENCE_MS);
    char got[512] = "";
    (void)read_some(err, got, sizeof(got) - 1);
    restore(STDERR_FILENO, saved, err);
    assert_int_equal(lost, 1);
    assert_non_null(
        strstr(got, "level=error event=access_log_failed error=\"Broken pipe\" lines_lost=1\n"));
}

static void wait_dropped(const struct log_writer *writer, uint64_t count)
{
    uint64_t until = clock_mono_ms() + PATIENCE_MS;
    while (log_writer_dropped(writer) < count) {
        assert_true(clock_mono_ms() < until);
        (void)sched_yield();
    }
}

/* As on a disk that is full and gets room again. */
static void test_log_writer_ends_a_torn_line(void **state)
{
    const struct place *place = *state;
    int saved;
    int err = capture(STDERR_FILENO, &saved); /* if it is a file, the limit counts there too */
    struct log_writer *writer = start(place->path, 1);
    struct log_ring *ring = log_writer_ring(writer, 0);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 10, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    log_ring_write(ring, LOG_CHANNEL_ACCESS, "first\n", 6);
    log_ring_write(ring, LOG_CHANNEL_ACCESS, "second\n", 7);
    wait_dropped(writer, 1);
    log_ring_write(ring, LOG_CHANNEL_ACCESS, "third\n", 6);
    wait_dropped(writer, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    log_ring_write(ring, LOG_CHANNEL_ACCESS, "fourth\n", 7);
    uint64_t lost = log_writer_stop(writer, PATIENCE_MS);
    restore(STDERR_FILENO, saved, err);
    assert_int_equal(lost, 2);
    char *text = read_file(place->path);
    assert_string_equal(text, "first\nseco\nfourth\n");
    mem_free(text);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_log_writer_appends_to_a_file),
        WITH_PLACE(test_log_writer_start_says_what_is_wrong),
        WITH_PLACE(test_log_writer_none_counts_nothing),
        WITH_PLACE(test_log_writer_standard_descriptors),
        WITH_PLACE(test_log_writer_waits_for_a_nonblocking_descriptor),
        WITH_PLACE(test_log_writer_loses_no_wake_up),
        WITH_PLACE(test_log_writer_lingers_until_a_ring_holds_much),
        WITH_PLACE(test_log_writer_lingers_with_no_line_of_the_process_log),
        WITH_PLACE(test_log_writer_drops_what_is_too_long),
        WITH_PLACE(test_log_writer_many_producers),
        WITH_PLACE(test_log_writer_blocked_pipe_blocks_nobody),
        WITH_PLACE(test_log_writer_keeps_room_for_the_process_log),
        WITH_PLACE(test_log_writer_says_what_was_dropped),
        WITH_PLACE(test_log_writer_survives_a_closed_pipe),
        WITH_PLACE(test_log_writer_ends_a_torn_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
