/*
 * A connection's life: HANDSHAKE, then HEADER; a header leads to ECHO for good, or to UP, ANSWER
 * and HEADER again, or to DOWN and HEADER again. One that could go on for long yields after a
 * while.
 */
#include "load/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "load/faults.h"
#include "load/link.h"
#include "load/meter.h"
#include "load/stream.h"

enum {
    BACKLOG = 65535,
    STEPS_PER_TURN = 16,
    TLS_RECORD = 16384,
    ACCEPTS_PER_TURN = 64,
    DRAIN_NS = 500000000
};

enum stage { STAGE_HANDSHAKE, STAGE_HEADER, STAGE_ECHO, STAGE_UP, STAGE_ANSWER, STAGE_DOWN };

/* What a stage's step says: go on, wait (the interest is set), or the connection is closed. */
enum step { STEP_ON, STEP_WAIT, STEP_CLOSED };

struct visitor {
    struct link link; /* first: the watch is how it is found */
    struct backend *backend;
    LIST_ENTRY(visitor) entry;
    enum stage stage;
    uint8_t header[STREAM_HEADER_SIZE]; /* and the answer */
    size_t header_len;
    uint64_t n, done, wrong;
    uint8_t *held; /* echo that the peer has no room for yet */
    size_t held_len, held_from;
};

LIST_HEAD(visitor_list, visitor);

struct backend {
    struct watch listener; /* first, likewise */
    bool is_full;
    struct poller poller;
    const struct options *options;
    struct tls_side *side; /* NULL: plain */
    struct visitor_list visitors;
    struct faults faults;
    uint64_t connections, open, resumed, bytes_in, bytes_out, resets, truncated, aborted;
    uint8_t piece[LINK_PIECE];
};

static void visitor_close(struct visitor *v)
{
    struct backend *b = v->backend;
    link_close(&v->link);
    LIST_REMOVE(v, entry);
    mem_free(v->held);
    mem_free(v);
    b->open--;
    if (b->is_full) {
        b->is_full = false;
        poller_want(&b->poller, &b->listener, EPOLLIN);
    }
}

static bool is_between(const struct visitor *v)
{
    return (v->stage == STAGE_HEADER && v->header_len == 0) ||
           (v->stage == STAGE_ECHO && v->held_len == 0);
}

/* The read or write said `outcome` and it is not LINK_WAIT. */
static enum step visitor_ended(struct visitor *v, ssize_t outcome)
{
    struct backend *b = v->backend;
    b->resets += outcome == LINK_RESET;
    b->truncated += outcome == LINK_CUT;
    if (outcome == LINK_FAILED) {
        faults_add(&b->faults, "backend: %s", link_why());
    } else if (v->stage == STAGE_HANDSHAKE) {
        b->aborted++;
    } else if (!is_between(v)) {
        faults_add(&b->faults, "backend: %s after %" PRIu64 " of %" PRIu64 " bytes", link_why(),
                   v->done, v->n);
    }
    visitor_close(v);
    return STEP_CLOSED;
}

static enum step wait_or_end(struct visitor *v, ssize_t outcome, uint32_t interest)
{
    if (outcome != LINK_WAIT) {
        return visitor_ended(v, outcome);
    }
    link_want(&v->link, interest);
    return STEP_WAIT;
}

static enum step step_handshake(struct visitor *v)
{
    int outcome = link_handshake(&v->link);
    if (outcome == LINK_WAIT) {
        return STEP_WAIT;
    }
    if (outcome != 1) {
        return visitor_ended(v, outcome);
    }
    v->backend->resumed += v->link.ssl && SSL_session_reused(v->link.ssl);
    v->stage = STAGE_HEADER;
    return STEP_ON;
}

static void begin_op(struct visitor *v)
{
    static const enum stage STAGES[] = {
        [STREAM_OP_NONE] = STAGE_HEADER,
        [STREAM_OP_ECHO] = STAGE_ECHO,
        [STREAM_OP_UP] = STAGE_UP,
        [STREAM_OP_DOWN] = STAGE_DOWN,
    };
    v->stage = STAGES[stream_header_read(v->header, &v->n)];
    v->header_len = v->done = v->wrong = 0;
}

static void hold(struct visitor *v, const uint8_t *bytes, size_t len)
{
    v->held = mem_alloc(len);
    memcpy(v->held, bytes, len);
    v->held_len = len;
    v->held_from = 0;
}

/* All of it leaves or is held. */
static enum step echo(struct visitor *v, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = link_write(&v->link, bytes, len);
        if (sent == LINK_WAIT) {
            hold(v, bytes, len);
            return STEP_ON;
        }
        if (sent < 0) {
            return visitor_ended(v, sent);
        }
        v->backend->bytes_out += (size_t)sent;
        bytes += sent;
        len -= (size_t)sent;
    }
    return STEP_ON;
}

