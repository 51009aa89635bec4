#include "load/meter.h"

#include <time.h>

#include "base/assert.h"

/* A class is an octave's 128th: the position of the highest bit, then the seven bits behind it. */
enum { NS_PER_S = 1000000000, STEP_BITS = 7, STEPS = 1 << STEP_BITS };

static uint64_t to_ns(struct timespec t)
{
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t meter_now_ns(void)
{
    struct timespec now;
    int failed = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(failed == 0);
    return to_ns(now);
}

bool meter_cpu_ns(int pid, uint64_t *ns)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return false;
    }
    *ns = to_ns(used);
    return true;
}

uint64_t meter_own_cpu_ns(void)
{
    struct timespec used;
    int failed = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    ASSERT(failed == 0);
    return to_ns(used);
}

static unsigned class_of(uint64_t ns)
{
    if (ns < STEPS) {
        return (unsigned)ns;
    }
    unsigned octave = 63 - (unsigned)__builtin_clzll(ns) - STEP_BITS;
    return (octave + 1) * STEPS + (unsigned)(ns >> octave) - STEPS;
}

static uint64_t class_end(unsigned number)
{
    if (number < STEPS) {
        return number;
    }
    unsigned octave = number / STEPS - 1;
    return ((uint64_t)(number % STEPS + STEPS + 1) << octave) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->total++;
    h->counts[class_of(ns)]++;
    if (ns > h->longest_ns) {
        h->longest_ns = ns;
    }
}

uint64_t histogram_ns_at(const struct histogram *h, double share)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < METER_CLASSES; i++) {
        below += h->counts[i];
        if (h->counts[i] > 0 && (double)below >= share * (double)h->total) {
            uint64_t end = class_end(i);
            return end < h->longest_ns ? end : h->longest_ns;
        }
    }
    return 0;
}

uint64_t histogram_count_to(const struct histogram *h, uint64_t ns)
{
    uint64_t count = 0;
    unsigned last = class_of(ns);
    for (unsigned i = 0; i <= last; i++) {
        count += h->counts[i];
    }
    return count;
}
