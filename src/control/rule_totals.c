/*
 * base is what came before the setup that counts now. At a change the former setup's totals become
 * the base of what has the same name; names are looked up in a sorted array, so that a hundred
 * thousand rules cost no square of them.
 */
#include "control/rule_totals.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "proxy/rule_hits.h"
#include "proxy/setup.h"

/* A setup with what is counted under it. */
struct era {
    struct setup *setup; /* a reference; NULL: none */
    struct rule_hits **hits;
    struct rule_total *base;
    uint64_t *would_deny_base;
};

struct rule_totals {
    unsigned worker_count;
    uint64_t epoch;
    struct era now;
    struct era next; /* setup NULL: none is on its way */
};

static void era_init(struct era *era, struct setup *setup, unsigned worker_count)
{
    const struct config *config = setup->config;
    era->setup = setup_ref(setup);
    era->hits = mem_alloc_array(worker_count, sizeof(struct rule_hits *));
    for (unsigned i = 0; i < worker_count; i++) {
        era->hits[i] = rule_hits_new(setup);
    }
    era->base = mem_alloc_array(config->rule_count, sizeof(*era->base));
    era->would_deny_base = mem_alloc_array(config->listener_count, sizeof(uint64_t));
}

static void era_fini(struct era *era, unsigned worker_count)
{
    for (unsigned i = 0; era->setup != NULL && i < worker_count; i++) {
        rule_hits_free(era->hits[i]);
    }
    mem_free(era->hits);
    mem_free(era->base);
    mem_free(era->would_deny_base);
    setup_unref(era->setup);
    *era = (struct era){.setup = NULL};
}

struct rule_totals *rule_totals_new(struct setup *setup, unsigned worker_count)
{
    struct rule_totals *totals = mem_alloc(sizeof(*totals));
    totals->worker_count = worker_count;
    era_init(&totals->now, setup, worker_count);
    return totals;
}

void rule_totals_free(struct rule_totals *totals)
{
    if (totals != NULL) {
        era_fini(&totals->now, totals->worker_count);
        era_fini(&totals->next, totals->worker_count);
        mem_free(totals);
    }
}

struct rule_hits *rule_totals_hits(const struct rule_totals *totals, unsigned worker)
{
    ASSERT(worker < totals->worker_count);
    return totals->now.hits[worker];
}

struct rule_hits *const *rule_totals_prepare(struct rule_totals *totals, struct setup *setup)
{
    ASSERT(totals->next.setup == NULL);
    if (setup == totals->now.setup) {
        return NULL;
    }
    era_init(&totals->next, setup, totals->worker_count);
    return totals->next.hits;
}

static uint64_t get(const _Atomic uint64_t *place)
{
    return atomic_load_explicit(place, memory_order_relaxed);
}

struct rule_total rule_totals_rule(const struct rule_totals *totals, size_t index)
{
    const struct era *now = &totals->now;
    const struct config *config = now->setup->config;
    ASSERT(index < config->rule_count);
    bool is_shadow = config->rules[index].mode == CONFIG_MODE_SHADOW;
    struct rule_total total = now->base[index];
    uint64_t *count = is_shadow ? &total.shadow : &total.enforced;
    for (unsigned i = 0; i < totals->worker_count; i++) {
        const struct rule_hit *hit = &now->hits[i]->rules[index];
        uint64_t last_ms = get(&hit->last_ms);
        *count += get(&hit->count);
        total.last_ms = last_ms > total.last_ms ? last_ms : total.last_ms;
    }
    return total;
}

uint64_t rule_totals_would_deny(const struct rule_totals *totals, size_t index)
{
    const struct era *now = &totals->now;
    ASSERT(index < now->setup->config->listener_count);
    uint64_t total = now->would_deny_base[index];
    for (unsigned i = 0; i < totals->worker_count; i++) {
        total += get(&now->hits[i]->would_deny[index]);
    }
    return total;
}

/* --- another setup --------------------------------------------------------------------------- */

static int compare_rules(const void *a, const void *b)
{
    const struct config_rule *left = *(const struct config_rule *const *)a;
    const struct config_rule *right = *(const struct config_rule *const *)b;
    return strcmp(left->name.text, right->name.text);
}

/* The rules in order of their names. */
static const struct config_rule **sort_rules(const struct config *config)
{
    const struct config_rule **rules = mem_alloc_array(config->rule_count, sizeof(*rules));
    for (size_t i = 0; i < config->rule_count; i++) {
        rules[i] = &config->rules[i];
    }
    if (config->rule_count > 1) {
        qsort(rules, config->rule_count, sizeof(*rules), compare_rules);
    }
    return rules;
}

static void carry_rules(const struct rule_totals *totals, struct era *to)
{
    const struct config *former = totals->now.setup->config;
    const struct config *config = to->setup->config;
    const struct config_rule **rules = sort_rules(former);
    for (size_t i = 0; i < config->rule_count && former->rule_count > 0; i++) {
        const struct config_rule *rule = &config->rules[i];
        const struct config_rule *const *same =
            bsearch(&rule, rules, former->rule_count, sizeof(*rules), compare_rules);
        if (same != NULL) {
            to->base[i] = rule_totals_rule(totals, (size_t)(*same - former->rules));
        }
    }
    mem_free(rules);
}

static void carry_listeners(const struct rule_totals *totals, struct era *to)
{
    for (size_t i = 0; i < to->setup->config->listener_count; i++) {
        const struct setup_listener *same =
            setup_find_slot(totals->now.setup, to->setup->listeners[i].slot);
        /* A slot that both use is the listener of one name. */
        if (same != NULL) {
            to->would_deny_base[i] = rule_totals_would_deny(totals, same->index);
        }
    }
}

void rule_totals_settle(struct rule_totals *totals)
{
    if (totals->next.setup == NULL) {
        return;
    }
    carry_rules(totals, &totals->next);
    carry_listeners(totals, &totals->next);
    era_fini(&totals->now, totals->worker_count);
    totals->now = totals->next;
    totals->next = (struct era){.setup = NULL};
    totals->epoch++;
}

struct setup *rule_totals_setup(const struct rule_totals *totals)
{
    return totals->now.setup;
}

uint64_t rule_totals_epoch(const struct rule_totals *totals)
{
    return totals->epoch;
}
