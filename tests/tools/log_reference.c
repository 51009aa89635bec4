/*
 * log_reference: the reference of both logs, from the tables that the program writes them by.
 *
 *     log_reference > config/LOGS.md
 */
#include <stdio.h>

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
        "Made from the tables by which the program writes (`include/telemetry/*.def`,\n"
        "`include/base/reason*.def`) by `make reference`; edit those.\n"
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

static void print_reasons(void)
{
    fputs("\n"
          "## Reasons\n"
          "\n"
          "The values of `reason`; `bulkhead reasons NAME` says the same. Whose fault:\n"
          "\n",
          stdout);
    for (int i = FAULT_NONE; i <= FAULT_AUTHORITY; i++) {
        printf("* `%s`: %s\n", fault_name((enum fault)i), fault_sentence((enum fault)i));
    }
    fputs("\n| Reason | Fault | Meaning | What to do |\n|---|---|---|---|\n", stdout);
    for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
        enum reason reason = (enum reason)i;
        printf("| `%s` | %s | %s | %s |\n", reason_label(reason), fault_name(reason_fault(reason)),
               reason_sentence(reason), reason_advice(reason));
    }
}

int main(void)
{
    print_access_log();
    print_process_log();
    print_reasons();
    return 0;
}
