/*
 * relay: copies bytes between two conns, both ways, until both have ended or one fails.
 *
 * Knows conns, bounds and ends; no TLS, no policy. Worker thread only.
 */
#ifndef BULKHEAD_PROXY_RELAY_H
#define BULKHEAD_PROXY_RELAY_H

#include "base/reason.h"
#include "net/conn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum relay_side { RELAY_DOWNSTREAM = 0, RELAY_UPSTREAM };

/* Each direction, named by its source: OPEN → DRAINING (the source has ended, the destination is
   still taking what is pending) → SHUT; or CUT (the destination takes no more; it is read to its
   end first). */
enum relay_flow { RELAY_OPEN = 0, RELAY_DRAINING, RELAY_SHUT, RELAY_CUT };

struct relay_direction {
    enum relay_flow flow;
    bool paused;      /* the destination is blocked: the source is not read */
    bool left;        /* seen while paused: the source's peer has closed or broken off */
    uint8_t small;    /* reads left to be small after a short write */
    uint32_t counted; /* bytes counted into the bound */
    uint64_t bytes;
};

struct relay_owner {
    /* The end, once. The relay has stopped; both conns are still open and the callee closes them:
       in order when relay_ended_in_order, else by a reset. The relay itself must live to the end of
       the loop's turn. */
    void (*on_done)(void *arg, enum reason reason);
    /* Counts bytes that wait in memory; false: over the bound. */
    bool (*buffer)(void *arg, size_t bytes);
    void (*unbuffer)(void *arg, size_t bytes);
    bool (*buffer_is_tight)(void *arg);
    /* relay_tick is wanted in delay_ms at the latest. */
    void (*look_soon)(void *arg, uint64_t delay_ms);
    /* Bytes were read from the source: once for each piece. */
    void (*moved)(void *arg, enum relay_side source, size_t bytes);
};

struct relay_settings {
    uint64_t idle_ms;
    uint64_t half_close_ms;
    uint64_t keepalive_ms; /* a peer that acknowledges nothing for so long has vanished; 0: never */
    bool tolerate_truncation;
    bool upstream_is_tls; /* an end before the first byte is a refusal */
};

/* What waits for an acknowledgement of one side's peer. */
struct relay_silence {
    uint64_t since_ms; /* a look found it waiting, and none has come since; 0: nothing waits */
    uint64_t acked_bytes;
};

struct relay {
    struct conn *conns[2];                /* by side; NULL once given up */
    struct relay_direction directions[2]; /* by source side */
    struct relay_settings settings;
    const struct relay_owner *owner;
    void *owner_arg;
    uint64_t last_progress_ms;
    size_t outstanding[2]; /* by side: what had not reached it at the last look */
    bool measured;         /* that look came after the last byte that was read */
    uint8_t flush_look_ms;
    bool acks_due; /* something was written since a look found nothing outstanding */
    struct relay_silence silence[2];
    enum conn_end cut_by;     /* why a destination takes no more (RELAY_CUT) */
    enum reason abort_reason; /* flushing one side before its reset */
    enum relay_side abort_side;
    bool closed_early; /* an mtls upstream ended in order before its first byte */
    bool running;
};

enum { RELAY_READ_MAX = 64 * 1024, RELAY_READ_SMALL = 16 * 1024, RELAY_READ_TIGHT = 4 * 1024 };

/* Starts copying. The conns stay the caller's to close after on_done. May call on_done at once. */
void relay_start(struct relay *relay, struct conn *downstream, struct conn *upstream,
                 const struct relay_settings *settings, const struct relay_owner *owner, void *arg);
/* Stops without on_done; the counted bytes are given back. Safe at any time. */
void relay_stop(struct relay *relay);
/*
 * Looks at time: idle, half_close, paused conns whose peer has gone, a flush that is done. Returns
 * the delay until the next look, 0 when on_done has run (the relay may be gone).
 */
uint64_t relay_tick(struct relay *relay, uint64_t now_ms);
/* Both directions ended and were delivered whole. */
bool relay_ended_in_order(const struct relay *relay);
/* Why a stream broke off, while what was read of it is still being flushed; else REASON_NONE. */
enum reason relay_broken_by(const struct relay *relay);
/* Whose: only where relay_broken_by gives a reason. */
enum relay_side relay_broken_side(const struct relay *relay);
uint64_t relay_bytes(const struct relay *relay, enum relay_side source);

#endif
