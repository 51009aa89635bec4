/*
 * The copying. Each direction reads a bounded piece from its source and gives it to its
 * destination, which takes all; when the destination could not send everything, the source is
 * not read until it has (so at most one piece per direction waits in memory).
 *
 *     event                       OPEN                             DRAINING   SHUT
 *     source ends in order        the end is queued behind what    -          -
 *                                 waits: DRAINING, or SHUT
 *     destination has drained     the source is read again         SHUT       -
 *     source truncated or reset   the whole relay aborts: what was read goes out to the other
 *                                 side, then that side is reset (an abort that loses nothing)
 *     sending failed              CUT: what the destination still sends (an early answer, an
 *                                 alert that says why) is relayed to its end; then the relay
 *                                 aborts as above; but when it was the end alone that failed,
 *                                 and the destination has ended in order: SHUT
 *
 * With both directions SHUT it is done: REASON_CLOSED.
 *
 * An immediate reset would throw away what the kernel has accepted and the peer not yet read:
 * hence the wait until nothing is unacknowledged, for at most half_close.
 */
#include "proxy/relay.h"

#include <string.h>

#include "base/assert.h"

enum {
    READS_PER_TURN = 4,
    SMALL_READS_AFTER_BLOCK = 4,
    /* Nothing tells of a peer that leaves a conn that is not read, nor of bytes that leave the
       kernel before a third of its buffer is free. */
    LOOK_MS = 1000,
    /* Linux answers one probe in 500 ms at most (tcp_invalid_ratelimit), and the one after an
       unanswered one comes up to a second later. */
    VANISHED_LEAST_MS = 2000,
    LOOK_AT_FLUSH_FIRST_MS = 5, /* doubles from look to look */
    LOOK_AT_FLUSH_MAX_MS = 250
};

static enum relay_side other(enum relay_side side)
{
    return side == RELAY_DOWNSTREAM ? RELAY_UPSTREAM : RELAY_DOWNSTREAM;
}

static void give_back(struct relay *relay, struct relay_direction *direction)
{
    if (direction->counted != 0) {
        relay->owner->unbuffer(relay->owner_arg, direction->counted);
        direction->counted = 0;
    }
}

void relay_stop(struct relay *relay)
{
    if (!relay->running) {
        return;
    }
    relay->running = false;
    for (int side = 0; side < 2; side++) {
        if (relay->conns[side] != NULL) {
            conn_set_handler(relay->conns[side], NULL, NULL);
        }
        give_back(relay, &relay->directions[side]);
    }
}

static void finish(struct relay *relay, enum reason reason)
{
    relay_stop(relay);
    relay->owner->on_done(relay->owner_arg, reason);
}

/* The one look that finds a peer that acknowledges nothing: armed by the first byte of a while, not
   by each. */
static void expect_acks(struct relay *relay)
{
    if (!relay->acks_due && relay->settings.keepalive_ms != 0) {
        relay->acks_due = true;
        relay->owner->look_soon(relay->owner_arg, relay->settings.keepalive_ms / 4);
    }
}

/*
 * Whether the side's peer has vanished: what was waiting for an acknowledgement `keepalive` ago is
 * waiting still, and none of any kind has come. A live peer that does not read answers what the
 * kernel sends to probe it; between two probes, up to two minutes, nothing waits for it.
 */
static bool has_vanished(struct relay *relay, enum relay_side side, uint64_t now_ms)
{
    struct relay_silence *silence = &relay->silence[side];
    struct socket_acks acks;
    conn_acks(relay->conns[side], &acks);
    if (!acks.awaited) {
        silence->since_ms = 0;
        return false;
    }
    if (silence->since_ms == 0 || acks.acked_bytes != silence->acked_bytes) {
        *silence = (struct relay_silence){.since_ms = now_ms, .acked_bytes = acks.acked_bytes};
        return false;
    }
    uint64_t patience = relay->settings.keepalive_ms;
    patience = patience < VANISHED_LEAST_MS ? VANISHED_LEAST_MS : patience;
    return now_ms - silence->since_ms >= patience && acks.silent_ms >= patience;
}

static void note_progress(struct relay *relay, uint64_t now_ms)
{
    relay->last_progress_ms = now_ms;
    relay->measured = false;
}

/*
 * Bytes that reach a slow peer are progress as well, and only a look tells of them: less is
 * outstanding than at the last one. The first look after a byte was read has nothing to compare
 * with; it counts as progress where something is outstanding, so that a look's interval at most is
 * granted for nothing. True when something is outstanding.
 */
