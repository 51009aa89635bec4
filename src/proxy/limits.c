/*
 * Relaxed atomics suffice: each count is a bound, it orders nothing. A place is taken by comparing
 * and swapping, never by adding and taking back what was too much: a worker that finds no place
 * must not, for that moment, keep another from the one that has just become free.
 *
 * limits_reserve looks at all bounds before it takes the first place. So a full bound costs no
 * write to the memory that workers share, and only a race makes it give back what it has taken.
 */
#include "proxy/limits.h"

#include "base/assert.h"
#include "base/memory.h"
#include "proxy/setup.h"

enum { DESCRIPTOR_RESERVE = 32, DESCRIPTORS_PER_SESSION = 2 };

void limits_init(struct limits *limits)
{
    *limits = (struct limits){.listeners = NULL};
    limits->listeners = mem_alloc_array(SETUP_SLOTS, sizeof(*limits->listeners));
}

void limits_fini(struct limits *limits)
{
    mem_free(limits->listeners);
    limits->listeners = NULL;
}

uint64_t limits_descriptors(uint64_t descriptor_limit, uint64_t used)
{
    if (descriptor_limit < used + DESCRIPTOR_RESERVE) {
        return 0;
    }
    return descriptor_limit - used - DESCRIPTOR_RESERVE;
}

uint64_t limits_sessions_by_descriptors(uint64_t descriptor_limit, uint64_t used)
{
    return limits_descriptors(descriptor_limit, used) / DESCRIPTORS_PER_SESSION;
}

