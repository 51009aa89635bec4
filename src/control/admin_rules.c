#include "admin_rules.h"

#include "admin_json.h"
#include "base/clock.h"
#include "base/json_writer.h"
#include "config/config.h"
#include "control/rule_totals.h"
#include "proxy/setup.h"

struct page {
    const struct rule_totals *totals;
    size_t from;
};

static void write_listeners(struct json_writer *w, const struct page *page)
{
    const struct config *config = rule_totals_setup(page->totals)->config;
    json_key(w, "listeners");
    json_array_begin(w);
    for (size_t i = 0; page->from == 0 && i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        bool audit = listener->enforcement == CONFIG_ENFORCEMENT_AUDIT;
        json_object_begin(w);
        json_field_string(w, "name", listener->name.text);
        json_field_string(w, "enforcement", audit ? "audit" : "enforce");
        json_field_u64(w, "would_deny", rule_totals_would_deny(page->totals, i));
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_rule(struct json_writer *w, const struct rule_totals *totals, size_t index)
{
    static const char *const modes[] = {[CONFIG_MODE_ENFORCE] = "enforce",
                                        [CONFIG_MODE_SHADOW] = "shadow",
                                        [CONFIG_MODE_DISABLED] = "disabled"};
    const struct config *config = rule_totals_setup(totals)->config;
    const struct config_rule *rule = &config->rules[index];
    const struct rule_total total = rule_totals_rule(totals, index);
    char text[CLOCK_TEXT_SIZE];
    bool ends = rule->expires.text.text != NULL;
    json_object_begin(w);
    json_field_string(w, "name", rule->name.text);
    json_field_string(w, "action", rule->action == CONFIG_ACTION_DENY ? "deny" : "allow");
    json_field_string(w, "mode", modes[rule->mode]);
    json_field_u64(w, "hits", total.enforced);
    json_field_u64(w, "shadow_hits", total.shadow);
    json_field_string(w, "last_hit",
                      total.last_ms == 0 ? NULL : clock_format_ms(total.last_ms, text));
    json_field_string(w, "expires", ends ? clock_format_s(rule->expires.s, text) : NULL);
    json_field_string(w, "owner", rule->owner.text);
    json_field_string(w, "file", config->files[rule->pos.file - config->first_file]);
    json_field_u64(w, "line", rule->pos.line);
    json_object_end(w);
}

static void write_page(struct json_writer *w, const void *arg)
{
    const struct page *page = arg;
    size_t count = rule_totals_setup(page->totals)->config->rule_count;
    size_t from = page->from < count ? page->from : count;
    size_t end = count - from < ADMIN_RULES_PAGE ? count : from + ADMIN_RULES_PAGE;
    json_object_begin(w);
    json_field_u64(w, "epoch", rule_totals_epoch(page->totals));
    json_field_u64(w, "count", count);
    json_key(w, "next");
    if (end < count) {
        json_u64(w, end);
    } else {
        json_none(w);
    }
    write_listeners(w, page);
    json_key(w, "rules");
    json_array_begin(w);
    for (size_t i = from; i < end; i++) {
        write_rule(w, page->totals, i);
    }
    json_array_end(w);
    json_object_end(w);
}

char *admin_rules_json(const struct rule_totals *totals, size_t from, size_t *len)
{
    const struct page page = {.totals = totals, .from = from};
    return admin_json_render(write_page, &page, len);
}