static bool measure(struct relay *relay, uint64_t now_ms)
{
    bool waiting = false;
    bool less = false;
    for (int side = 0; side < 2; side++) {
        size_t outstanding = conn_outstanding(relay->conns[side]);
        waiting = waiting || outstanding > 0;
        less = less || outstanding < relay->outstanding[side];
        relay->outstanding[side] = outstanding;
    }
    if (relay->measured ? less : waiting) {
        relay->last_progress_ms = now_ms;
    }
    relay->measured = true;
    return waiting;
}

/* The side whose stream broke is given up; the other gets all that was read, then a reset. */
static void abort_after_flush(struct relay *relay, enum relay_side broken, enum reason reason)
{
    enum relay_side receiver = other(broken);
    struct conn *conn = relay->conns[receiver];
    relay->abort_reason = reason;
    relay->abort_side = receiver;
    if (conn_is_flushed(conn) || conn_want_read(conn, false) != 0 ||
        conn_want_read(relay->conns[broken], false) != 0) {
        finish(relay, reason);
        return;
    }
    note_progress(relay, loop_now_ms(conn->loop));
    relay->flush_look_ms = LOOK_AT_FLUSH_FIRST_MS;
    relay->owner->look_soon(relay->owner_arg, relay->flush_look_ms);
}

static enum reason reset_reason(enum relay_side side)
{
    return side == RELAY_DOWNSTREAM ? REASON_DOWNSTREAM_RESET : REASON_UPSTREAM_RESET;
}

static enum reason vanished_reason(enum relay_side side)
{
    return side == RELAY_DOWNSTREAM ? REASON_DOWNSTREAM_VANISHED : REASON_UPSTREAM_VANISHED;
}

/* An mtls server that ends before its first byte has most often refused us: a TLS 1.3 client is
   done before the server has judged its certificate. */
static bool is_early_end(const struct relay *relay, enum relay_side side)
{
    return side == RELAY_UPSTREAM && relay->settings.upstream_is_tls &&
           relay->directions[RELAY_UPSTREAM].bytes == 0;
}

static enum reason end_reason(const struct relay *relay, enum relay_side side, enum conn_end end)
{
    bool early = is_early_end(relay, side);
    switch (end) {
    case CONN_END_ALERT:
        return early ? REASON_UPSTREAM_REFUSED_US : REASON_TLS_ALERT_RECEIVED;
    case CONN_END_TRUNCATED:
        if (early) {
            return REASON_UPSTREAM_CLOSED_EARLY;
        }
        return side == RELAY_DOWNSTREAM ? REASON_DOWNSTREAM_TRUNCATED : REASON_UPSTREAM_TRUNCATED;
    case CONN_END_PROTOCOL:
        return REASON_TLS_PROTOCOL;
    case CONN_END_NO_PROGRESS:
        return REASON_TLS_NO_PROGRESS;
    case CONN_END_NO_MEMORY:
        return REASON_OUT_OF_MEMORY;
    case CONN_END_RESET:
        return early ? REASON_UPSTREAM_CLOSED_EARLY : reset_reason(side);
    case CONN_END_VANISHED:
        return vanished_reason(side);
    case CONN_END_NONE:
    case CONN_END_CLEAN:
        break;
    }
    return REASON_INTERNAL;
}

static void look_in_time(struct relay *relay, uint64_t bound_ms)
{
    relay->owner->look_soon(relay->owner_arg, bound_ms < LOOK_MS ? bound_ms : LOOK_MS);
}

static void finish_if_both_shut(struct relay *relay)
{
    if (relay_ended_in_order(relay)) {
        finish(relay, relay->closed_early ? REASON_UPSTREAM_CLOSED_EARLY : REASON_CLOSED);
    }
}

/* Counts what waits for the source's destination into the bound on waiting bytes. */
static bool count_waiting(struct relay *relay, enum relay_side source)
{
    struct relay_direction *direction = &relay->directions[source];
    size_t waiting = conn_pending(relay->conns[other(source)]);
    give_back(relay, direction);
    if (!relay->owner->buffer(relay->owner_arg, waiting)) {
        finish(relay, REASON_LIMIT_BUFFERED);
        return false;
    }
    direction->counted = (uint32_t)waiting;
    return true;
}

/*
 * Sending to a side failed. What it had sent before that may wait to be read, an early answer or an
 * alert that says why: with the kernel's help nothing of it is lost (Linux keeps what was received
 * before a reset). The relay counts as half-closed until then.
 */
