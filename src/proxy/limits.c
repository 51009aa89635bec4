/*
 * Relaxed atomics suffice: each count is a bound, not a lock. Two workers that pass a check at the
 * same moment may exceed a bound by one connection each; the descriptors held in reserve cover it.
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
static bool reached(_Atomic uint64_t *count, uint64_t bound)
{
    return bound != 0 && get(count) >= bound;
}

/* Whether one more session would find its descriptors. */
static bool descriptors_left(struct limits *limits)
{
    uint64_t held =
        get(&limits->process.sessions) * DESCRIPTORS_PER_SESSION + get(&limits->lingering);
    return held + DESCRIPTORS_PER_SESSION <= limits->max_descriptors;
}

enum limits_verdict limits_check(struct limits *limits, const struct setup_listener *listener)
{
    const struct config_limits *all = &listener->setup->config->limits;
    const struct config_limits *own = &listener->config->limits;
    struct limits_counts *counts = &limits->listeners[listener->slot];
    if (get(&limits->process.sessions) >= get(&limits->max_sessions) || !descriptors_left(limits) ||
        reached(&counts->sessions, own->connections)) {
        return LIMITS_SESSIONS_FULL;
    }
    bool handshakes = listener->server != NULL;
    if (handshakes && (reached(&limits->process.handshakes, all->handshakes) ||
                       reached(&counts->handshakes, own->handshakes))) {
        return LIMITS_HANDSHAKES_FULL;
    }
    return LIMITS_OPEN;
}

void limits_session_begin(struct limits *limits, size_t slot)
{
    add(&limits->process.sessions, 1);
    add(&limits->listeners[slot].sessions, 1);
}

void limits_session_end(struct limits *limits, size_t slot)
{
    subtract(&limits->process.sessions, 1);
    subtract(&limits->listeners[slot].sessions, 1);
}

void limits_handshake_begin(struct limits *limits, size_t slot)
{
    add(&limits->process.handshakes, 1);
    add(&limits->listeners[slot].handshakes, 1);
}

void limits_handshake_end(struct limits *limits, size_t slot)
{
    subtract(&limits->process.handshakes, 1);
    subtract(&limits->listeners[slot].handshakes, 1);
}

bool limits_buffer(struct limits *limits, const struct setup_listener *listener, size_t bytes)
{
    uint64_t all = listener->setup->config->limits.buffered_bytes;
    uint64_t own = listener->config->limits.buffered_bytes;
    struct limits_counts *counts = &limits->listeners[listener->slot];
    if ((all != 0 && get(&limits->process.buffered_bytes) + bytes > all) ||
        (own != 0 && get(&counts->buffered_bytes) + bytes > own)) {
        return false;
    }
    add(&limits->process.buffered_bytes, bytes);
    add(&counts->buffered_bytes, bytes);
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
