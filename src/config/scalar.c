/*
 * One reader of decimal digits serves all; what follows the digits is the unit. Moments have a
 * grammar of their own, RFC 3339's.
 */
#include "config/scalar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};
static const struct unit size_units[] = {
    {"", 1},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
};

enum { DURATION_UNITS = sizeof duration_units / sizeof duration_units[0] };
enum { SIZE_UNITS = sizeof size_units / sizeof size_units[0] };

/* Reads the digits at the start; *rest is what follows them. */
static bool read_digits(const char *text, uint64_t *value, const char **rest, const char **why)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0) {
        *why = "must start with a decimal digit";
        return false;
    }
    if (digits > 1 && text[0] == '0') {
        *why = "must be decimal, without a leading 0";
        return false;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < digits; i++) {
        if (__builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(text[i] - '0'), &sum)) {
            *why = "is too large";
            return false;
        }
    }
    *value = sum;
    *rest = text + digits;
    return true;
}

static bool apply_unit(const struct unit *units, size_t count, const char *name, uint64_t *value,
                       const char **why)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(units[i].name, name) == 0) {
            if (__builtin_mul_overflow(*value, units[i].factor, value)) {
                *why = "is too large";
                return false;
            }
            return true;
        }
    }
    return false;
}

bool scalar_parse_count(const char *text, uint64_t *value, const char **why)
{
    const char *rest = NULL;
    if (!read_digits(text, value, &rest, why)) {
        return false;
    }
    if (*rest != '\0') {
        *why = "must be a decimal number: digits only";
        return false;
    }
    return true;
}

bool scalar_parse_duration(const char *text, uint64_t *ms, const char **why)
{
    const char *rest = NULL;
    if (!read_digits(text, ms, &rest, why)) {
        return false;
    }
    *why = *rest == '\0' ? "must have a unit (ms, s, m, h or d), such as 10s"
                         : "must be a whole number and one unit of ms, s, m, h or d, such as 10s";
    return apply_unit(duration_units, DURATION_UNITS, rest, ms, why);
}

bool scalar_parse_size(const char *text, uint64_t *bytes, const char **why)
{
    const char *rest = NULL;
    if (!read_digits(text, bytes, &rest, why)) {
        return false;
    }
    *why = "must be a whole number of bytes or one with KiB, MiB or GiB, such as 64MiB";
    return apply_unit(size_units, SIZE_UNITS, rest, bytes, why);
}

bool scalar_parse_percent(const char *text, uint64_t *percent, const char **why)
{
    const char *rest = NULL;
    if (!read_digits(text, percent, &rest, why)) {
        return false;
    }
    *why = "must be a whole number with a percent sign, such as 30%";
    return strcmp(rest, "%") == 0;
}

/* So many digits, and nothing but digits. */
static bool take_digits(const char **text, size_t count, unsigned *value)
{
    unsigned sum = 0;
    for (size_t i = 0; i < count; i++) {
        char c = (*text)[i];
        if (c < '0' || c > '9') {
            return false;
        }
        sum = sum * 10 + (unsigned)(c - '0');
    }
    *text += count;
    *value = sum;
    return true;
}

