/*
 * Text: the decision first, then what decided, then what came near. JSON: one object with the
 * same, by the words of the access log (reason, why, detail).
 */
#include "cli/explain_print.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "policy/explain.h"

enum { FIRST_JSON_SIZE = 64 * 1024, LAST_JSON_SIZE = 256 * 1024 * 1024 };

bool explain_is_allowed(const struct explain_report *report)
{
    return (!report->caller.asked || report->caller.decision.verdict == VERDICT_ALLOW) &&
           (!report->server.asked || report->server.decision.verdict == VERDICT_ALLOW);
}

static const char *verdict_name(enum verdict verdict)
{
    return verdict == VERDICT_ALLOW ? "allow" : "deny";
}

static const char *action_name(enum config_action action)
{
    return action == CONFIG_ACTION_DENY ? "deny" : "allow";
}

static const char *mode_name(enum config_mode mode)
{
    switch (mode) {
    case CONFIG_MODE_ENFORCE:
        return "enforce";
    case CONFIG_MODE_SHADOW:
        return "shadow";
    case CONFIG_MODE_DISABLED:
        return "disabled";
    }
    return "";
}

static const char *file_of(const struct explain_report *report, const struct policy_rule *rule)
{
    const struct diag_list *diags = report->diags;
    return rule->pos.file < diags->file_count ? diags->files[rule->pos.file] : "";
}

static const struct config_rule *config_of(const struct explain_report *report,
                                           const struct policy_rule *rule)
{
    return &report->config->rules[policy_rule_index(report->policy, rule)];
}

static const char *listener_name(const struct explain_report *report,
                                 const struct explain_answer *answer)
{
    return report->config->listeners[answer->input.listener].name.text;
}

/* Did it come near without deciding? What matches in shadow has a place of its own. */
static bool is_near(const struct explain_answer *answer, const struct finding *finding)
{
    bool in_shadow = finding->failed == CLAUSE_NONE && finding->rule->mode == CONFIG_MODE_SHADOW;
    return finding->rule != answer->decision.rule && !in_shadow;
}

/* --- text ------------------------------------------------------------------------------------ */

static void print_place(const struct explain_report *report, const struct policy_rule *rule)
{
    printf("%s%s\"%s\" (%s:%u)", rule->mode == CONFIG_MODE_ENFORCE ? "" : mode_name(rule->mode),
           rule->mode == CONFIG_MODE_ENFORCE ? "" : " ", rule->name, file_of(report, rule),
           rule->pos.line);
}

static void print_rule(const struct explain_report *report, const struct policy_rule *rule)
{
    char when[CLOCK_TEXT_SIZE];
    const struct config_rule *config = config_of(report, rule);
    printf("  rule: %s ", action_name(rule->action));
    print_place(report, rule);
    if (config->owner.text != NULL) {
        printf(", owner %s", config->owner.text);
    }
    if (rule->ends_s != POLICY_NEVER) {
        printf(", ends at %s", clock_format_s(rule->ends_s, when));
    }
    putchar('\n');
    if (config->note.text != NULL) {
        printf("  note: %s\n", config->note.text);
    }
}

static void print_shadow(const struct explain_report *report)
{
    const struct shadow_result *shadow = &report->caller.decision.shadow;
    const struct policy_rule *const rules[] = {shadow->allow, shadow->deny};
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i] != NULL) {
            printf("  shadow: \"%s\" (%s:%u) would %s it\n", rules[i]->name,
                   file_of(report, rules[i]), rules[i]->pos.line, action_name(rules[i]->action));
        }
    }
    if (shadow->allow != NULL || shadow->deny != NULL) {
        printf("  with the shadow rules enforced: %s\n", verdict_name(shadow->verdict));
    }
}

static void print_near(const struct explain_report *report)
{
    size_t shown = 0;
    size_t left_out = 0;
    for (size_t i = 0; i < report->findings.count; i++) {
        const struct finding *finding = &report->findings.items[i];
        char text[EXPLAIN_DETAIL_SIZE];
        if (!is_near(&report->caller, finding)) {
            continue;
        }
        if (shown == EXPLAIN_NEAR_SHOWN) {
            left_out++;
            continue;
        }
        if (shown++ == 0) {
            puts("  rules that came near:");
        }
        explain_finding(report->policy, &report->caller.input, &report->caller.decision, finding,
                        text, sizeof(text));
        printf("    %s ", action_name(finding->rule->action));
        print_place(report, finding->rule);
        printf(": %s%s%s\n", clause_name(finding->failed),
               finding->failed == CLAUSE_NONE ? "" : ": ", text);
    }
    if (left_out > 0) {
        printf("    and %zu more\n", left_out);
    }
}

static void print_answer(const struct explain_report *report, const struct explain_answer *answer,
                         const char *arrow)
{
    const struct decision *decision = &answer->decision;
    printf("%s: %s %s %s\n", verdict_name(decision->verdict), answer->id, arrow,
           listener_name(report, answer));
    printf("  %s\n", answer->detail);
    if (decision->would_deny) {
        puts("  audit: only `enforcement: audit` lets it through; enforced, it is denied");
    }
    if (!answer->known_domain) {
        puts("  no peer has this ID: `trust` has no bundle for its trust domain");
    }
}

void explain_print_text(const struct explain_report *report)
{
    if (report->caller.asked) {
        print_answer(report, &report->caller, "to");
        if (report->caller.decision.rule != NULL) {
            print_rule(report, report->caller.decision.rule);
        }
        print_shadow(report);
        print_near(report);
    }
    if (report->server.asked) {
        print_answer(report, &report->server, "as the server of");
    }
    if (!report->quarantine_known) {
        puts("  the quarantine file could not be read, or not all of it: it may hold them");
    }
}

