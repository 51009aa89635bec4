/*
 * clock: clock_gettime, and dates made by arithmetic.
 *
 * gmtime_r is not used: it needs time zone data that a sandboxed process may not be able to read,
 * and X.509 has dates (RFC 5280 4.1.2.5: up to 99991231235959Z) that a table-free conversion
 * handles as well as any other. What is outside the years 0 to 9999 shows the nearest that is
 * inside.
 *
 * With BULKHEAD_TEST_CLOCK, which only the program for the integration tests is built with (never
 * the archive), the wall clock is ahead by the milliseconds that stand in shared memory: the test
 * that started it turns the clock, and the host's own stays as it is.
 */
#include "base/clock.h"

#include "base/assert.h"

#include <time.h>

#ifdef BULKHEAD_TEST_CLOCK
#include <stdlib.h>
#include <sys/mman.h>

static const _Atomic int64_t *test_offset_ms;

/* Before main, which closes inherited descriptors; the mapping stays. */
__attribute__((constructor)) static void map_test_offset(void)
{
    const char *fd = getenv("BULKHEAD_TEST_CLOCK_FD");
    if (fd != NULL) {
        void *memory = mmap(NULL, sizeof(*test_offset_ms), PROT_READ, MAP_SHARED, atoi(fd), 0);
        ASSERT(memory != MAP_FAILED);
        test_offset_ms = memory;
    }
}

static int64_t ahead_ms(void)
{
    return test_offset_ms == NULL ? 0 : *test_offset_ms;
}
#else
static int64_t ahead_ms(void)
{
    return 0;
}
#endif

static const int64_t first_second = -62167219200; /* 0000-01-01T00:00:00Z */
static const int64_t last_second = 253402300799;  /* 9999-12-31T23:59:59Z */
/* Days from 0000-03-01 to 1970-01-01. */
static const int64_t days_to_epoch = 719468;

static struct timespec now(clockid_t id)
{
    struct timespec ts;
    /* These clocks always exist; only a bad pointer or id can fail. */
    int failed = clock_gettime(id, &ts);
    ASSERT(failed == 0);
    return ts;
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

uint64_t clock_mono_us(void)
{
    struct timespec ts = now(CLOCK_MONOTONIC);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_wall_ms(void)
{
    struct timespec ts = now(CLOCK_REALTIME);
    return (uint64_t)((int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + ahead_ms());
}

int64_t clock_wall_s(void)
{
    return (int64_t)(clock_wall_ms() / 1000);
}

/* Writes `value` with `digits` digits and the character after it; returns what follows. */
static char *put(char *out, int64_t value, int digits, char after)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    out[digits] = after;
    return out + digits + 1;
}

/*
 * Years are counted from 1 March, so that the leap day comes last: then the months have the
 * lengths 31 30 31 30 31 | 31 30 31 30 31 | 31 (28|29), which is (153 * month + 2) / 5 days
 * before each. 146097 days are 400 years.
 */
static char *put_date(char *out, int64_t days_since_epoch)
{
    int64_t days = days_since_epoch + days_to_epoch;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int64_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);
    out = put(out, year, 4, '-');
    out = put(out, month, 2, '-');
    return put(out, day, 2, 'T');
}

/* Everything up to and with the seconds; returns where the end belongs. */
static char *put_seconds(char *out, int64_t wall_s)
{
    int64_t day = wall_s / 86400;
    int64_t second = wall_s % 86400;
    if (second < 0) {
        second += 86400;
        day--;
    }
    out = put_date(out, day);
    out = put(out, second / 3600, 2, ':');
    out = put(out, second / 60 % 60, 2, ':');
    return put(out, second % 60, 2, '\0') - 1;
}

static int64_t within_range(int64_t wall_s)
{
    if (wall_s < first_second) {
        return first_second;
    }
    return wall_s > last_second ? last_second : wall_s;
}

const char *clock_format_ms(uint64_t wall_ms, char out[CLOCK_TEXT_SIZE])
{
    uint64_t last_ms = (uint64_t)last_second * 1000 + 999;
    uint64_t shown = wall_ms < last_ms ? wall_ms : last_ms;
    char *end = put_seconds(out, (int64_t)(shown / 1000));
    *end++ = '.';
    end = put(end, (int64_t)(shown % 1000), 3, 'Z');
    *end = '\0';
    return out;
}

const char *clock_format_s(int64_t wall_s, char out[CLOCK_TEXT_SIZE])
{
    char *end = put_seconds(out, within_range(wall_s));
    *end++ = 'Z';
    *end = '\0';
    return out;
}
