/*
 * exposition: metrics as text, in Prometheus' text format 0.0.4 or in OpenMetrics 1.0.0.
 *
 * Appends to a buffer that may be another one from call to call, so that a long exposition needs
 * none of its size. Families come in the order of exposition_family; one without a sample leaves
 * nothing. Pure; any thread.
 */
#ifndef BULKHEAD_TELEMETRY_EXPOSITION_H
#define BULKHEAD_TELEMETRY_EXPOSITION_H

#include "base/bytebuf.h"
#include "base/strview.h"
#include "telemetry/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum exposition_format { EXPOSITION_TEXT = 0, EXPOSITION_OPENMETRICS };
/* With version and charset. */
const char *exposition_content_type(enum exposition_format format);
/*
 * What a client that sends this Accept header (RFC 9110 12.5.1; may be empty) gets: OpenMetrics
 * where it names that in version 1.0.0 or in none and likes text/plain no better; else the text
 * format, which is never refused.
 */
enum exposition_format exposition_choose(struct strview accept);

struct exposition {
    enum exposition_format format;
    struct bytebuf *out;
    enum metric family;
    bool has_head; /* the family's HELP and TYPE stand */
    bool failed;   /* memory is out: what was appended is not whole */
};

struct metric_label {
    const char *name;
    struct strview value; /* UTF-8; escaped here */
};

/* The samples that follow are this family's. */
void exposition_family(struct exposition *exposition, enum metric family);
/* One sample. labels may be NULL with count 0. */
void exposition_u64(struct exposition *exposition, const struct metric_label *labels, size_t count,
                    uint64_t value);
void exposition_i64(struct exposition *exposition, const struct metric_label *labels, size_t count,
                    int64_t value);
/* Microseconds, written as seconds. */
void exposition_us(struct exposition *exposition, const struct metric_label *labels, size_t count,
                   uint64_t us);
/* A histogram family's samples out of its cells (see metrics.h). */
void exposition_histogram(struct exposition *exposition, const struct metric_label *labels,
                          size_t count, const uint64_t *cells);
/* The last line, where the format has one. */
void exposition_end(struct exposition *exposition);

#endif