static uint64_t get(_Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

static void add(_Atomic uint64_t *count, uint64_t n)
{
    atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static void subtract(_Atomic uint64_t *count, uint64_t n)
{
    uint64_t before = atomic_fetch_sub_explicit(count, n, memory_order_relaxed);
    ASSERT(before >= n);
}

/* A configured bound of 0 is none. */
static uint64_t bound_of(uint64_t configured)
{
    return configured == 0 ? UINT64_MAX : configured;
}

static bool has_room(_Atomic uint64_t *count, uint64_t n, uint64_t bound)
{
    uint64_t now = get(count);
    return now <= bound && bound - now >= n;
}

static bool take(_Atomic uint64_t *count, uint64_t n, uint64_t bound)
{
    uint64_t now = get(count);
    while (now <= bound && bound - now >= n) {
        if (atomic_compare_exchange_weak_explicit(count, &now, now + n, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* One count, with what a connection takes of it. */
struct place {
    enum limits_bound name;
    _Atomic uint64_t *count;
    uint64_t n;
    uint64_t bound;
};
enum { PLACES_PLAINTEXT = 3, PLACES = 5 };

/*
 * Unfinished handshakes may have half of the places that the other sessions leave, whatever is
 * configured: for a session's place nobody gives way, so that clients who say nothing could keep
 * all of them.
 */
static uint64_t handshake_bound(struct limits_counts *counts, uint64_t max_sessions,
                                uint64_t configured)
{
    uint64_t handshakes = get(&counts->handshakes);
    uint64_t sessions = get(&counts->sessions);
    uint64_t others = sessions > handshakes ? sessions - handshakes : 0;
    uint64_t left = max_sessions > others ? max_sessions - others : 0;
    uint64_t half = left > 2 ? left / 2 : 1;
    return half < configured ? half : configured;
}

static uint64_t process_handshake_bound(struct limits *limits,
                                        const struct setup_listener *listener)
{
    return handshake_bound(&limits->process, get(&limits->max_sessions),
                           bound_of(listener->setup->config->limits.handshakes));
}

static uint64_t listener_handshake_bound(struct limits *limits,
                                         const struct setup_listener *listener)
{
    const struct config_limits *own = &listener->config->limits;
    uint64_t configured = bound_of(own->handshakes);
    return own->connections == 0
               ? configured
               : handshake_bound(&limits->listeners[listener->slot], own->connections, configured);
}

/* The places that a connection needs. A listener's own handshakes come before those of all: room
   that is made there is room in both. */
static size_t list_places(struct limits *limits, const struct setup_listener *listener,
                          struct place places[PLACES])
{
    const struct config_limits *own = &listener->config->limits;
    struct limits_counts *process = &limits->process;
    struct limits_counts *counts = &limits->listeners[listener->slot];
    places[0] = (struct place){LIMITS_DESCRIPTORS, &limits->descriptors, DESCRIPTORS_PER_SESSION,
                               get(&limits->max_descriptors)};
    places[1] =
        (struct place){LIMITS_CONNECTIONS, &process->sessions, 1, get(&limits->max_sessions)};
    places[2] = (struct place){LIMITS_LISTENER_CONNECTIONS, &counts->sessions, 1,
                               bound_of(own->connections)};
    places[3] = (struct place){LIMITS_LISTENER_HANDSHAKES, &counts->handshakes, 1,
                               listener_handshake_bound(limits, listener)};
    places[4] = (struct place){LIMITS_HANDSHAKES, &process->handshakes, 1,
                               process_handshake_bound(limits, listener)};
    return listener->server != NULL ? PLACES : PLACES_PLAINTEXT;
}

/* Where several are full, one of handshakes is said: there room can be made. */
static enum limits_bound find_full(const struct place *places, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        size_t i = count == PLACES ? (k + PLACES_PLAINTEXT) % PLACES : k;
        if (!has_room(places[i].count, places[i].n, places[i].bound)) {
            return places[i].name;
        }
    }
    return LIMITS_NONE;
}

static void give_back(const struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        subtract(places[i].count, places[i].n);
    }
}

enum limits_bound limits_check(struct limits *limits, const struct setup_listener *listener)
{
    struct place places[PLACES];
    return find_full(places, list_places(limits, listener, places));
}

enum limits_bound limits_reserve(struct limits *limits, const struct setup_listener *listener)
{
    struct place places[PLACES];
    size_t count = list_places(limits, listener, places);
    enum limits_bound full = find_full(places, count);
    for (size_t i = 0; full == LIMITS_NONE && i < count; i++) {
        if (!take(places[i].count, places[i].n, places[i].bound)) {
            give_back(places, i);
            full = places[i].name;
        }
    }
    return full;
}

void limits_cancel(struct limits *limits, const struct setup_listener *listener)
{
    struct place places[PLACES];
    give_back(places, list_places(limits, listener, places));
}

void limits_handshake_end(struct limits *limits, size_t slot)
{
    subtract(&limits->process.handshakes, 1);
    subtract(&limits->listeners[slot].handshakes, 1);
}

static _Atomic uint64_t *short_count(struct limits *limits, enum limits_bound bound, size_t slot)
{
    ASSERT(bound == LIMITS_HANDSHAKES || bound == LIMITS_LISTENER_HANDSHAKES);
    return bound == LIMITS_HANDSHAKES ? &limits->process.short_of_handshakes
                                      : &limits->listeners[slot].short_of_handshakes;
}

void limits_set_short(struct limits *limits, enum limits_bound bound, size_t slot, bool is_short)
{
    if (is_short) {
        add(short_count(limits, bound, slot), 1);
    } else {
        subtract(short_count(limits, bound, slot), 1);
    }
}

bool limits_is_short(struct limits *limits, enum limits_bound bound, size_t slot)
{
    return get(short_count(limits, bound, slot)) > 0;
}

uint64_t limits_handshake_bound(struct limits *limits, const struct setup_listener *listener,
                                enum limits_bound bound)
{
    ASSERT(bound == LIMITS_HANDSHAKES || bound == LIMITS_LISTENER_HANDSHAKES);
    return bound == LIMITS_HANDSHAKES ? process_handshake_bound(limits, listener)
                                      : listener_handshake_bound(limits, listener);
}

enum limits_bound limits_bound_behind(struct limits *limits, const struct setup_listener *listener,
                                      enum limits_bound bound)
{
    const struct config_limits *all = &listener->setup->config->limits;
    if (bound == LIMITS_LISTENER_HANDSHAKES && limits_handshake_bound(limits, listener, bound) <
                                                   bound_of(listener->config->limits.handshakes)) {
        return LIMITS_LISTENER_CONNECTIONS;
    }
    if (bound == LIMITS_HANDSHAKES &&
        limits_handshake_bound(limits, listener, bound) < bound_of(all->handshakes)) {
        return get(&limits->max_sessions) == all->connections ? LIMITS_CONNECTIONS
                                                              : LIMITS_DESCRIPTORS;
    }
    return bound;
}

void limits_session_end(struct limits *limits, size_t slot)
{
    subtract(&limits->process.sessions, 1);
    subtract(&limits->listeners[slot].sessions, 1);
    subtract(&limits->descriptors, DESCRIPTORS_PER_SESSION);
}

void limits_hold_descriptor(struct limits *limits)
{
    add(&limits->descriptors, 1);
}

void limits_drop_descriptor(struct limits *limits)
{
    subtract(&limits->descriptors, 1);
}

const char *limits_bound_name(enum limits_bound bound)
{
    switch (bound) {
    case LIMITS_NONE:
        break;
    case LIMITS_DESCRIPTORS:
        return "descriptors";
    case LIMITS_CONNECTIONS:
    case LIMITS_LISTENER_CONNECTIONS:
        return "connections";
    case LIMITS_HANDSHAKES:
    case LIMITS_LISTENER_HANDSHAKES:
        return "handshakes";
    }
    return "none";
}

bool limits_bound_is_of_listener(enum limits_bound bound)
{
    return bound == LIMITS_LISTENER_CONNECTIONS || bound == LIMITS_LISTENER_HANDSHAKES;
}

bool limits_buffer(struct limits *limits, const struct setup_listener *listener, size_t bytes)
{
    _Atomic uint64_t *all = &limits->process.buffered_bytes;
    _Atomic uint64_t *own = &limits->listeners[listener->slot].buffered_bytes;
    if (!take(all, bytes, bound_of(listener->setup->config->limits.buffered_bytes))) {
        return false;
    }
    if (!take(own, bytes, bound_of(listener->config->limits.buffered_bytes))) {
        subtract(all, bytes);
        return false;
    }
    return true;
}

void limits_unbuffer(struct limits *limits, size_t slot, size_t bytes)
{
    subtract(&limits->process.buffered_bytes, bytes);
    subtract(&limits->listeners[slot].buffered_bytes, bytes);
}

bool limits_buffer_is_tight(struct limits *limits, const struct setup_listener *listener)
{
    uint64_t all = listener->setup->config->limits.buffered_bytes;
    return all != 0 && get(&limits->process.buffered_bytes) > all / 2;
}