static enum step step_header(struct visitor *v)
{
    ssize_t got =
        link_read(&v->link, v->header + v->header_len, STREAM_HEADER_SIZE - v->header_len);
    if (got <= 0) {
        return wait_or_end(v, got, EPOLLIN);
    }
    v->backend->bytes_in += (size_t)got;
    v->header_len += (size_t)got;
    if (v->header_len < STREAM_HEADER_SIZE) {
        return STEP_ON;
    }
    begin_op(v);
    if (v->stage == STAGE_HEADER) {
        faults_add(&v->backend->faults, "backend: no header of ours");
        visitor_close(v);
        return STEP_CLOSED;
    }
    return v->stage == STAGE_ECHO ? echo(v, v->header, STREAM_HEADER_SIZE) : STEP_ON;
}

static enum step step_held(struct visitor *v)
{
    ssize_t sent = link_write(&v->link, v->held + v->held_from, v->held_len - v->held_from);
    if (sent <= 0) {
        return wait_or_end(v, sent, EPOLLOUT);
    }
    v->backend->bytes_out += (size_t)sent;
    v->held_from += (size_t)sent;
    if (v->held_from == v->held_len) {
        mem_free(v->held);
        v->held = NULL;
        v->held_len = 0;
    }
    return STEP_ON;
}

/* After a piece that left nothing behind, the next event tells of more: no read for nothing. */
static enum step after_piece(struct visitor *v, size_t got)
{
    if (got >= TLS_RECORD || link_has_more(&v->link)) {
        return STEP_ON;
    }
    link_want(&v->link, EPOLLIN);
    return STEP_WAIT;
}

static enum step step_echo(struct visitor *v)
{
    if (v->held_len > 0) {
        return step_held(v);
    }
    struct backend *b = v->backend;
    ssize_t got = link_read(&v->link, b->piece, sizeof b->piece);
    if (got <= 0) {
        return wait_or_end(v, got, EPOLLIN);
    }
    b->bytes_in += (size_t)got;
    enum step next = echo(v, b->piece, (size_t)got);
    return next == STEP_ON && v->held_len == 0 ? after_piece(v, (size_t)got) : next;
}

static enum step step_up(struct visitor *v)
{
    struct backend *b = v->backend;
    uint64_t left = v->n - v->done;
    if (left == 0) {
        stream_answer_write(v->header, v->done, v->wrong);
        v->header_len = 0;
        v->stage = STAGE_ANSWER;
        return STEP_ON;
    }
    ssize_t got = link_read(&v->link, b->piece, left < sizeof b->piece ? left : sizeof b->piece);
    if (got <= 0) {
        return wait_or_end(v, got, EPOLLIN);
    }
    uint64_t wrong = stream_pattern_wrong(v->n, v->done, b->piece, (size_t)got);
    if (wrong > 0 && v->wrong == 0) {
        faults_add(&b->faults, "backend: wrong bytes in the %zd from byte %" PRIu64, got, v->done);
    }
    v->wrong += wrong;
    v->done += (size_t)got;
    b->bytes_in += (size_t)got;
    return v->done < v->n ? after_piece(v, (size_t)got) : STEP_ON;
}

static enum step step_answer(struct visitor *v)
{
    ssize_t sent =
        link_write(&v->link, v->header + v->header_len, STREAM_HEADER_SIZE - v->header_len);
    if (sent <= 0) {
        return wait_or_end(v, sent, EPOLLOUT);
    }
    v->backend->bytes_out += (size_t)sent;
    v->header_len += (size_t)sent;
    if (v->header_len == STREAM_HEADER_SIZE) {
        v->header_len = 0;
        v->stage = STAGE_HEADER;
    }
    return STEP_ON;
}

static enum step step_down(struct visitor *v)
{
    uint64_t left = v->n - v->done;
    if (left == 0) {
        v->stage = STAGE_HEADER;
        return STEP_ON;
    }
    size_t len = 0;
    const uint8_t *bytes = stream_pattern(v->n, v->done, &len);
    ssize_t sent = link_write(&v->link, bytes, left < len ? left : len);
    if (sent <= 0) {
        return wait_or_end(v, sent, EPOLLOUT);
    }
    v->done += (size_t)sent;
    v->backend->bytes_out += (size_t)sent;
    return STEP_ON;
}