static void on_send_failed(struct relay *relay, enum relay_side broken, enum conn_end end)
{
    enum relay_side source = other(broken);
    bool is_dead = end == CONN_END_RESET || end == CONN_END_VANISHED;
    if (!is_dead || relay->directions[broken].flow != RELAY_OPEN) {
        abort_after_flush(relay, broken, end_reason(relay, broken, end));
        return;
    }
    struct relay_direction *direction = &relay->directions[source];
    direction->flow = RELAY_CUT;
    direction->paused = false;
    relay->cut_by = end;
    give_back(relay, direction);
    conn_stop_reading(relay->conns[source]);
    note_progress(relay, loop_now_ms(relay->conns[source]->loop));
    look_in_time(relay, relay->settings.half_close_ms);
}

/*
 * Whether the side's peer has ended in order and has all that was sent to it. Then it may have
 * closed altogether, as RFC 8446 6.1 lets it: our close_notify finds nobody and is answered by a
 * reset, but nothing is lost.
 */
static bool has_all(const struct relay *relay, enum relay_side side)
{
    const struct conn *conn = relay->conns[side];
    return relay->directions[side].flow == RELAY_SHUT && conn_is_flushed(conn) &&
           !conn_is_gone(conn);
}

/* The source has ended in order: so does its destination, behind what is pending. */
static void end_direction(struct relay *relay, enum relay_side source)
{
    enum relay_side destination = other(source);
    struct relay_direction *direction = &relay->directions[source];
    struct conn *to = relay->conns[destination];
    ASSERT(direction->flow == RELAY_OPEN);
    if (is_early_end(relay, source) && relay->directions[destination].flow == RELAY_OPEN) {
        relay->closed_early = true;
    }
    if (conn_want_read(relay->conns[source], false) != 0) {
        finish(relay, REASON_OUT_OF_MEMORY);
        return;
    }
    note_progress(relay, loop_now_ms(to->loop));
    look_in_time(relay, relay->settings.half_close_ms);
    bool lossless = has_all(relay, destination);
    enum conn_end end = conn_end_stream(to);
    expect_acks(relay);
    if (end != CONN_END_NONE && !lossless) {
        on_send_failed(relay, destination, end);
        return;
    }
    if (conn_is_blocked(to)) {
        direction->flow = RELAY_DRAINING;
        (void)count_waiting(relay, source);
        return;
    }
    direction->flow = RELAY_SHUT;
    finish_if_both_shut(relay);
}

static void on_source_end(struct relay *relay, enum relay_side source, enum conn_end end)
{
    if (relay->directions[other(source)].flow == RELAY_CUT) {
        /* The failure to send has taken the kernel's error: what follows looks like an end. */
        end = end == CONN_END_ALERT ? end : relay->cut_by;
    }
    if (end == CONN_END_CLEAN ||
        (end == CONN_END_TRUNCATED && relay->settings.tolerate_truncation)) {
        end_direction(relay, source);
        return;
    }
    abort_after_flush(relay, source, end_reason(relay, source, end));
}

/* The destination could not send all: wait for it, within the bound on waiting bytes. */
static void pause_direction(struct relay *relay, enum relay_side source)
{
    struct relay_direction *direction = &relay->directions[source];
    direction->paused = true;
    direction->small = SMALL_READS_AFTER_BLOCK;
    if (!count_waiting(relay, source)) {
        return;
    }
    if (conn_want_read(relay->conns[source], false) != 0) {
        finish(relay, REASON_OUT_OF_MEMORY);
        return;
    }
    look_in_time(relay, relay->settings.idle_ms);
}

/* Small pieces while the destination has lately been slow, smaller ones while memory is tight. */
static size_t read_size(struct relay *relay, struct relay_direction *direction)
{
    if (relay->owner->buffer_is_tight(relay->owner_arg)) {
        return RELAY_READ_TIGHT;
    }
    if (direction->small == 0) {
        return RELAY_READ_MAX;
    }
    direction->small--;
    return RELAY_READ_SMALL;
}

/* One piece. False: the relay has ended, paused, or there is nothing more now. */
static bool copy_piece(struct relay *relay, enum relay_side source)
{
    enum relay_side destination = other(source);
    struct relay_direction *direction = &relay->directions[source];
    struct conn_input input;
    conn_read(relay->conns[source], read_size(relay, direction), &input);
    if (input.len > 0) {
        direction->bytes += input.len;
        relay->owner->moved(relay->owner_arg, source, input.len);
        note_progress(relay, loop_now_ms(relay->conns[source]->loop));
        enum conn_end end = conn_write(relay->conns[destination], input.data, input.len);
        expect_acks(relay);
        if (end != CONN_END_NONE) {
            on_send_failed(relay, destination, end);
            return false;
        }
    }
    if (input.end != CONN_END_NONE) {
        on_source_end(relay, source, input.end);
        return false;
    }
    if (conn_is_blocked(relay->conns[destination])) {
        pause_direction(relay, source);
        return false;
    }
    return input.more;
}

