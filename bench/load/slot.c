#include "load/client.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STEPS_PER_TURN = 16, TLS_RECORD = 16384 };

static void slot_fail(struct slot *slot, const char *doing)
{
    struct client *c = slot->client;
    faults_add(&c->faults, "client: connection %td: %s: %s", slot - c->slots, doing, link_why());
    enum slot_state state = slot->state;
    link_close(&slot->link);
    client_slot_failed(c, slot, state);
}

__attribute__((format(printf, 2, 3))) static void slot_mismatch(struct slot *slot,
                                                                const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct client *c = slot->client;
    faults_add(&c->faults, "client: connection %td: %s", slot - c->slots, text);
    enum slot_state state = slot->state;
    link_close(&slot->link);
    client_slot_failed(c, slot, state);
}

/* --- exchanges: bytes that must come back --- */

static void exchange_set(struct slot *slot, const uint8_t *message, size_t len)
{
    slot->message = message;
    slot->message_len = len;
    slot->sent = slot->received = 0;
}

/* False: failed. */
static bool exchange_send(struct slot *slot)
{
    while (slot->sent < slot->message_len) {
        ssize_t sent =
            link_write(&slot->link, slot->message + slot->sent, slot->message_len - slot->sent);
        if (sent == LINK_WAIT) {
            link_want(&slot->link, EPOLLIN | EPOLLOUT);
            return true;
        }
        if (sent < 0) {
            slot_fail(slot, "send");
            return false;
        }
        slot->sent += (size_t)sent;
    }
    link_want(&slot->link, EPOLLIN);
    return true;
}

/* True: all is back as it was sent. False: wait, or failed. */
static bool exchange_receive(struct slot *slot)
{
    uint8_t *piece = slot->client->piece;
    while (slot->received < slot->message_len) {
        ssize_t got = link_read(&slot->link, piece, slot->message_len - slot->received);
        if (got == LINK_WAIT) {
            return false;
        }
        if (got <= 0) {
            slot_fail(slot, "receive");
            return false;
        }
        if (slot->received + (size_t)got > slot->sent ||
            memcmp(piece, slot->message + slot->received, (size_t)got) != 0) {
            slot_mismatch(slot, "what came back is not what was sent (byte %zu to %zu of %zu)",
                          slot->received, slot->received + (size_t)got, slot->message_len);
            return false;
        }
        slot->received += (size_t)got;
    }
    return true;
}

static bool exchange_go_on(struct slot *slot)
{
    if (slot->sent < slot->message_len && !exchange_send(slot)) {
        return false;
    }
    return exchange_receive(slot);
}

/* --- a connection's beginning --- */

static void note_session(struct slot *slot)
{
    struct client *c = slot->client;
    SSL *ssl = slot->link.ssl;
    slot->fell_back = c->options->work == WORK_RESUMED && !SSL_session_reused(ssl);
    if (c->protocol[0] == '\0') {
        const char *group = SSL_group_to_name(ssl, (int)SSL_get_negotiated_group(ssl));
        snprintf(c->protocol, sizeof c->protocol, "%s", SSL_get_version(ssl));
        snprintf(c->cipher, sizeof c->cipher, "%s", SSL_get_cipher_name(ssl));
        snprintf(c->group, sizeof c->group, "%s", group ? group : "");
    }
}

static void slot_greet(struct slot *slot)
{
    slot->state = SLOT_GREET;
    stream_header_write(slot->header, STREAM_OP_ECHO, 0);
    exchange_set(slot, slot->header, sizeof slot->header);
    (void)exchange_send(slot);
}

static void slot_handshake(struct slot *slot)
{
    slot->state = SLOT_HANDSHAKE;
    int outcome = link_handshake(&slot->link);
    if (outcome == LINK_WAIT) {
        return;
    }
    if (outcome != 1) {
        slot_fail(slot, "handshake");
        return;
    }
    if (slot->link.ssl) {
        note_session(slot);
    }
    if (work_is_bulk(slot->client->options->work)) {
        link_want(&slot->link, EPOLLIN);
        client_opened(slot->client, slot);
    } else {
        slot_greet(slot);
    }
}

static void slot_connected(struct slot *slot)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(slot->link.watch.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        slot_mismatch(slot, "connect: %s", strerror(error));
        return;
    }
    slot_handshake(slot);
}

static void slot_greeted(struct slot *slot)
{
    struct client *c = slot->client;
    bool keeps = work_keeps(c->options->work);
    if (!keeps) {
        link_close(&slot->link);
    }
    if (keeps || c->phase == PHASE_OPENING) {
        client_opened(c, slot);
    } else {
        client_unit_done(c, slot);
    }
}

/* --- transfers --- */

