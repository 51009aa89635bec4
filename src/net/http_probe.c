/*
 * dial ─► SENDING ─► READING, until the status line is there ─► done. One deadline for all of it.
 *
 * The socket is closed as soon as the status is known. What the application sends beyond one read
 * is not waited for.
 */
#include "net/http_probe.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "net/dialer.h"
#include "net/http_client.h"
#include "net/socket.h"

enum { ANSWER_SIZE = 4096, STATUS_LINE_MAX = 512 };
enum { STATUS_OK = 200, STATUS_BAD_GATEWAY = 502, STATUS_UNREACHABLE = 503, STATUS_TIMEOUT = 504 };
enum { STATUS_LEAST = 200, STATUS_MOST = 599 };

struct http_probe {
    struct loop *loop;
    struct dialer *dialer;
    struct timer *timer;
    struct io_watch *watch;
    int fd;
    char *request; /* NULL: connecting is enough */
    size_t request_len;
    size_t sent;
    size_t got;
    char answer[ANSWER_SIZE];
    http_probe_done_fn *done;
    void *arg;
};

void http_probe_free(struct http_probe *probe)
{
    if (probe == NULL) {
        return;
    }
    dialer_cancel(probe->dialer);
    timer_free(probe->timer);
    io_watch_free(probe->watch);
    if (probe->fd >= 0) {
        (void)close(probe->fd);
    }
    mem_free(probe->request);
    mem_free(probe);
}

static void finish(struct http_probe *probe, int status, const char *why)
{
    http_probe_done_fn *done = probe->done;
    void *arg = probe->arg;
    http_probe_free(probe);
    done(arg, status, why);
}

static void on_timeout(void *arg)
{
    finish(arg, STATUS_TIMEOUT, "the application did not answer in time");
}

/* Of the line before end, whose CR may be left out. 0: it is none that is final. */
static int final_status(const char *line, const char *end)
{
    size_t len = (size_t)(end - line);
    len -= len > 0 && line[len - 1] == '\r';
    int status = http_reply_status((struct strview){line, len});
    return status >= STATUS_LEAST && status <= STATUS_MOST ? status : 0;
}

/* True: what has come is enough to know, and the probe is gone. */
static bool judge(struct http_probe *probe, bool ended)
{
    const char *end = memchr(probe->answer, '\n', probe->got);
    if (end == NULL && !ended && probe->got < STATUS_LINE_MAX) {
        return false;
    }
    int status = end == NULL ? 0 : final_status(probe->answer, end);
    if (status == 0) {
        finish(probe, STATUS_BAD_GATEWAY, "the application did not answer with an HTTP status");
    } else {
        finish(probe, status, NULL);
    }
    return true;
}

static void on_readable(struct http_probe *probe)
{
    ssize_t got = recv(probe->fd, probe->answer + probe->got, sizeof(probe->answer) - probe->got,
                       MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got > 0) {
        probe->got += (size_t)got;
    }
    (void)judge(probe, got <= 0);
}

static void on_writable(struct http_probe *probe)
{
    ssize_t sent = send(probe->fd, probe->request + probe->sent, probe->request_len - probe->sent,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (sent > 0) {
        probe->sent += (size_t)sent;
    }
    /* One that has closed may have answered before. */
    if ((sent < 0 || probe->sent == probe->request_len) &&
        io_watch_set(probe->watch, IO_READ) != 0) {
        finish(probe, STATUS_UNREACHABLE, "memory is out");
    }
}

static void on_ready(void *arg, unsigned events)
{
    struct http_probe *probe = arg;
    if ((events & IO_WRITE) != 0) {
        on_writable(probe);
    } else {
        on_readable(probe);
    }
}

static const char *why_unreachable(struct dial_failure failure)
{
    return failure.reason == REASON_UPSTREAM_CONNECT_REFUSED
               ? "the application refused the connection"
               : "the application could not be reached";
}

static void on_dialled(void *arg, int fd, struct dial_failure failure)
{
    struct http_probe *probe = arg;
    probe->dialer = NULL;
    probe->fd = fd;
    if (fd < 0 && failure.reason == REASON_UPSTREAM_CONNECT_TIMEOUT) {
        on_timeout(probe);
    } else if (fd < 0) {
        finish(probe, STATUS_UNREACHABLE, why_unreachable(failure));
    } else if (probe->request == NULL) {
        finish(probe, STATUS_OK, NULL);
    } else {
        probe->watch = io_watch_new(probe->loop, fd, on_ready, probe);
        if (probe->watch == NULL || io_watch_set(probe->watch, IO_WRITE) != 0) {
            finish(probe, STATUS_UNREACHABLE, "memory is out");
        }
    }
}

/* Nothing of it comes from whoever asked us. */
static bool make_request(struct http_probe *probe, const struct netaddr *addr, const char *target)
{
    char host[NETADDR_TEXT_SIZE];
    (void)netaddr_format(addr, host);
    int len = asprintf(&probe->request,
                       "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bulkhead-probe\r\nAccept: "
                       "*/*\r\nConnection: close\r\n\r\n",
                       target, netaddr_is_unix(addr) ? "localhost" : host);
    if (len < 0) {
        probe->request = NULL;
        return false;
    }
    probe->request_len = (size_t)len;
    return true;
}

struct http_probe *http_probe_start(struct loop *loop, const struct netaddr *addr,
                                    const char *target, uint64_t timeout_ms,
                                    http_probe_done_fn *done, void *arg)
{
    static const struct socket_options options = {.keepalive_ms = 0};
    struct dial_failure failure;
    struct http_probe *probe = mem_try_alloc(sizeof(*probe));
    if (probe == NULL) {
        return NULL;
    }
    probe->loop = loop;
    probe->fd = -1;
    probe->done = done;
    probe->arg = arg;
    probe->timer = timer_new(loop, on_timeout, probe);
    if (probe->timer == NULL || (target != NULL && !make_request(probe, addr, target)) ||
        dialer_start(loop, addr, timeout_ms, &options, on_dialled, probe, &probe->dialer,
                     &failure) != 0) {
        http_probe_free(probe);
        return NULL;
    }
    timer_set(probe->timer, timeout_ms);
    return probe;
}