static void on_readable(struct relay *relay, enum relay_side source)
{
    if (relay->abort_reason != REASON_NONE) {
        return;
    }
    for (int reads = 0; reads < READS_PER_TURN; reads++) {
        if (!copy_piece(relay, source)) {
            return;
        }
    }
}

static void on_drained(struct relay *relay, enum relay_side destination)
{
    enum relay_side source = other(destination);
    struct relay_direction *direction = &relay->directions[source];
    note_progress(relay, loop_now_ms(relay->conns[destination]->loop));
    give_back(relay, direction);
    if (relay->abort_reason != REASON_NONE) {
        return;
    }
    if (direction->flow == RELAY_DRAINING) {
        direction->flow = RELAY_SHUT;
        finish_if_both_shut(relay);
        return;
    }
    if (direction->paused) {
        direction->paused = false;
        if (direction->flow == RELAY_OPEN && conn_want_read(relay->conns[source], true) != 0) {
            finish(relay, REASON_OUT_OF_MEMORY);
        }
    }
}

static void on_write_failed(struct relay *relay, enum relay_side side, enum conn_end end)
{
    if (relay->abort_reason != REASON_NONE) {
        return; /* the next look finds it gone */
    }
    on_send_failed(relay, side, end);
}

static void on_downstream_readable(void *arg)
{
    on_readable(arg, RELAY_DOWNSTREAM);
}

static void on_downstream_drained(void *arg)
{
    on_drained(arg, RELAY_DOWNSTREAM);
}

static void on_downstream_write_failed(void *arg, enum conn_end end)
{
    on_write_failed(arg, RELAY_DOWNSTREAM, end);
}

static void on_upstream_readable(void *arg)
{
    on_readable(arg, RELAY_UPSTREAM);
}

static void on_upstream_drained(void *arg)
{
    on_drained(arg, RELAY_UPSTREAM);
}

static void on_upstream_write_failed(void *arg, enum conn_end end)
{
    on_write_failed(arg, RELAY_UPSTREAM, end);
}

static const struct conn_handler downstream_handler = {
    .on_readable = on_downstream_readable,
    .on_drained = on_downstream_drained,
    .on_write_failed = on_downstream_write_failed,
};

static const struct conn_handler upstream_handler = {
    .on_readable = on_upstream_readable,
    .on_drained = on_upstream_drained,
    .on_write_failed = on_upstream_write_failed,
};

void relay_start(struct relay *relay, struct conn *downstream, struct conn *upstream,
                 const struct relay_settings *settings, const struct relay_owner *owner, void *arg)
{
    ASSERT(downstream != upstream);
    *relay = (struct relay){
        .conns = {downstream, upstream},
        .settings = *settings,
        .owner = owner,
        .owner_arg = arg,
        .last_progress_ms = loop_now_ms(downstream->loop),
        .running = true,
    };
    conn_set_handler(downstream, &downstream_handler, relay);
    conn_set_handler(upstream, &upstream_handler, relay);
    if (conn_want_read(downstream, true) != 0 || conn_want_read(upstream, true) != 0) {
        finish(relay, REASON_OUT_OF_MEMORY);
    }
}

/* The next look at a flush, each after twice the time. */
static uint64_t next_flush_look(struct relay *relay)
{
    uint64_t delay = relay->flush_look_ms;
    relay->flush_look_ms =
        delay * 2 < LOOK_AT_FLUSH_MAX_MS ? (uint8_t)(delay * 2) : (uint8_t)LOOK_AT_FLUSH_MAX_MS;
    return delay;
}

static uint64_t tick_abort(struct relay *relay, uint64_t now_ms)
{
    struct conn *conn = relay->conns[relay->abort_side];
    (void)measure(relay, now_ms);
    if (conn_is_flushed(conn) || conn_is_gone(conn) ||
        now_ms - relay->last_progress_ms >= relay->settings.half_close_ms) {
        finish(relay, relay->abort_reason);
        return 0;
    }
    return next_flush_look(relay);
}