enum progress { PROGRESS_ON, PROGRESS_WAIT };

static uint64_t left_of(const struct slot *slot)
{
    return slot->client->options->size - slot->done;
}

static void slot_await_answer(struct slot *slot)
{
    slot->state = SLOT_ANSWER;
    slot->received = 0;
    link_want(&slot->link, EPOLLIN);
}

static enum progress step_up(struct slot *slot)
{
    uint64_t seed = slot->client->options->size;
    size_t len = 0;
    const uint8_t *bytes;
    if (slot->sent < sizeof slot->header) {
        bytes = slot->header + slot->sent;
        len = sizeof slot->header - slot->sent;
    } else {
        bytes = stream_pattern(seed, slot->done, &len);
        len = len < left_of(slot) ? len : (size_t)left_of(slot);
    }
    ssize_t sent = link_write(&slot->link, bytes, len);
    if (sent == LINK_WAIT) {
        link_want(&slot->link, EPOLLOUT);
        return PROGRESS_WAIT;
    }
    if (sent < 0) {
        slot_fail(slot, "send");
        return PROGRESS_WAIT;
    }
    if (slot->sent < sizeof slot->header) {
        slot->sent += (size_t)sent;
        return PROGRESS_ON;
    }
    slot->done += (size_t)sent;
    client_moved(slot->client, (uint64_t)sent);
    if (left_of(slot) == 0) {
        slot_await_answer(slot);
        return PROGRESS_WAIT;
    }
    return PROGRESS_ON;
}

static enum progress step_answer(struct slot *slot)
{
    ssize_t got =
        link_read(&slot->link, slot->header + slot->received, sizeof slot->header - slot->received);
    if (got == LINK_WAIT) {
        return PROGRESS_WAIT;
    }
    if (got <= 0) {
        slot_fail(slot, "receive the answer");
        return PROGRESS_WAIT;
    }
    slot->received += (size_t)got;
    if (slot->received < sizeof slot->header) {
        return PROGRESS_ON;
    }
    uint64_t seen = 0;
    uint64_t wrong = 0;
    stream_answer_read(slot->header, &seen, &wrong);
    if (seen != slot->client->options->size || wrong != 0) {
        slot_mismatch(slot,
                      "of %" PRIu64 " bytes sent, %" PRIu64 " arrived, %" PRIu64 " of them wrong",
                      slot->client->options->size, seen, wrong);
    } else {
        client_unit_done(slot->client, slot);
    }
    return PROGRESS_WAIT;
}

static enum progress step_down_header(struct slot *slot)
{
    ssize_t sent =
        link_write(&slot->link, slot->header + slot->sent, sizeof slot->header - slot->sent);
    if (sent == LINK_WAIT) {
        link_want(&slot->link, EPOLLOUT);
        return PROGRESS_WAIT;
    }
    if (sent < 0) {
        slot_fail(slot, "send");
        return PROGRESS_WAIT;
    }
    slot->sent += (size_t)sent;
    if (slot->sent < sizeof slot->header) {
        return PROGRESS_ON;
    }
    link_want(&slot->link, EPOLLIN);
    return PROGRESS_WAIT;
}

static enum progress step_down(struct slot *slot)
{
    if (slot->sent < sizeof slot->header) {
        return step_down_header(slot);
    }
    struct client *c = slot->client;
    uint64_t left = left_of(slot);
    size_t size = left < sizeof c->piece ? (size_t)left : sizeof c->piece;
    ssize_t got = link_read(&slot->link, c->piece, size);
    if (got == LINK_WAIT) {
        return PROGRESS_WAIT;
    }
    if (got <= 0) {
        slot_fail(slot, "receive");
        return PROGRESS_WAIT;
    }
    if (stream_pattern_wrong(c->options->size, slot->done, c->piece, (size_t)got) > 0) {
        slot_mismatch(slot, "wrong bytes in the %zd from byte %" PRIu64, got, slot->done);
        return PROGRESS_WAIT;
    }
    slot->done += (size_t)got;
    client_moved(c, (uint64_t)got);
    if (left_of(slot) == 0) {
        client_unit_done(c, slot);
        return PROGRESS_WAIT;
    }
    return (size_t)got >= TLS_RECORD || link_has_more(&slot->link) ? PROGRESS_ON : PROGRESS_WAIT;
}

static void slot_transfer(struct slot *slot, enum progress (*step)(struct slot *))
{
    for (int i = 0; i < STEPS_PER_TURN; i++) {
        if (step(slot) == PROGRESS_WAIT) {
            return;
        }
    }
    poller_yield(slot->link.poller, &slot->link.watch);
}

/* --- events --- */