static bool take_char(const char **text, char wanted)
{
    bool is_it = **text == wanted;
    *text += is_it;
    return is_it;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_date(const char **text, int64_t *day)
{
    unsigned year = 0;
    unsigned month = 0;
    unsigned in_month = 0;
    if (!take_digits(text, 4, &year) || !take_char(text, '-') || !take_digits(text, 2, &month) ||
        !take_char(text, '-') || !take_digits(text, 2, &in_month) || year < 1970 || month < 1 ||
        month > 12 || in_month < 1 || in_month > days_in_month(year, month)) {
        return false;
    }
    unsigned before = year - 1;
    unsigned days = before * 365 + before / 4 - before / 100 + before / 400;
    for (unsigned m = 1; m < month; m++) {
        days += days_in_month(year, m);
    }
    *day = (int64_t)days + in_month - 1 - 719162; /* days from 0001-01-01 to 1970-01-01 */
    return true;
}

/* ":SS" with an optional fraction, as tools write one for whole seconds too. The fraction is cut
   off: what ends may end less than a second early. */
static bool take_seconds(const char **text, unsigned *second)
{
    if (!take_char(text, ':')) {
        return true;
    }
    if (!take_digits(text, 2, second) || *second > 59) {
        return false;
    }
    if (!take_char(text, '.')) {
        return true;
    }
    size_t digits = strspn(*text, "0123456789");
    *text += digits;
    return digits > 0;
}

static bool take_time_of_day(const char **text, int64_t *seconds)
{
    unsigned hour = 0;
    unsigned minute = 0;
    unsigned second = 0;
    if (!take_digits(text, 2, &hour) || !take_char(text, ':') || !take_digits(text, 2, &minute) ||
        hour > 23 || minute > 59 || !take_seconds(text, &second)) {
        return false;
    }
    *seconds = (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
    return true;
}

/* Seconds east of UTC. */
static bool take_zone(const char **text, int64_t *offset)
{
    unsigned hour = 0;
    unsigned minute = 0;
    *offset = 0;
    if (take_char(text, 'Z') || take_char(text, 'z')) {
        return true;
    }
    bool west = **text == '-';
    if ((!take_char(text, '+') && !take_char(text, '-')) || !take_digits(text, 2, &hour) ||
        !take_char(text, ':') || !take_digits(text, 2, &minute) || hour > 23 || minute > 59) {
        return false;
    }
    *offset = ((int64_t)hour * 60 + minute) * (west ? -60 : 60);
    return true;
}

bool scalar_parse_time(const char *text, int64_t *seconds, const char **why)
{
    int64_t day = 0;
    int64_t in_day = 0;
    int64_t offset = 0;
    *why = "must be a date such as 2027-01-31, or a time with its zone such as "
           "2027-01-31T18:00:00Z";
    if (!take_date(&text, &day)) {
        return false;
    }
    if (*text != '\0') {
        if ((!take_char(&text, 'T') && !take_char(&text, 't') && !take_char(&text, ' ')) ||
            !take_time_of_day(&text, &in_day)) {
            return false;
        }
        if (*text == '\0') {
            *why = "lacks its time zone: write Z for UTC, or an offset such as +02:00, at the end";
            return false;
        }
        (void)take_char(&text, ' ');
        if (!take_zone(&text, &offset) || *text != '\0') {
            return false;
        }
    }
    *seconds = day * 86400 + in_day - offset;
    return true;
}

bool scalar_parse_mode(const char *text, uint32_t *mode, const char **why)
{
    *why = "must be octal permissions such as \"0660\"";
    const char *digits = text[0] == '0' && strlen(text) == 4 ? text + 1 : text;
    if (strlen(digits) != 3 || strspn(digits, "01234567") != 3) {
        return false;
    }
    uint32_t sum = 0;
    for (size_t i = 0; i < 3; i++) {
        sum = sum * 8 + (uint32_t)(digits[i] - '0');
    }
    *mode = sum;
    return true;
}

bool scalar_is_name(const char *text, size_t max)
{
    size_t len = strlen(text);
    return len > 0 && len <= max && strchr("._-", text[0]) == NULL &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static const char *format_with(const struct unit *units, size_t count, uint64_t value,
                               const char *zero, char out[SCALAR_TEXT_SIZE])
{
    if (value == 0) {
        (void)snprintf(out, SCALAR_TEXT_SIZE, "%s", zero);
        return out;
    }
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (value % units[i].factor == 0) {
            best = i;
        }
    }
    (void)snprintf(out, SCALAR_TEXT_SIZE, "%" PRIu64 "%s", value / units[best].factor,
                   units[best].name);
    return out;
}

const char *scalar_format_duration(uint64_t ms, char out[SCALAR_TEXT_SIZE])
{
    return format_with(duration_units, DURATION_UNITS, ms, "0s", out);
}

const char *scalar_format_size(uint64_t bytes, char out[SCALAR_TEXT_SIZE])
{
    return format_with(size_units, SIZE_UNITS, bytes, "0", out);
}
