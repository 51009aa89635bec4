/*
 * One heap of monotonic times and one timer, which looks at least once a second while there is
 * anything to wait for. The offset between the two clocks is compared at each look: when it has
 * jumped, all deadlines are worked out again from the wall clock's dates.
 */
#include "proxy/expiry.h"

#include <sys/random.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/loop.h"
#include "proxy/authority.h"
#include "proxy/session.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"
#include "spiffe/crl.h"
#include "spiffe/peer_chain.h"
#include "spiffe/x509_svid.h"
#include "tls/tls_conn.h"

enum {
    LOOK_AT_LEAST_MS = 1000,
    QUIET_MS = 250,
    QUIET_SHARE = 10,              /* a tenth of what is left */
    QUIET_MOST_MS = 5 * 60 * 1000, /* and at most this */
    CLOCK_JUMP_MS = 500,           /* less is adjustment */
    LOOKS_PER_TURN = 64            /* a clock that steps may end thousands at once */
};

struct expiry {
    struct loop *loop;
    struct timer *timer;
    struct deadline_heap heap;
    int64_t wall_offset_ms; /* wall - monotonic, when the deadlines were worked out */
    uint64_t random;
};

static int64_t wall_offset(void)
{
    return (int64_t)clock_wall_ms() - (int64_t)clock_mono_ms();
}

/* xorshift64: spreads load, decides nothing. */
static uint64_t draw(struct expiry *expiry, uint64_t bound)
{
    expiry->random ^= expiry->random << 13;
    expiry->random ^= expiry->random >> 7;
    expiry->random ^= expiry->random << 17;
    return bound == 0 ? 0 : expiry->random % bound;
}

static struct session *session_of(struct deadline *deadline)
{
    struct session *session =
        (struct session *)(void *)((char *)deadline - offsetof(struct session, expiry) -
                                   offsetof(struct expiry_entry, deadline));
    CHECK_MAGIC(session, SESSION_MAGIC);
    return session;
}

static void arm(struct expiry *expiry)
{
    const struct deadline *first = deadline_heap_first(&expiry->heap);
    if (first == NULL) {
        timer_cancel(expiry->timer);
        return;
    }
    uint64_t now = clock_mono_ms();
    uint64_t delay = first->due_ms > now ? first->due_ms - now : 0;
    timer_set(expiry->timer, delay < LOOK_AT_LEAST_MS ? delay : LOOK_AT_LEAST_MS);
}

struct end {
    uint64_t mono_ms; /* UINT64_MAX: none */
    enum reason cause;
};

static void earlier(struct end *end, uint64_t mono_ms, enum reason cause)
{
    if (mono_ms < end->mono_ms) {
        *end = (struct end){.mono_ms = mono_ms, .cause = cause};
    }
}

/* A date far off must not overflow, nor one before 1970. */
static uint64_t mono_of_wall_s(const struct expiry *expiry, int64_t wall_s)
{
    if (wall_s >= INT64_MAX / 1000 - INT64_C(1000000000000)) {
        return UINT64_MAX - 1;
    }
    int64_t mono = wall_s * 1000 - expiry->wall_offset_ms;
    return mono < 0 ? 0 : (uint64_t)mono;
}

/* By the wall clock of this moment, for whoever judges the rule then looks at that one. */
static uint64_t mono_of_rule_end(int64_t ends_s)
{
    int64_t now_ms = (int64_t)clock_wall_ms();
    int64_t left_ms = ends_s >= INT64_MAX / 1000 ? INT64_MAX / 2 : ends_s * 1000 - now_ms;
    return clock_mono_ms() + (left_ms > 0 ? (uint64_t)left_ms : 0);
}

static void peer_ends(struct expiry *expiry, const struct session *session,
                      const struct peer_info *peer, struct end *end)
{
    if (peer == NULL) {
        return;
    }
    if (session->listener->config->close_on_expiry) {
        earlier(end, mono_of_wall_s(expiry, peer_chain_not_after(peer->chain)),
                REASON_PEER_EXPIRED);
    }
    struct strview domain = peer_chain_id(peer->chain)->trust_domain;
    const struct credentials_domain *trust =
        credentials_find(session->snapshot->credentials, domain);
    if (trust != NULL && trust->crls != NULL &&
        setup_crl_expiry_cuts(session->snapshot->setup, domain)) {
        earlier(end, mono_of_wall_s(expiry, crl_set_next_update(trust->crls)), REASON_CRL_EXPIRED);
    }
}

