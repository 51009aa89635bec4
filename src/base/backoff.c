/* Jitter need not be unpredictable, only different from host to host. */
#include "base/backoff.h"

#include <sys/random.h>

#include "base/clock.h"

void backoff_init(struct backoff *backoff, uint64_t least_ms, uint64_t most_ms)
{
    *backoff = (struct backoff){.least_ms = least_ms, .most_ms = most_ms};
    if (getrandom(&backoff->random, sizeof(backoff->random), GRND_NONBLOCK) !=
        sizeof(backoff->random)) {
        backoff->random = clock_mono_us();
    }
    backoff->random |= 1;
}

static uint64_t draw(struct backoff *backoff, uint64_t bound)
{
    backoff->random ^= backoff->random << 13;
    backoff->random ^= backoff->random >> 7;
    backoff->random ^= backoff->random << 17;
    return backoff->random % (bound + 1);
}

uint64_t backoff_next(struct backoff *backoff)
{
    uint64_t wait = backoff->next_ms;
    uint64_t doubled = wait > backoff->most_ms / 2 ? backoff->most_ms : wait * 2;
    backoff->next_ms = wait == 0 ? backoff->least_ms : doubled;
    return wait - draw(backoff, wait / 2);
}

void backoff_reset(struct backoff *backoff)
{
    backoff->next_ms = 0;
}
