/*
 * The second field of /proc/self/stat is the program's name in parentheses, which may hold
 * anything, blanks and parentheses too: fields are counted from behind the last one.
 */
#include "control/process_usage.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    STAT_SIZE = 2048,
    FIRST_BEHIND_NAME = 3,
    FIELD_THREADS = 20,
    FIELD_VIRTUAL = 23,
    FIELD_RESIDENT = 24
};

/* The number at *at, which goes behind it and a blank. Negative ones are none. */
static bool parse_number(const char *text, size_t len, size_t *at, uint64_t *out)
{
    size_t from = *at;
    *out = 0;
    while (*at < len && text[*at] >= '0' && text[*at] <= '9') {
        uint64_t digit = (uint64_t)(text[*at] - '0');
        if (*out > (UINT64_MAX - digit) / 10) {
            return false;
        }
        *out = *out * 10 + digit;
        (*at)++;
    }
    return *at > from;
}

static void skip_field(const char *text, size_t len, size_t *at)
{
    while (*at < len && text[*at] != ' ') {
        (*at)++;
    }
    *at += *at < len;
}

static bool find_field(const char *text, size_t len, int field, uint64_t *out)
{
    const char *name_end = memrchr(text, ')', len);
    if (name_end == NULL || (size_t)(name_end - text) + 2 > len) {
        return false;
    }
    size_t at = (size_t)(name_end - text) + 2;
    for (int i = FIRST_BEHIND_NAME; i < field; i++) {
        skip_field(text, len, &at);
    }
    return parse_number(text, len, &at, out);
}

bool process_usage_parse_stat(const char *text, size_t len, uint64_t page_size,
                              struct process_usage *usage)
{
    uint64_t pages = 0;
    if (!find_field(text, len, FIELD_THREADS, &usage->threads) ||
        !find_field(text, len, FIELD_VIRTUAL, &usage->virtual_bytes) ||
        !find_field(text, len, FIELD_RESIDENT, &pages) || pages > UINT64_MAX / page_size) {
        return false;
    }
    usage->resident_bytes = pages * page_size;
    return true;
}

static uint64_t us_of(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static bool read_stat(struct process_usage *usage)
{
    char text[STAT_SIZE];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, sizeof(text));
    (void)close(fd);
    return got > 0 &&
           process_usage_parse_stat(text, (size_t)got, (uint64_t)sysconf(_SC_PAGESIZE), usage);
}

void process_usage_read(struct process_usage *usage)
{
    struct rusage used;
    struct rlimit limit;
    *usage = (struct process_usage){.has_stat = false};
    if (getrusage(RUSAGE_SELF, &used) == 0) {
        usage->cpu_us = us_of(&used.ru_utime) + us_of(&used.ru_stime);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        usage->max_descriptors = limit.rlim_cur;
    }
    usage->has_stat = read_stat(usage);
}
