/*
 * Rules of the setup in force, by name: a hundred thousand of them are some ten MiB of text.
 */
#include "scrape.h"

#include "base/assert.h"
#include "control/rule_totals.h"
#include "proxy/setup.h"

static const struct config_rule *rule_of(const struct scrape *scrape, size_t item)
{
    return &scrape->setup->config->rules[item];
}

size_t scrape_rule_items(const struct scrape *scrape)
{
    return scrape->setup->config->rule_count;
}

/* In the mode that it has, and in the one that it had before if it was hit then. */
void scrape_rule_hits(struct scrape *scrape, size_t item)
{
    const struct config_rule *rule = rule_of(scrape, item);
    const struct rule_total *total = &scrape->rules[item];
    struct metric_label labels[] = {
        {"rule", strview_from(rule->name.text)},
        {"action", strview_from(rule->action == CONFIG_ACTION_DENY ? "deny" : "allow")},
        {"mode", strview_from("enforce")},
    };
    if (rule->mode == CONFIG_MODE_ENFORCE || total->enforced != 0) {
        exposition_u64(&scrape->text, labels, 3, total->enforced);
    }
    if (rule->mode == CONFIG_MODE_SHADOW || total->shadow != 0) {
        labels[2].value = strview_from("shadow");
        exposition_u64(&scrape->text, labels, 3, total->shadow);
    }
}

void scrape_rule_times(struct scrape *scrape, size_t item)
{
    const struct config_rule *rule = rule_of(scrape, item);
    const struct metric_label labels[] = {{"rule", strview_from(rule->name.text)}};
    if (scrape->family == METRIC_RULE_EXPIRY) {
        if (rule->expires.text.text != NULL) {
            exposition_i64(&scrape->text, labels, 1, rule->expires.s);
        }
        return;
    }
    ASSERT(scrape->family == METRIC_RULE_LAST_HIT);
    if (scrape->rules[item].last_ms != 0) {
        exposition_us(&scrape->text, labels, 1, scrape->rules[item].last_ms * 1000);
    }
}
