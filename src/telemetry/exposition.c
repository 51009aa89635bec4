/*
 * The two formats differ in little: OpenMetrics names a counter's family without `_total`, escapes
 * quotes in HELP, writes the bounds of buckets as floats, and ends with "# EOF".
 */
#include "telemetry/exposition.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

enum { NUMBER_SIZE = 32, Q_ONE = 1000 };
#define TOTAL "_total"

/* ---- writing ---- */

static void put(struct exposition *e, const char *text, size_t len)
{
    e->failed = e->failed || !bytebuf_append(e->out, text, len);
}

static void put_text(struct exposition *e, const char *text)
{
    put(e, text, strlen(text));
}

/* Backslash and newline always, quotes where the text stands between some. */
static void put_escaped(struct exposition *e, struct strview text, bool quotes)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c != '\\' && c != '\n' && !(c == '"' && quotes)) {
            continue;
        }
        put(e, text.ptr + from, i - from);
        put(e, "\\", 1);
        put(e, c == '\n' ? "n" : &text.ptr[i], 1);
        from = i + 1;
    }
    put(e, text.ptr + from, text.len - from);
}

static void put_labels(struct exposition *e, const struct metric_label *labels, size_t count,
                       const char *le)
{
    if (count == 0 && le == NULL) {
        return;
    }
    put_text(e, "{");
    for (size_t i = 0; i < count; i++) {
        put_text(e, i > 0 ? "," : "");
        put_text(e, labels[i].name);
        put_text(e, "=\"");
        put_escaped(e, labels[i].value, true);
        put_text(e, "\"");
    }
    if (le != NULL) {
        put_text(e, count > 0 ? ",le=\"" : "le=\"");
        put_text(e, le);
        put_text(e, "\"");
    }
    put_text(e, "}");
}

