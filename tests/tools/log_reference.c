/*
 * log_reference: the references of both logs and of the reasons, from the tables that the program
 * writes them by.
 *
 *     log_reference logs > config/LOGS.md
 *     log_reference reasons > config/REASONS.md
 */
#include <stdio.h>
#include <string.h>

#include "base/reason.h"
#include "telemetry/access_log.h"

static const struct {
    const char *event;
    const char *level;
    const char *meaning;
} events[] = {
#define LOG_EVENT(event, level, meaning) {(event), (level), (meaning)},
#include "telemetry/log_events.def"
#undef LOG_EVENT
};

static void print_fields(bool in_tls)
{
    printf("| Field | Type | There | Meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < ACCESS_FIELD_COUNT; i++) {
        const struct access_field_info *field = access_field_info((enum access_field)i);
        if (field->in_tls == in_tls) {
            printf("| `%s` | %s | %s | %s |\n", field->key, field->type, field->when,
                   field->meaning);
        }
    }
}

static void print_access_log(void)
{
    fputs(
        "# The logs\n"
        "\n"
        "Made from the tables by which the program writes (`include/telemetry/*.def`) by\n"
        "`make reference`; edit those. [REASONS.md](REASONS.md) has the values of `reason`.\n"
        "\n"
        "## The access log\n"
        "\n"
        "One JSON object on one line for each session that was let through, when it ends, and "
        "for\n"
        "each refusal (`access_log: {to: stdout | none | PATH}`). A field that is not known is "
        "left\n"
        "out. Every byte that a peer sent is escaped; a line is at most 8 KiB. Connections that\n"
        "close before their first byte (probes) are counted and not logged.\n"
        "\n"
        "`access_log.events` chooses the lines: `deny` and `close` unless it says otherwise; with\n"
        "`open` a session that was let through has a line when its server stands, too. Of equal\n"
        "refusals the first has its line at once, and those that follow are told in one line each\n"
        "`access_log.fold` (10s), with their number: `repeats`. It tells of refusals alone, and "
        "no\n"
        "more than 256 kinds at one time and worker; the rest is told by its reason.\n"
        "\n",
        stdout);
    print_fields(false);
    fputs("\n`tls` and `upstream_tls` have\n\n", stdout);
    print_fields(true);
}

static void print_process_log(void)
{
    fputs("\n"
          "## The process log\n"
          "\n"
          "On stderr, `log: {level: …, format: text | json}`. Every line has `time`, `level` and\n"
          "`event`; its other fields are named below. Plain text comes only before the "
          "configuration\n"
          "could be read, and from a failed assertion, which ends the process.\n"
          "\n"
          "| Event | Level | Meaning, and fields |\n|---|---|---|\n",
          stdout);
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        printf("| `%s` | %s | %s |\n", events[i].event, events[i].level, events[i].meaning);
    }
}

static void print_reasons_of(enum fault fault)
{
    printf("\n## `%s`: %s\n\n| Reason | Meaning | What to do |\n|---|---|---|\n", fault_name(fault),
           fault_sentence(fault));
    for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
        enum reason reason = (enum reason)i;
        if (reason_fault(reason) == fault) {
            printf("| `%s` | %s | %s |\n", reason_label(reason), reason_sentence(reason),
                   reason_advice(reason));
        }
    }
}

static void print_reasons(void)
{
    fputs(
        "# Reasons: what each means, and what to do\n"
        "\n"
        "Made from the tables in `include/base/reason*.def` by `make reference`; edit those.\n"
        "\n"
        "Each refusal and each end of a session has exactly one: `reason` in the access log, and "
        "the label\n"
        "`reason` or `cause` of the metrics. The line's `detail` has the particulars: the nearest "
        "rule, the clause\n"
        "that a certificate breaks, the alert, the kernel's error. `bulkhead reasons NAME` says "
        "the same as this page.\n"
        "\n"
        "The other side learns little, on purpose: a TLS alert where its certificate was refused, "
        "a reset where a rule\n"
        "refused it or the session lost its authority. They are sorted by whose fault it is, "
        "`fault` in\n"
        "`bulkhead reasons --json`.\n",
        stdout);
    for (int i = FAULT_NONE; i <= FAULT_AUTHORITY; i++) {
        print_reasons_of((enum fault)i);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "reasons") == 0) {
        print_reasons();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "logs") == 0) {
        print_access_log();
        print_process_log();
        return 0;
    }
    fprintf(stderr, "usage: log_reference logs|reasons\n");
    return 2;
}
