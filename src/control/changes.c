/*
 * Things are the same when they have the same name. Names are looked up in sorted arrays, so that
 * a hundred thousand rules cost no square of them.
 */
#include "control/changes.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/same.h"
#include "control/material.h"
#include "policy/quarantine.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

struct named {
    const char *name;
    const void *item;
};

typedef bool same_fn(const void *a, const void *b);

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* Walks both in order of name. */
static void compare(struct named *from, size_t from_count, struct named *to, size_t to_count,
                    same_fn *same, enum change_kind kind, change_fn *fn, void *arg)
{
    qsort(from, from_count, sizeof(*from), compare_named);
    qsort(to, to_count, sizeof(*to), compare_named);
    size_t i = 0;
    size_t k = 0;
    while (i < from_count || k < to_count) {
        int order = i == from_count ? 1 : k == to_count ? -1 : compare_named(&from[i], &to[k]);
        if (order < 0) {
            fn(arg, kind, CHANGE_REMOVED, from[i++].name);
        } else if (order > 0) {
            fn(arg, kind, CHANGE_ADDED, to[k++].name);
        } else {
            if (!same(from[i].item, to[k].item)) {
                fn(arg, kind, CHANGE_CHANGED, to[k].name);
            }
            i++;
            k++;
        }
    }
}

static struct named *name_rules(const struct config *config)
{
    struct named *named = mem_alloc_array(config->rule_count, sizeof(*named));
    for (size_t i = 0; i < config->rule_count; i++) {
        named[i] = (struct named){config->rules[i].name.text, &config->rules[i]};
    }
    return named;
}

static struct named *name_groups(const struct config *config)
{
    struct named *named = mem_alloc_array(config->group_count, sizeof(*named));
    for (size_t i = 0; i < config->group_count; i++) {
        named[i] = (struct named){config->groups[i].name.text, &config->groups[i]};
    }
    return named;
}

static struct named *name_listeners(const struct config *config)
{
    struct named *named = mem_alloc_array(config->listener_count, sizeof(*named));
    for (size_t i = 0; i < config->listener_count; i++) {
        named[i] = (struct named){config->listeners[i].name.text, &config->listeners[i]};
    }
    return named;
}

static struct named *name_domains(const struct material *material)
{
    struct named *named = mem_alloc_array(material->domain_count, sizeof(*named));
    for (size_t i = 0; i < material->domain_count; i++) {
        named[i] = (struct named){material->domains[i].name, &material->domains[i]};
    }
    return named;
}

static bool same_rule(const void *a, const void *b)
{
    return config_same_rule(a, b);
}

static bool same_group(const void *a, const void *b)
{
    return config_same_group(a, b);
}

static bool same_listener(const void *a, const void *b)
{
    return config_same_listener(a, b);
}

static bool same_bundle(const void *a, const void *b)
{
    return ((const struct material_domain *)a)->bundle ==
           ((const struct material_domain *)b)->bundle;
}

static void compare_configs(const struct config *from, const struct config *to, change_fn *fn,
                            void *arg)
{
    struct named *before = name_rules(from);
    struct named *after = name_rules(to);
    compare(before, from->rule_count, after, to->rule_count, same_rule, CHANGE_RULE, fn, arg);
    mem_free(before);
    mem_free(after);
    before = name_groups(from);
    after = name_groups(to);
    compare(before, from->group_count, after, to->group_count, same_group, CHANGE_GROUP, fn, arg);
    mem_free(before);
    mem_free(after);
    before = name_listeners(from);
    after = name_listeners(to);
    compare(before, from->listener_count, after, to->listener_count, same_listener, CHANGE_LISTENER,
            fn, arg);
    mem_free(before);
    mem_free(after);
}

static void compare_crls(const struct material *from, const struct material *to, change_fn *fn,
                         void *arg)
{
    for (size_t i = 0; i < to->domain_count; i++) {
        const struct material_domain *now = &to->domains[i];
        const struct material_domain *before = material_find_domain(from, now->name);
        bool had = before != NULL && before->crl_check != CRL_CHECK_NONE;
        bool has = now->crl_check != CRL_CHECK_NONE;
        if (had != has) {
            fn(arg, CHANGE_CRL, has ? CHANGE_ADDED : CHANGE_REMOVED, now->name);
        } else if (had && (before->crls != now->crls || before->crl_check != now->crl_check)) {
            fn(arg, CHANGE_CRL, CHANGE_CHANGED, now->name);
        }
    }
}

static void compare_identities(const struct material *from, const struct material *to,
                               change_fn *fn, void *arg)
{
    enum change_what what = from->own == NULL ? CHANGE_ADDED : CHANGE_CHANGED;
    if (from->own != to->own) {
        char name[SPIFFE_ID_MAX + 1];
        struct strview id = x509_svid_id(to->own != NULL ? to->own : from->own)->text;
        memcpy(name, id.ptr, id.len);
        name[id.len] = '\0';
        fn(arg, CHANGE_IDENTITY, to->own == NULL ? CHANGE_REMOVED : what, name);
    }
}

/* Both are in order. */
static void compare_quarantines(const struct quarantine *from, const struct quarantine *to,
                                change_fn *fn, void *arg)
{
    size_t i = 0;
    size_t k = 0;
    while (i < quarantine_count(from) || k < quarantine_count(to)) {
        const char *before = i < quarantine_count(from) ? quarantine_entry(from, i) : NULL;
        const char *after = k < quarantine_count(to) ? quarantine_entry(to, k) : NULL;
        int order = before == NULL ? 1 : after == NULL ? -1 : strcmp(before, after);
        if (order < 0) {
            fn(arg, CHANGE_QUARANTINE, CHANGE_REMOVED, before);
        } else if (order > 0) {
            fn(arg, CHANGE_QUARANTINE, CHANGE_ADDED, after);
        }
        i += order <= 0;
        k += order >= 0;
    }
}

void changes_each(const struct material *from, const struct material *to, change_fn *fn, void *arg)
{
    if (from->setup != to->setup) {
        compare_configs(from->setup->config, to->setup->config, fn, arg);
    }
    compare_identities(from, to, fn, arg);
    struct named *before = name_domains(from);
    struct named *after = name_domains(to);
    compare(before, from->domain_count, after, to->domain_count, same_bundle, CHANGE_BUNDLE, fn,
            arg);
    mem_free(before);
    mem_free(after);
    compare_crls(from, to, fn, arg);
    if (from->quarantine != to->quarantine) {
        compare_quarantines(from->quarantine, to->quarantine, fn, arg);
    }
}

const char *change_kind_name(enum change_kind kind)
{
    static const char *const names[CHANGE_KINDS] = {"rule",   "group", "listener",  "identity",
                                                    "bundle", "crl",   "quarantine"};
    return names[kind];
}

const char *change_what_name(enum change_what what)
{
    static const char *const names[CHANGE_WHATS] = {"added", "removed", "changed"};
    return names[what];
}

static void on_change(void *arg, enum change_kind kind, enum change_what what, const char *name)
{
    (void)name;
    struct change_counts *counts = arg;
    counts->of[kind][what]++;
}

void changes_count(const struct material *from, const struct material *to,
                   struct change_counts *counts)
{
    memset(counts, 0, sizeof(*counts));
    changes_each(from, to, on_change, counts);
}