static void on_visitor(struct watch *watch, uint32_t events)
{
    (void)events;
    static enum step (*const STEPS[])(struct visitor *) = {
        [STAGE_HANDSHAKE] = step_handshake, [STAGE_HEADER] = step_header,
        [STAGE_ECHO] = step_echo,           [STAGE_UP] = step_up,
        [STAGE_ANSWER] = step_answer,       [STAGE_DOWN] = step_down,
    };
    struct visitor *v = (struct visitor *)watch;
    for (int i = 0; i < STEPS_PER_TURN; i++) {
        if (STEPS[v->stage](v) != STEP_ON) {
            return;
        }
    }
    poller_yield(&v->backend->poller, watch);
}

static bool admit(struct backend *b)
{
    int fd = accept4(b->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE) {
            faults_add(&b->faults, "backend: accept with %" PRIu64 " open: %s: raise ulimit -Hn",
                       b->open, strerror(errno));
            b->is_full = true;
            poller_want(&b->poller, &b->listener, 0);
        }
        return false; /* all else passes: who went has said so itself */
    }
    struct visitor *v = mem_alloc(sizeof *v);
    v->backend = b;
    b->connections++;
    if (!link_attach(&v->link, &b->poller, fd, b->side, on_visitor, EPOLLIN)) {
        b->resets++;
        mem_free(v);
        return true;
    }
    b->open++;
    LIST_INSERT_HEAD(&b->visitors, v, entry);
    v->stage = b->side ? STAGE_HANDSHAKE : STAGE_HEADER;
    return true;
}

static void on_listener(struct watch *watch, uint32_t events)
{
    (void)events;
    struct backend *b = (struct backend *)watch;
    for (int i = 0; i < ACCEPTS_PER_TURN && admit(b); i++) {
    }
}

/* The bound address in a, or -1 with errno. */
static int listen_at(struct netaddr *a, const char *congestion)
{
    int on = 1;
    int fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof a->u.storage;
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        link_set_socket(fd, congestion) && bind(fd, &a->u.sa, a->len) == 0 &&
        listen(fd, BACKLOG) == 0 && getsockname(fd, &a->u.sa, &len) == 0) {
        return fd;
    }
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return -1;
}

static bool open_door(struct backend *b)
{
    char text[NETADDR_TEXT_SIZE];
    struct netaddr address = b->options->address;
    b->listener.on_event = on_listener;
    b->listener.fd = listen_at(&address, b->options->congestion);
    if (b->listener.fd < 0) {
        fprintf(stderr, "load: listen at %s: %s\n", netaddr_format(&address, text),
                strerror(errno));
        return false;
    }
    if (!poller_init(&b->poller) || !poller_watch_for_stop(&b->poller) ||
        !poller_add(&b->poller, &b->listener, EPOLLIN)) {
        fprintf(stderr, "load: epoll: %s\n", strerror(errno));
        return false;
    }
    printf("listening %s\n", netaddr_format(&address, text));
    fflush(stdout);
    return true;
}

static void report(const struct backend *b, uint64_t still_open)
{
    printf("{\"connections\": %" PRIu64 ", \"resumed\": %" PRIu64 ", \"bytes_in\": %" PRIu64
           ", \"bytes_out\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"wrong_identity\": %" PRIu64
           ", \"resets\": %" PRIu64 ", \"truncated\": %" PRIu64 ", \"aborted\": %" PRIu64
           ", \"still_open\": %" PRIu64 "}\n",
           b->connections, b->resumed, b->bytes_in, b->bytes_out, b->faults.errors,
           b->faults.wrong_identity, b->resets, b->truncated, b->aborted, still_open);
}

static void serve(struct backend *b)
{
    while (!b->poller.must_stop) {
        poller_turn(&b->poller, 0);
    }
    /* What has arrived before the wish to end is looked at, an end for one. */
    uint64_t last_ns = meter_now_ns() + DRAIN_NS;
    while (poller_turn(&b->poller, 1) && meter_now_ns() < last_ns) {
    }
    uint64_t still_open = b->open;
    while (!LIST_EMPTY(&b->visitors)) {
        visitor_close(LIST_FIRST(&b->visitors));
    }
    b->faults.wrong_identity = b->side ? b->side->wrong_identity : 0;
    report(b, still_open);
    poller_fini(&b->poller);
}

int backend_run(const struct options *o)
{
    struct backend *b = mem_alloc(sizeof *b);
    b->options = o;
    b->listener.fd = -1;
    LIST_INIT(&b->visitors);
    bool ok = (!o->tls || (b->side = tls_side_new(o)) != NULL) && open_door(b);
    if (ok) {
        serve(b);
        ok = b->faults.errors == 0;
    }
    if (b->listener.fd >= 0) {
        close(b->listener.fd);
    }
    tls_side_free(b->side);
    mem_free(b);
    return ok ? 0 : 1;
}