/*
 * A paused source is not watched: see whether its peer is still there. What a peer sent before it
 * left is delivered, however slow the reader: only a failure behind which nothing waits to be read
 * ends the relay here. The rest is read when the destination has drained, and its end with it;
 * until then the relay counts as half-closed. False: the relay has ended, or is flushing.
 */
static bool tick_paused(struct relay *relay, uint64_t now_ms)
{
    for (int i = 0; i < 2; i++) {
        enum relay_side side = (enum relay_side)i;
        struct relay_direction *direction = &relay->directions[side];
        struct conn *conn = relay->conns[side];
        if (!direction->paused || !conn_has_left(conn)) {
            continue;
        }
        enum conn_end failure = conn_is_gone(conn) ? conn_peek_failure(conn) : CONN_END_NONE;
        if (failure != CONN_END_NONE) {
            abort_after_flush(relay, side, end_reason(relay, side, failure));
            return false;
        }
        if (!direction->left) {
            direction->left = true;
            note_progress(relay, now_ms);
        }
    }
    return true;
}

static bool tick_acks(struct relay *relay, uint64_t now_ms)
{
    if (!relay->acks_due) {
        return true;
    }
    for (int i = 0; i < 2; i++) {
        enum relay_side side = (enum relay_side)i;
        if (has_vanished(relay, side, now_ms)) {
            abort_after_flush(relay, side, vanished_reason(side));
            return false;
        }
    }
    return true;
}

static bool is_half_closed(const struct relay *relay)
{
    const struct relay_direction *down = &relay->directions[RELAY_DOWNSTREAM];
    const struct relay_direction *up = &relay->directions[RELAY_UPSTREAM];
    return down->flow != RELAY_OPEN || up->flow != RELAY_OPEN || down->left || up->left;
}

static bool is_cut(const struct relay *relay, enum relay_side source)
{
    return relay->directions[source].flow == RELAY_CUT;
}

enum reason relay_broken_by(const struct relay *relay)
{
    bool cut = is_cut(relay, RELAY_DOWNSTREAM) || is_cut(relay, RELAY_UPSTREAM);
    if (relay->abort_reason == REASON_NONE && cut) {
        return end_reason(relay, relay_broken_side(relay), relay->cut_by);
    }
    return relay->abort_reason;
}

enum relay_side relay_broken_side(const struct relay *relay)
{
    if (relay->abort_reason == REASON_NONE) {
        return is_cut(relay, RELAY_DOWNSTREAM) ? RELAY_UPSTREAM : RELAY_DOWNSTREAM;
    }
    return other(relay->abort_side);
}

/* A broken stream whose last bytes nobody takes ended by its break. */
static enum reason timeout_reason(const struct relay *relay, bool half)
{
    enum reason broken = relay_broken_by(relay);
    if (broken != REASON_NONE) {
        return broken;
    }
    for (int side = 0; side < 2; side++) {
        if (relay->directions[side].left && conn_is_gone(relay->conns[side])) {
            return reset_reason((enum relay_side)side);
        }
    }
    return half ? REASON_HALF_CLOSE_TIMEOUT : REASON_IDLE_TIMEOUT;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_look(const struct relay *relay, uint64_t left, bool closing)
{
    if (relay->directions[0].paused || relay->directions[1].paused || closing) {
        left = least(left, LOOK_MS);
    }
    return relay->acks_due ? least(left, relay->settings.keepalive_ms / 4) : left;
}

uint64_t relay_tick(struct relay *relay, uint64_t now_ms)
{
    if (relay->abort_reason != REASON_NONE) {
        return tick_abort(relay, now_ms);
    }
    if (!tick_paused(relay, now_ms) || !tick_acks(relay, now_ms)) {
        return relay->running ? next_flush_look(relay) : 0;
    }
    bool half = is_half_closed(relay);
    bool waiting = measure(relay, now_ms);
    uint64_t bound = half ? relay->settings.half_close_ms : relay->settings.idle_ms;
    uint64_t quiet = now_ms - relay->last_progress_ms;
    if (quiet >= bound) {
        finish(relay, timeout_reason(relay, half));
        return 0;
    }
    relay->acks_due = relay->acks_due && waiting;
    return next_look(relay, bound - quiet, half && waiting);
}

bool relay_ended_in_order(const struct relay *relay)
{
    return relay->directions[RELAY_DOWNSTREAM].flow == RELAY_SHUT &&
           relay->directions[RELAY_UPSTREAM].flow == RELAY_SHUT;
}

uint64_t relay_bytes(const struct relay *relay, enum relay_side source)
{
    return relay->directions[source].bytes;
}