static struct end end_of(struct expiry *expiry, const struct session *session)
{
    struct end end = {.mono_ms = UINT64_MAX, .cause = REASON_NONE};
    peer_ends(expiry, session, session_downstream_peer(session), &end);
    peer_ends(expiry, session, session_upstream_peer(session), &end);
    int64_t rule_ends_s = session->exchange.decision.until_s;
    if (session_downstream_peer(session) != NULL && rule_ends_s != POLICY_NEVER) {
        earlier(&end, mono_of_rule_end(rule_ends_s), REASON_RULE_EXPIRED);
    }
    uint64_t max_age = session->listener->config->max_age_ms;
    if (max_age != 0) {
        earlier(&end, session->started_ms + max_age, REASON_MAX_AGE);
    }
    if (session->listener->setup->config->own_expiry == CONFIG_OWN_EXPIRY_CLOSE) {
        const struct x509_svid *own = credentials_own(session->snapshot->credentials);
        if (own != NULL) {
            earlier(&end, mono_of_wall_s(expiry, x509_svid_not_after(own)), REASON_OWN_EXPIRED);
        }
    }
    return end;
}

/* Draws the quiet moment's beginning anew. A rule ends when it is written that it ends, and then
   another may take over: there is nothing to be early for. */
static void set_end(struct expiry *expiry, struct expiry_entry *entry, const struct end *end)
{
    uint64_t now = clock_mono_ms();
    uint64_t left = end->mono_ms > now ? end->mono_ms - now : 0;
    uint64_t window = left / QUIET_SHARE;
    window = window < QUIET_MOST_MS ? window : QUIET_MOST_MS;
    entry->end_ms = end->mono_ms;
    entry->cause = end->cause;
    entry->quiet_from_ms =
        end->mono_ms - (end->cause == REASON_RULE_EXPIRED ? 0 : draw(expiry, window + 1));
}

/* What has no end by time any more stays in the heap until its far-off moment. */
static void recompute(struct expiry *expiry)
{
    expiry->wall_offset_ms = wall_offset();
    for (size_t i = 0; i < expiry->heap.count; i++) {
        struct session *session = session_of(expiry->heap.items[i]);
        struct end end = end_of(expiry, session);
        set_end(expiry, &session->expiry, &end);
        session->expiry.deadline.due_ms = session->expiry.quiet_from_ms;
    }
    deadline_heap_restore(&expiry->heap);
}

static bool clock_has_jumped(const struct expiry *expiry)
{
    int64_t drift = wall_offset() - expiry->wall_offset_ms;
    return drift > CLOCK_JUMP_MS || drift < -CLOCK_JUMP_MS;
}

/* While nothing is waited for nobody looks, so a clock may have gone far since. */
static void follow_clock(struct expiry *expiry)
{
    if (clock_has_jumped(expiry)) {
        recompute(expiry);
        arm(expiry);
    }
}

enum reason expiry_schedule(struct expiry *expiry, struct session *session,
                            struct authority_verdict *lost)
{
    struct expiry_entry *entry = &session->expiry;
    lost->detail[0] = '\0';
    follow_clock(expiry);
    struct end end = end_of(expiry, session);
    if (end.cause == REASON_RULE_EXPIRED && end.mono_ms <= clock_mono_ms()) {
        enum reason reason = authority_judge_time(session, lost);
        if (reason != REASON_NONE) {
            return reason;
        }
        end = end_of(expiry, session);
    }
    if (end.mono_ms == UINT64_MAX) {
        expiry_forget(expiry, session);
        return REASON_NONE;
    }
    if (end.mono_ms <= clock_mono_ms()) {
        return end.cause;
    }
    if (entry->deadline.position != 0 && entry->end_ms == end.mono_ms &&
        entry->cause == end.cause) {
        return REASON_NONE; /* what was drawn stays */
    }
    set_end(expiry, entry, &end);
    if (!deadline_heap_set(&expiry->heap, &entry->deadline, entry->quiet_from_ms)) {
        return REASON_OUT_OF_MEMORY;
    }
    if (deadline_heap_first(&expiry->heap) == &entry->deadline) {
        arm(expiry);
    }
    return REASON_NONE;
}

