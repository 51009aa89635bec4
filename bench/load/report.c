#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "load/client.h"

enum { PER_DECADE = 10 };

/* A quotient, or null where there is nothing to divide by. */
static void print_ratio(const char *key, double of, double by)
{
    if (by > 0) {
        printf(", \"%s\": %.4f", key, of / by);
    } else {
        printf(", \"%s\": null", key);
    }
}

static double histogram_us(const struct histogram *h, double share)
{
    return (double)histogram_ns_at(h, share) / 1e3;
}

/* The classes' upper ends are 10^(k/10) µs. */
static void print_histogram(const struct histogram *h)
{
    uint64_t before = 0;
    const char *comma = "";
    printf("\"histogram\": [");
    for (int k = -PER_DECADE; before < h->total; k++) {
        double upper_us = pow(10, (double)k / PER_DECADE);
        uint64_t count = histogram_count_to(h, (uint64_t)(upper_us * 1e3));
        if (count > before) {
            printf("%s[%.1f, %" PRIu64 "]", comma, upper_us, count - before);
            comma = ", ";
        }
        before = count;
    }
    printf("]");
}

static void print_latency(const struct histogram *h)
{
    printf(", \"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, "
           "\"max\": %.1f, ",
           histogram_us(h, 0.5), histogram_us(h, 0.9), histogram_us(h, 0.99),
           histogram_us(h, 0.999), (double)h->longest_ns / 1e3);
    print_histogram(h);
    printf("}");
}

static void print_cpu(const struct client *c)
{
    const struct options *o = c->options;
    const struct tally *t = &c->tally;
    uint64_t total = 0;
    printf(", \"cpu_ns\": {");
    for (unsigned i = 0; i < o->pid_count; i++) {
        printf("%s\"%d\": %" PRIu64, i > 0 ? ", " : "", o->pids[i], t->cpu_ns[i]);
        total += t->cpu_ns[i];
    }
    printf("}, \"cpu_ns_total\": %" PRIu64, total);
    print_ratio("cpu_per_unit_ns", (double)total, o->pid_count > 0 ? (double)t->units : 0);
    if (work_is_bulk(o->work)) {
        print_ratio("cpu_per_byte_ns", (double)total, o->pid_count > 0 ? (double)t->bytes : 0);
    }
    printf(", \"own_cpu_ns\": %" PRIu64, t->own_cpu_ns);
}

void report_client(const struct client *c)
{
    const struct options *o = c->options;
    const struct tally *t = &c->tally;
    double seconds = t->end_ns > t->begin_ns ? (double)(t->end_ns - t->begin_ns) / 1e9 : 0;
    printf("{\"work\": \"%s\", \"tls\": \"%s\", \"cipher\": \"%s\", \"group\": \"%s\"",
           work_name(o->work), o->tls ? c->protocol : "none", c->cipher, c->group);
    printf(", \"connections\": %u, \"units\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"seconds\": %.6f",
           o->connections, t->units, t->bytes, seconds);
    print_ratio("units_per_s", (double)t->units, seconds);
    print_cpu(c);
    print_latency(&t->latency);
    printf(", \"errors\": %" PRIu64 ", \"not_resumed\": %" PRIu64 ", \"wrong_identity\": %" PRIu64
           ", \"late\": %" PRIu64 "}\n",
           c->faults.errors, t->not_resumed, c->faults.wrong_identity, t->late);
}
