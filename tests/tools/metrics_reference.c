/*
 * metrics_reference: the reference of all metrics, from the table that the program counts by.
 *
 *     metrics_reference > config/METRICS.md
 */
#include <stdio.h>

#include "telemetry/metrics.h"

static void print_head(void)
{
    fputs(
        "# Metrics\n"
        "\n"
        "Made from the table by which the program counts (`include/telemetry/metrics.def`) by\n"
        "`make reference`; edit that.\n"
        "\n"
        "`GET /metrics` on the admin socket (`admin.listen`), or `bulkhead ctl metrics`: "
        "Prometheus' text\n"
        "format 0.0.4, or OpenMetrics 1.0.0 for a client whose Accept header asks for it.\n"
        "\n"
        "* Counters begin at zero when the process starts and never go down while it runs.\n"
        "* What is counted for a listener belongs to its name. After the listener is removed its "
        "counters are\n"
        "  still told, as far as they aren't zero, and go on when the name comes back. Of removed "
        "names the\n"
        "  1024 removed last are kept.\n"
        "* Every value of a label is known beforehand or stands in the configuration; peers' IDs, "
        "which come\n"
        "  from outside, are told by `metrics: {peers: N}` alone, and then of N peers at most.\n"
        "* `reason` and `cause` are the reasons of [REASONS.md](REASONS.md). Of each listener "
        "those are "
        "told that\n"
        "  occurred; a reason's first occurrence is no rise of a rate, so alert on the counters "
        "without it\n"
        "  (`bulkhead_handshakes_total{result=\"failed\"}`).\n"
        "* For each listener with mtls downstream: accepted = half-open + full + resumed + failed "
        "+ ended by\n"
        "  `closed_before_hello`; and for each listener: accepted = active + ended.\n"
        "\n"
        "| Name | Type | Labels | Meaning |\n"
        "|---|---|---|---|\n",
        stdout);
}

static void print_bounds(enum metric metric)
{
    size_t count = 0;
    const uint64_t *bounds = metric_bounds(metric, &count);
    if (bounds == NULL) {
        return;
    }
    printf("* `%s`:", metric_info(metric)->name);
    for (size_t i = 0; i < count; i++) {
        printf("%s %.10g", i > 0 ? "," : "", (double)bounds[i] / 1e6);
    }
    puts("");
}

int main(void)
{
    print_head();
    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metric_info((enum metric)i);
        printf("| `%s` | %s | %s | %s |\n", info->name, metric_type_name(info->type), info->labels,
               info->help);
    }
    puts("\nBounds of the histograms, in seconds:\n");
    for (int i = 0; i < METRIC_COUNT; i++) {
        print_bounds((enum metric)i);
    }
    return 0;
}