/* When to look again; 0: end it now. */
static uint64_t next_look(const struct session *session, uint64_t now)
{
    const struct expiry_entry *entry = &session->expiry;
    if (now >= entry->end_ms) {
        return 0;
    }
    uint64_t look = entry->end_ms;
    if (session->exchange.state == EXCHANGE_RELAY) {
        uint64_t quiet_at = session->exchange.relay.last_progress_ms + QUIET_MS;
        if (now >= quiet_at) {
            return 0;
        }
        look = quiet_at < look ? quiet_at : look;
    }
    return look;
}

/* Another rule may take over; then the session goes on until that one ends. */
static void on_rule_end(struct expiry *expiry, struct session *session)
{
    struct authority_verdict lost;
    deadline_heap_remove(&expiry->heap, &session->expiry.deadline);
    enum reason reason = expiry_schedule(expiry, session, &lost);
    if (reason != REASON_NONE) {
        session_end(session, reason, lost.detail);
    }
}

static void look_at(struct expiry *expiry, struct session *session, uint64_t now)
{
    uint64_t next = next_look(session, now);
    if (next == 0 && session->expiry.cause == REASON_RULE_EXPIRED) {
        on_rule_end(expiry, session);
        return;
    }
    if (next == 0) {
        deadline_heap_remove(&expiry->heap, &session->expiry.deadline);
        session_end(session, session->expiry.cause, NULL);
        return;
    }
    bool kept = deadline_heap_set(&expiry->heap, &session->expiry.deadline, next);
    ASSERT(kept); /* it is in the heap: moving needs no memory */
}

static void on_timer(void *arg)
{
    struct expiry *expiry = arg;
    if (clock_has_jumped(expiry)) {
        recompute(expiry);
    }
    uint64_t now = clock_mono_ms();
    for (unsigned looks = 0; looks < LOOKS_PER_TURN; looks++) {
        struct deadline *first = deadline_heap_first(&expiry->heap);
        if (first == NULL || first->due_ms > now) {
            break;
        }
        look_at(expiry, session_of(first), now);
    }
    arm(expiry); /* at once, where some are left */
}

struct expiry *expiry_new(struct loop *loop)
{
    struct expiry *expiry = mem_try_alloc(sizeof(*expiry));
    if (expiry == NULL) {
        return NULL;
    }
    expiry->loop = loop;
    expiry->timer = timer_new(loop, on_timer, expiry);
    if (expiry->timer == NULL) {
        mem_free(expiry);
        return NULL;
    }
    deadline_heap_init(&expiry->heap);
    expiry->wall_offset_ms = wall_offset();
    if (getrandom(&expiry->random, sizeof(expiry->random), GRND_NONBLOCK) !=
            (ssize_t)sizeof(expiry->random) ||
        expiry->random == 0) {
        expiry->random = clock_mono_us() | 1; /* any seed spreads */
    }
    return expiry;
}

void expiry_free(struct expiry *expiry)
{
    if (expiry == NULL) {
        return;
    }
    ASSERT(expiry->heap.count == 0);
    deadline_heap_fini(&expiry->heap);
    timer_free(expiry->timer);
    mem_free(expiry);
}

void expiry_forget(struct expiry *expiry, struct session *session)
{
    deadline_heap_remove(&expiry->heap, &session->expiry.deadline);
}

uint64_t expiry_wall_ms(const struct session *session, enum reason *cause)
{
    const struct expiry_entry *entry = &session->expiry;
    *cause = entry->deadline.position == 0 ? REASON_NONE : entry->cause;
    if (entry->deadline.position == 0) {
        return 0;
    }
    if (entry->cause == REASON_RULE_EXPIRED && session->exchange.decision.until_s > 0) {
        return (uint64_t)session->exchange.decision.until_s * 1000; /* as it is written */
    }
    return (uint64_t)((int64_t)entry->end_ms + wall_offset());
}

void expiry_clock_set(struct expiry *expiry)
{
    timer_set(expiry->timer, 0);
}