/* --- JSON ------------------------------------------------------------------------------------ */

static void write_time(struct json_writer *w, const char *key, int64_t when_s)
{
    char text[CLOCK_TEXT_SIZE];
    json_field_string(w, key, when_s == POLICY_NEVER ? NULL : clock_format_s(when_s, text));
}

static void write_rule_fields(struct json_writer *w, const struct explain_report *report,
                              const struct policy_rule *rule)
{
    const struct config_rule *config = config_of(report, rule);
    json_field_string(w, "name", rule->name);
    json_field_string(w, "action", action_name(rule->action));
    json_field_string(w, "mode", mode_name(rule->mode));
    json_field_string(w, "file", file_of(report, rule));
    json_field_u64(w, "line", rule->pos.line);
    json_field_u64(w, "column", rule->pos.column);
    json_field_string(w, "owner", config->owner.text);
    json_field_string(w, "note", config->note.text);
    write_time(w, "expires", rule->ends_s);
}

static void write_rule(struct json_writer *w, const char *key, const struct explain_report *report,
                       const struct policy_rule *rule)
{
    json_key(w, key);
    if (rule == NULL) {
        json_none(w);
        return;
    }
    json_object_begin(w);
    write_rule_fields(w, report, rule);
    json_object_end(w);
}

static void write_decision(struct json_writer *w, const struct explain_answer *answer)
{
    const struct decision *decision = &answer->decision;
    bool denied = decision->verdict == VERDICT_DENY;
    json_field_string(w, "decision", verdict_name(decision->verdict));
    json_field_string(w, "reason", denied ? reason_label(decision->reason) : NULL);
    json_field_string(w, "why", denied ? reason_sentence(decision->reason) : NULL);
    json_field_string(w, "detail", answer->detail);
    json_field_string(w, "quarantine", decision->quarantine);
    json_field_bool(w, "trust_domain_known", answer->known_domain);
}

static void write_shadow(struct json_writer *w, const struct explain_report *report)
{
    const struct shadow_result *shadow = &report->caller.decision.shadow;
    json_key(w, "shadow");
    if (shadow->allow == NULL && shadow->deny == NULL) {
        json_none(w);
        return;
    }
    json_object_begin(w);
    json_field_string(w, "decision", verdict_name(shadow->verdict));
    write_rule(w, "rule", report, shadow->rule);
    write_rule(w, "allow", report, shadow->allow);
    write_rule(w, "deny", report, shadow->deny);
    json_object_end(w);
}

static void write_near(struct json_writer *w, const struct explain_report *report)
{
    uint64_t written = 0;
    uint64_t left_out = 0;
    json_key(w, "near");
    json_array_begin(w);
    for (size_t i = 0; i < report->findings.count; i++) {
        const struct finding *finding = &report->findings.items[i];
        char text[EXPLAIN_DETAIL_SIZE];
        if (!is_near(&report->caller, finding)) {
            continue;
        }
        if (written == EXPLAIN_NEAR_MAX) {
            left_out++;
            continue;
        }
        written++;
        explain_finding(report->policy, &report->caller.input, &report->caller.decision, finding,
                        text, sizeof(text));
        json_object_begin(w);
        json_field_string(w, "clause",
                          finding->failed == CLAUSE_NONE ? NULL : clause_name(finding->failed));
        json_field_string(w, "detail", text);
        json_field_string(w, "entry", finding->entry);
        write_rule_fields(w, report, finding->rule);
        json_object_end(w);
    }
    json_array_end(w);
    json_field_u64(w, "near_left_out", left_out);
}

static void write_caller(struct json_writer *w, const struct explain_report *report)
{
    const struct explain_answer *caller = &report->caller;
    json_field_string(w, "from", caller->id);
    write_decision(w, caller);
    json_field_bool(w, "would_deny", caller->decision.would_deny);
    write_time(w, "until", caller->decision.until_s);
    write_rule(w, "rule", report, caller->decision.rule);
    write_shadow(w, report);
    write_near(w, report);
}

static void write_server(struct json_writer *w, const struct explain_answer *server)
{
    json_key(w, "server");
    if (!server->asked) {
        json_none(w);
        return;
    }
    json_object_begin(w);
    json_field_string(w, "id", server->id);
    write_decision(w, server);
    json_object_end(w);
}

static size_t write_report(const struct explain_report *report, char *buf, size_t size)
{
    const struct explain_answer *first = report->caller.asked ? &report->caller : &report->server;
    struct json_writer w;
    json_writer_init(&w, buf, size);
    json_object_begin(&w);
    json_field_string(&w, "file", report->file);
    json_field_string(&w, "to", listener_name(report, first));
    write_time(&w, "at", first->input.now_s);
    json_field_bool(&w, "allowed", explain_is_allowed(report));
    json_field_bool(&w, "quarantine_known", report->quarantine_known);
    if (report->caller.asked) {
        write_caller(&w, report);
    }
    write_server(&w, &report->server);
    json_object_end(&w);
    return json_writer_finish(&w);
}

/* The writer allocates nothing, so the buffer is made larger until the text fits. */
bool explain_print_json(const struct explain_report *report)
{
    for (size_t size = FIRST_JSON_SIZE; size <= LAST_JSON_SIZE; size *= 2) {
        char *buf = mem_alloc(size);
        size_t len = write_report(report, buf, size);
        if (len > 0) {
            puts(buf);
        }
        mem_free(buf);
        if (len > 0) {
            return true;
        }
    }
    fputs("bulkhead explain: the result is too large for JSON\n", stderr);
    return false;
}