/* Seconds without zeros at the end; at_least_one: "1.0" and not "1". */
static void format_us(uint64_t us, bool at_least_one, char out[NUMBER_SIZE])
{
    int len = snprintf(out, NUMBER_SIZE, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
    while (len > 0 && out[len - 1] == '0' && !(at_least_one && out[len - 2] == '.')) {
        len--;
    }
    len -= out[len - 1] == '.';
    out[len] = '\0';
}

static void put_head(struct exposition *e)
{
    const struct metric_info *info = metric_info(e->family);
    bool open = e->format == EXPOSITION_OPENMETRICS;
    size_t len = strlen(info->name);
    if (open && info->type == METRIC_TYPE_COUNTER) {
        len -= sizeof(TOTAL) - 1;
    }
    put_text(e, "# HELP ");
    put(e, info->name, len);
    put_text(e, " ");
    put_escaped(e, strview_from(info->help), open);
    put_text(e, "\n# TYPE ");
    put(e, info->name, len);
    put_text(e, " ");
    put_text(e, metric_type_name(info->type));
    put_text(e, "\n");
    e->has_head = true;
}

static void put_sample(struct exposition *e, const char *suffix, const struct metric_label *labels,
                       size_t count, const char *le, const char *number)
{
    if (!e->has_head) {
        put_head(e);
    }
    put_text(e, metric_info(e->family)->name);
    put_text(e, suffix);
    put_labels(e, labels, count, le);
    put_text(e, " ");
    put_text(e, number);
    put_text(e, "\n");
}

void exposition_family(struct exposition *e, enum metric family)
{
    e->family = family;
    e->has_head = false;
}

void exposition_u64(struct exposition *e, const struct metric_label *labels, size_t count,
                    uint64_t value)
{
    char number[NUMBER_SIZE];
    (void)snprintf(number, sizeof(number), "%" PRIu64, value);
    put_sample(e, "", labels, count, NULL, number);
}

void exposition_i64(struct exposition *e, const struct metric_label *labels, size_t count,
                    int64_t value)
{
    char number[NUMBER_SIZE];
    (void)snprintf(number, sizeof(number), "%" PRId64, value);
    put_sample(e, "", labels, count, NULL, number);
}

void exposition_us(struct exposition *e, const struct metric_label *labels, size_t count,
                   uint64_t us)
{
    char number[NUMBER_SIZE];
    format_us(us, false, number);
    put_sample(e, "", labels, count, NULL, number);
}

void exposition_histogram(struct exposition *e, const struct metric_label *labels, size_t count,
                          const uint64_t *cells)
{
    char number[NUMBER_SIZE];
    char le[NUMBER_SIZE];
    size_t bound_count = 0;
    const uint64_t *bounds = metric_bounds(e->family, &bound_count);
    uint64_t sum = 0;
    ASSERT(bounds != NULL);
    for (size_t i = 0; i <= bound_count; i++) {
        sum += cells[i];
        (void)snprintf(number, sizeof(number), "%" PRIu64, sum);
        if (i < bound_count) {
            format_us(bounds[i], e->format == EXPOSITION_OPENMETRICS, le);
        }
        put_sample(e, "_bucket", labels, count, i < bound_count ? le : "+Inf", number);
    }
    format_us(cells[bound_count + 1], false, number);
    put_sample(e, "_sum", labels, count, NULL, number);
    (void)snprintf(number, sizeof(number), "%" PRIu64, sum);
    put_sample(e, "_count", labels, count, NULL, number);
}

void exposition_end(struct exposition *e)
{
    if (e->format == EXPOSITION_OPENMETRICS) {
        put_text(e, "# EOF\n");
    }
}

/* ---- choosing ---- */

const char *exposition_content_type(enum exposition_format format)
{
    return format == EXPOSITION_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

static struct strview trim(struct strview text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/* What stands before the separator, trimmed; *rest is what stands behind it. False: nothing left.
 */
static bool next_part(struct strview *rest, char separator, struct strview *part)
{
    if (rest->ptr == NULL) {
        return false;
    }
    const char *end = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
    *part = trim((struct strview){rest->ptr, len});
    *rest =
        end != NULL ? (struct strview){end + 1, rest->len - len - 1} : (struct strview){NULL, 0};
    return true;
}

/* In thousandths; RFC 9110 12.4.2. What is none counts as "not wanted". */
static unsigned parse_q(struct strview text)
{
    unsigned q = 0;
    unsigned weight = Q_ONE;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_point = i == 1 && c == '.';
        if (i > 4 || (!is_point && (c < '0' || c > '9')) || (i == 1 && !is_point)) {
            return 0;
        }
        if (!is_point) {
            q += weight * (unsigned)(c - '0');
            weight /= 10;
        }
    }
    return q <= Q_ONE ? q : 0;
}

/* One range of the header: "text/plain;version=0.0.4;q=0.5". */
struct range {
    struct strview type;
    struct strview version; /* empty: none given */
    unsigned q;
};

static struct range parse_range(struct strview text)
{
    struct range range = {.q = Q_ONE};
    struct strview rest = text;
    struct strview part;
    (void)next_part(&rest, ';', &range.type);
    while (next_part(&rest, ';', &part)) {
        struct strview name;
        struct strview value = part;
        (void)next_part(&value, '=', &name);
        value = trim(value);
        if (strview_equal_no_case(name, "q")) {
            range.q = parse_q(value);
        } else if (strview_equal_no_case(name, "version")) {
            range.version = value;
        }
    }
    return range;
}

static bool is_version(const struct range *range, const char *version)
{
    return range->version.len == 0 || strview_equal_text(range->version, version);
}

static unsigned most(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

enum exposition_format exposition_choose(struct strview accept)
{
    struct strview rest = accept;
    struct strview part;
    unsigned open = 0;
    unsigned text = 0;
    while (next_part(&rest, ',', &part)) {
        struct range range = parse_range(part);
        if (strview_equal_no_case(range.type, "application/openmetrics-text") &&
            is_version(&range, "1.0.0")) {
            open = most(open, range.q);
        } else if (strview_equal_no_case(range.type, "text/plain") && is_version(&range, "0.0.4")) {
            text = most(text, range.q);
        }
    }
    return open > 0 && open >= text ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
}