/* Nothing is due on a parked connection but tickets. */
static void parked_event(struct slot *slot)
{
    ssize_t got = link_read(&slot->link, slot->client->piece, sizeof slot->client->piece);
    if (got > 0) {
        slot_mismatch(slot, "%zd bytes that nobody asked for", got);
    } else if (got != LINK_WAIT) {
        slot_fail(slot, "wait");
    }
}

static void on_slot(struct watch *watch, uint32_t events)
{
    (void)events;
    struct slot *slot = (struct slot *)watch;
    switch (slot->state) {
    case SLOT_CONNECT:
        slot_connected(slot);
        break;
    case SLOT_HANDSHAKE:
        slot_handshake(slot);
        break;
    case SLOT_GREET:
        if (exchange_go_on(slot)) {
            slot_greeted(slot);
        }
        break;
    case SLOT_EXCHANGE:
        if (exchange_go_on(slot)) {
            client_unit_done(slot->client, slot);
        }
        break;
    case SLOT_UP:
        slot_transfer(slot, step_up);
        break;
    case SLOT_ANSWER:
        slot_transfer(slot, step_answer);
        break;
    case SLOT_DOWN:
        slot_transfer(slot, step_down);
        break;
    case SLOT_PARKED:
        parked_event(slot);
        break;
    case SLOT_DEAD:
        break;
    }
}

/* --- a slot's life --- */

void slot_init(struct slot *slot, struct client *c)
{
    slot->client = c;
    slot->link.watch.fd = -1;
    slot->state = SLOT_PARKED;
}

void slot_fini(struct slot *slot)
{
    link_close(&slot->link);
    SSL_SESSION_free(slot->session);
}

/* From 127.0.0.1, .2, … in turn, to a target in 127.0.0.0/8: each has its own 28,000 ports. */
static bool bind_source(int fd, const struct options *o, uint64_t number)
{
    if (o->address.u.sa.sa_family != AF_INET || !netaddr_is_loopback(&o->address)) {
        return true;
    }
    int on = 1;
    struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number % o->sources)),
    };
    return setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0 &&
           bind(fd, (const struct sockaddr *)&source, sizeof source) == 0;
}

static int connected_socket(struct client *c)
{
    const struct options *o = c->options;
    int fd = socket(o->address.u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (link_set_socket(fd, o->congestion) && bind_source(fd, o, c->begun) &&
        (connect(fd, &o->address.u.sa, o->address.len) == 0 || errno == EINPROGRESS)) {
        return fd;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

void slot_open(struct slot *slot)
{
    struct client *c = slot->client;
    slot->state = SLOT_CONNECT;
    slot->began_ns = meter_now_ns();
    int fd = connected_socket(c);
    if (fd < 0) {
        slot_mismatch(slot, "connect: %s", strerror(errno));
        return;
    }
    if (!link_attach(&slot->link, &c->poller, fd, c->side, on_slot, EPOLLOUT)) {
        slot_fail(slot, "connect");
        return;
    }
    if (slot->link.ssl) {
        SSL_set_app_data(slot->link.ssl, slot);
        if (slot->session && SSL_set_session(slot->link.ssl, slot->session) != 1) {
            ERR_clear_error(); /* not resumed then, and counted as that */
        }
    }
}

void slot_begin(struct slot *slot)
{
    struct client *c = slot->client;
    const struct options *o = c->options;
    if (!work_keeps(o->work)) {
        slot_open(slot);
        return;
    }
    slot->began_ns = meter_now_ns();
    slot->done = slot->sent = slot->received = 0;
    switch (o->work) {
    case WORK_UP:
        slot->state = SLOT_UP;
        stream_header_write(slot->header, STREAM_OP_UP, o->size);
        slot_transfer(slot, step_up);
        break;
    case WORK_DOWN:
        slot->state = SLOT_DOWN;
        stream_header_write(slot->header, STREAM_OP_DOWN, o->size);
        slot_transfer(slot, step_down);
        break;
    case WORK_NONE:
    case WORK_FULL:
    case WORK_RESUMED:
    case WORK_ROUND_TRIP:
    case WORK_IDLE:
        slot->state = SLOT_EXCHANGE;
        exchange_set(slot, stream_message(c->exchanges++),
                     o->work == WORK_IDLE ? STREAM_HEADER_SIZE : (size_t)o->size);
        (void)exchange_send(slot);
        break;
    }
}

/* Takes the session over. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct slot *slot = SSL_get_app_data(ssl);
    SSL_SESSION_free(slot->session);
    slot->session = session;
    return 1;
}

void slot_keep_sessions(SSL_CTX *ctx)
{
    SSL_CTX_sess_set_new_cb(ctx, on_session);
}
