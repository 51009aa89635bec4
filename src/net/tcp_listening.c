/*
 *   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
 *    0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345
 * …
 *
 * Addresses are words of 32 bits in the host's order, each of eight hexadecimal digits.
 */
#include "net/tcp_listening.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATE_LISTEN = 0x0a, DIGITS = 8, WORDS_MAX = 4, LINE_MAX_BYTES = 512, PIECE = 16 * 1024 };

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Exactly that many digits. NULL: there are not. */
static const char *read_hex(const char *at, size_t digits, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        int next = digit(at[i]);
        if (next < 0) {
            return NULL;
        }
        *value = *value << 4 | (uint32_t)next;
    }
    return at + digits;
}

/* ADDRESS:PORT. */
static const char *read_address(const char *at, struct netaddr *out)
{
    uint32_t words[WORDS_MAX];
    size_t count = 0;
    uint32_t port = 0;
    for (; *at != ':'; count++) {
        at = count < WORDS_MAX ? read_hex(at, DIGITS, &words[count]) : NULL;
        if (at == NULL) {
            return NULL;
        }
    }
    at = read_hex(at + 1, 4, &port);
    if (at == NULL || (count != 1 && count != WORDS_MAX)) {
        return NULL;
    }
    *out = (struct netaddr){0};
    if (count == 1) {
        out->len = sizeof(out->u.in);
        out->u.in.sin_family = AF_INET;
        memcpy(&out->u.in.sin_addr, words, sizeof(out->u.in.sin_addr));
    } else {
        out->len = sizeof(out->u.in6);
        out->u.in6.sin6_family = AF_INET6;
        memcpy(&out->u.in6.sin6_addr, words, sizeof(out->u.in6.sin6_addr));
    }
    netaddr_set_port(out, (uint16_t)port);
    return at;
}

static const char *skip_spaces(const char *at)
{
    return at + strspn(at, " ");
}

/* Over one field and what stands before the next. */
static const char *skip_field(const char *at)
{
    return skip_spaces(at + strcspn(at, " "));
}

enum tcp_line tcp_listening_parse(const char *line, struct tcp_listening *out)
{
    struct netaddr remote;
    uint32_t state = 0;
    const char *at = skip_spaces(line);
    if (strncmp(at, "sl ", 3) == 0) {
        return TCP_LINE_OTHER;
    }
    at = read_address(skip_field(at), &out->address);
    at = at == NULL || *at != ' ' ? NULL : read_address(skip_spaces(at), &remote);
    at = at == NULL || *at != ' ' ? NULL : read_hex(skip_spaces(at), 2, &state);
    if (at == NULL || *at != ' ') {
        return TCP_LINE_BROKEN;
    }
    if (state != STATE_LISTEN) {
        return TCP_LINE_OTHER;
    }
    at = skip_field(skip_field(skip_field(skip_spaces(at)))); /* queues, timer, retransmits */
    char *end = NULL;
    errno = 0;
    unsigned long uid = strtoul(at, &end, 10);
    if (*at < '0' || *at > '9' || *end != ' ' || errno != 0 || uid > UINT32_MAX) {
        return TCP_LINE_BROKEN;
    }
    out->uid = (uid_t)uid;
    return TCP_LINE_LISTENING;
}

struct reading {
    tcp_listening_fn *fn;
    void *arg;
    bool head_seen;
    bool done;
    bool broken;
    char line[LINE_MAX_BYTES];
    size_t len;
};

static void take_line(struct reading *reading)
{
    struct tcp_listening socket;
    reading->line[reading->len] = '\0';
    reading->len = 0;
    switch (tcp_listening_parse(reading->line, &socket)) {
    case TCP_LINE_LISTENING:
        reading->fn(reading->arg, &socket);
        break;
    case TCP_LINE_OTHER:
        reading->done = reading->head_seen;
        break;
    case TCP_LINE_BROKEN:
        reading->broken = true;
        reading->done = true;
        break;
    }
    reading->head_seen = true;
}

static void take_piece(struct reading *reading, const char *data, size_t len)
{
    for (size_t i = 0; i < len && !reading->done; i++) {
        if (data[i] == '\n') {
            take_line(reading);
        } else if (reading->len < LINE_MAX_BYTES - 1) {
            reading->line[reading->len++] = data[i];
        }
    }
}

static int read_file(const char *path, tcp_listening_fn *fn, void *arg, struct errbuf *err)
{
    struct reading reading = {.fn = fn, .arg = arg};
    char piece[PIECE];
    size_t total = 0;
    ssize_t got = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        errbuf_set_errno(err, "%s", path);
        return -1;
    }
    while (!reading.done && got > 0 && total < TCP_LISTENING_BYTES_MAX) {
        got = read(fd, piece, sizeof(piece));
        if (got > 0) {
            total += (size_t)got;
            take_piece(&reading, piece, (size_t)got);
        }
    }
    int error = errno;
    (void)close(fd);
    if (got < 0) {
        errno = error;
        errbuf_set_errno(err, "%s", path);
    } else if (reading.broken) {
        errbuf_set(err, "%s: \"%.100s\" is no line that we know", path, reading.line);
    } else if (!reading.done && got > 0) {
        errbuf_set(err, "%s: there are more listening sockets than are looked at (%d bytes)", path,
                   TCP_LISTENING_BYTES_MAX);
    } else {
        return 0;
    }
    return -1;
}

int tcp_listening_each(tcp_listening_fn *fn, void *arg, struct errbuf *err)
{
    /* Without IPv6 in the kernel there is no tcp6, and nobody listens there. */
    static const char tcp6[] = "/proc/self/net/tcp6";
    if (read_file("/proc/self/net/tcp", fn, arg, err) != 0) {
        return -1;
    }
    if (access(tcp6, F_OK) != 0 && errno == ENOENT) {
        return 0;
    }
    return read_file(tcp6, fn, arg, err);
}
