/*
 * file: open, look at what it is, read to the end.
 *
 * Everything is opened non-blocking: opening a FIFO that nobody writes to would otherwise wait for
 * ever, and with it a reload. For regular files the flag means nothing. The checks are made on
 * the open descriptor, never on the path, so that nothing can be swapped in between. Memory that
 * held contents is wiped before it is given back, because any of these files may be a key.
 */
#include "base/file.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_BLOCK = 4096, PIPE_DEADLINE_MS = 10000 };

struct reader {
    const char *path;
    int fd;
    size_t max_bytes;
    uint64_t deadline_ms; /* clock_mono_ms; only pipes make us wait */
    char *data;
    size_t len;
    size_t capacity;
};

static void wipe_and_free(char *data, size_t capacity)
{
    if (data != NULL) {
        explicit_bzero(data, capacity);
        mem_free(data);
    }
}

static bool may_be_pipe(const char *path)
{
    return strcmp(path, "/dev/stdin") == 0 || strncmp(path, "/dev/fd/", 8) == 0;
}

static int check_kind(const struct reader *r, const struct stat *st, struct errbuf *err)
{
    if (S_ISDIR(st->st_mode)) {
        errbuf_set(err, "\"%s\" is a directory; a file is needed", r->path);
        return -1;
    }
    if (S_ISFIFO(st->st_mode) && may_be_pipe(r->path)) {
        return 0;
    }
    if (!S_ISREG(st->st_mode)) {
        errbuf_set(err, "\"%s\" is no regular file; a regular file is needed", r->path);
        return -1;
    }
    if ((uintmax_t)st->st_size > r->max_bytes) {
        errbuf_set(err, "\"%s\" is too large: %ju bytes; at most %zu are accepted", r->path,
                   (uintmax_t)st->st_size, r->max_bytes);
        return -1;
    }
    return 0;
}

static int open_file(struct reader *r, struct stat *st, struct errbuf *err)
{
    do {
        r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (r->fd < 0 && errno == EINTR);
    if (r->fd < 0) {
        errbuf_set_errno(err, "can't open \"%s\"", r->path);
        return -1;
    }
    if (fstat(r->fd, st) != 0) {
        errbuf_set_errno(err, "can't look at \"%s\"", r->path);
        return -1;
    }
    return check_kind(r, st, err);
}

/* Not realloc: it would leave a copy of the contents behind. */
static void grow(struct reader *r, size_t capacity)
{
    char *data = mem_alloc(capacity);
    if (r->len > 0) {
        memcpy(data, r->data, r->len);
    }
    wipe_and_free(r->data, r->capacity);
    r->data = data;
    r->capacity = capacity;
}

static int wait_readable(const struct reader *r, struct errbuf *err)
{
    uint64_t now = clock_mono_ms();
    struct pollfd entry = {.fd = r->fd, .events = POLLIN};
    int timeout = now < r->deadline_ms ? (int)(r->deadline_ms - now) : 0;
    int ready = poll(&entry, 1, timeout);
    if (ready == 0) {
        errbuf_set(err, "\"%s\" did not come to its end within %d seconds", r->path,
                   PIPE_DEADLINE_MS / 1000);
        return -1;
    }
    if (ready < 0 && errno != EINTR) {
        errbuf_set_errno(err, "can't wait for \"%s\"", r->path);
        return -1;
    }
    return 0;
}

/* 1: more may come; 0: the end; -1 with err. There is always a byte free behind what was read. */
static int read_some(struct reader *r, struct errbuf *err)
{
    if (r->len + 1 >= r->capacity) {
        grow(r, r->capacity < SIZE_MAX / 2 ? r->capacity * 2 : SIZE_MAX);
    }
    ssize_t got = read(r->fd, r->data + r->len, r->capacity - r->len - 1);
    if (got < 0 && errno == EAGAIN) {
        return wait_readable(r, err) == 0 ? 1 : -1;
    }
    if (got < 0 && errno != EINTR) {
        errbuf_set_errno(err, "can't read \"%s\"", r->path);
        return -1;
    }
    r->len += got > 0 ? (size_t)got : 0;
    if (r->len > r->max_bytes) {
        errbuf_set(err, "\"%s\" is too large; at most %zu bytes are accepted", r->path,
                   r->max_bytes);
        return -1;
    }
    return got != 0;
}

static int read_all(struct reader *r, const struct stat *st, struct errbuf *err)
{
    size_t expected = S_ISREG(st->st_mode) ? (size_t)st->st_size : 0;
    /* Two more: one to find the end without growing, one for the NUL. */
    grow(r, expected + 2 > FIRST_BLOCK ? expected + 2 : FIRST_BLOCK);
    r->deadline_ms = clock_mono_ms() + PIPE_DEADLINE_MS;
    int more = 1;
    while (more > 0) {
        more = read_some(r, err);
    }
    return more;
}

/* check: NULL, or looks at the mode; -1 with err refuses. */
typedef int check_mode_fn(const char *path, mode_t mode, struct errbuf *err);

static int read_whole(const char *path, size_t max_bytes, check_mode_fn *check, char **data,
                      size_t *len, mode_t *mode, struct errbuf *err)
{
    *data = NULL;
    *len = 0;
    struct reader r = {
        .path = strcmp(path, "-") == 0 ? "/dev/stdin" : path, .fd = -1, .max_bytes = max_bytes};
    struct stat st = {0};
    int result = open_file(&r, &st, err);
    if (result == 0 && check != NULL) {
        result = check(r.path, st.st_mode, err);
    }
    if (result == 0) {
        result = read_all(&r, &st, err);
    }
    if (r.fd >= 0) {
        (void)close(r.fd); /* Read only: nothing can be lost here. */
    }
    if (result != 0) {
        wipe_and_free(r.data, r.capacity);
        return -1;
    }
    r.data[r.len] = '\0';
    *data = r.data;
    *len = r.len;
    *mode = st.st_mode;
    return 0;
}

int file_read(const char *path, size_t max_bytes, char **data, size_t *len, struct errbuf *err)
{
    mode_t mode = 0;
    return read_whole(path, max_bytes, NULL, data, len, &mode, err);
}

/* Who may write a key may put their own in its place. A pipe has no place to write to. */
static int refuse_world_writable(const char *path, mode_t mode, struct errbuf *err)
{
    if (S_ISREG(mode) && (mode & S_IWOTH) != 0) {
        errbuf_set(err, "\"%s\" may be written by everyone (mode %04o); make it 0600", path,
                   (unsigned)mode & 07777U);
        return -1;
    }
    return 0;
}

int file_read_secret(const char *path, size_t max_bytes, char **data, size_t *len,
                     int *others_may_read, struct errbuf *err)
{
    mode_t mode = 0;
    *others_may_read = 0;
    if (read_whole(path, max_bytes, refuse_world_writable, data, len, &mode, err) != 0) {
        return -1;
    }
    *others_may_read = S_ISREG(mode) && (mode & S_IROTH) != 0;
    return 0;
}
