/*
 * For each ID or pattern of a rule, and each listener, what the enforced rules do there already:
 * one lookup, by the matcher that decides.
 */
#include "lint_private.h"

#include <string.h>

/* What the enforced rules do with all that one entry stands for, on one listener. */
struct standing {
    uint32_t allow; /* the first rule of each kind that covers it; ID_RANK_NONE */
    uint32_t deny;
    bool nobody; /* of an exact ID: no rule would let it in, so there is nothing to deny */
};

/* One rule under examination: does `holds` hold for all of it? */
struct examination {
    struct lint *lint;
    size_t rule;
    bool (*holds)(const struct standing *standing);
    struct standing first; /* of the first entry: for the message */
    bool several;          /* another rule than that one covers the rest */
    size_t entries;
};

static bool is_denied(const struct standing *standing)
{
    return standing->deny != ID_RANK_NONE;
}

static bool is_settled(const struct standing *standing)
{
    return standing->deny != ID_RANK_NONE || standing->allow != ID_RANK_NONE;
}

static bool is_not_let_in(const struct standing *standing)
{
    return standing->deny != ID_RANK_NONE || standing->nobody;
}

static struct standing look_up(struct examination *x, const struct id_pattern *pattern,
                               uint32_t key)
{
    struct lint *lint = x->lint;
    const struct policy_rule *rule = &lint->policy->rules[x->rule];
    struct id_match match;
    id_matcher_match_pattern(lint->policy->downstream, pattern, key, lint_last_second(rule),
                             &match);
    struct standing standing = {match.rank[ID_EFFECT_ALLOW], match.rank[ID_EFFECT_DENY], false};
    if (pattern->exact && key != ID_MATCHER_KEY_ALL) {
        size_t listener = key - policy_key(0);
        /* Of one ID that covers it and that matches it is the same. Now, as it may end sooner. */
        id_matcher_match_pattern(lint->policy->downstream, pattern, key, lint->now_s, &match);
        standing.nobody =
            match.rank[ID_EFFECT_ALLOW] == ID_RANK_NONE &&
            lint->config->listeners[listener].enforcement == CONFIG_ENFORCEMENT_ENFORCE;
    }
    return standing;
}

static bool holds_there(struct examination *x, const struct id_pattern *pattern, uint32_t key)
{
    struct standing standing = look_up(x, pattern, key);
    if (!lint_work(x->lint, 1) || !x->holds(&standing)) {
        return false;
    }
    if (x->entries++ == 0) {
        x->first = standing;
    }
    x->several = x->several || standing.deny != x->first.deny || standing.allow != x->first.allow;
    return true;
}

/* Under `to: all` at once, or else on each listener. */
static bool holds_everywhere(struct examination *x, const struct id_pattern *pattern)
{
    const struct config *config = x->lint->config;
    if (holds_there(x, pattern, ID_MATCHER_KEY_ALL)) {
        return true;
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].kind != CONFIG_KIND_ORIGINATE &&
            !holds_there(x, pattern, policy_key(i))) {
            return false;
        }
    }
    return config->listener_count > 0;
}

static bool holds_for_pattern(struct examination *x, const struct id_pattern *pattern)
{
    const struct config_strings *to = &x->lint->config->rules[x->rule].to;
    bool any = false;
    for (size_t i = 0; i < to->count; i++) {
        if (strcmp(to->items[i].text, "all") == 0) {
            any = true;
            if (!holds_everywhere(x, pattern)) {
                return false;
            }
            continue;
        }
        const struct name *listener =
            name_list_find(&x->lint->listeners, strview_from(to->items[i].text));
        if (listener == NULL) {
            continue; /* not here */
        }
        any = true;
        if (!holds_there(x, pattern, policy_key(listener->index))) {
            return false;
        }
    }
    return any;
}

/* False also when there is nobody in it, or the work is too much. */
static bool holds_for_all(struct examination *x, const struct config_strings *members)
{
    for (size_t i = 0; i < members->count; i++) {
        const char *text = members->items[i].text;
        struct id_pattern pattern;
        const char *why = NULL;
        const struct config_group *group =
            config_is_group_reference(text) ? config_find_group(x->lint->config, text) : NULL;
        bool holds = group != NULL ? holds_for_all(x, &group->members)
                                   : id_pattern_parse(strview_from(text), &pattern, &why) == 0 &&
                                         holds_for_pattern(x, &pattern);
        if (!holds || !lint_work(x->lint, 1)) {
            return false;
        }
    }
    return members->count > 0;
}

/* --- what is said ---------------------------------------------------------------------------- */

static void tell(struct examination *x, const char *what)
{
    struct lint *lint = x->lint;
    const struct policy_rule *rule = &lint->policy->rules[x->rule];
    bool denied = x->first.deny != ID_RANK_NONE;
    uint32_t rank = denied ? x->first.deny : x->first.allow;
    if (rank == ID_RANK_NONE) {
        diag_warning(lint->diags, rule->pos, "rules[%zu]: rule \"%s\" %s: no rule lets them in",
                     lint->shown[x->rule], rule->name, what);
        return;
    }
    const struct policy_rule *other = &lint->policy->rules[rank];
    diag_warning(lint->diags, rule->pos, "rules[%zu]: rule \"%s\" %s: %s rule%s \"%s\" (%s)%s",
                 lint->shown[x->rule], rule->name, what, denied ? "deny" : "allow",
                 x->several ? "s such as" : "", other->name,
                 lint_place(lint->diags, other->pos).text,
                 x->several ? (denied ? " stand over all of it" : " let in all of it")
                            : (denied ? " stands over all of it" : " lets in all of it"));
}

static void examine(struct lint *lint, size_t index)
{
    const struct policy_rule *rule = &lint->policy->rules[index];
    bool shadow = rule->mode == CONFIG_MODE_SHADOW;
    bool denies = rule->action == CONFIG_ACTION_DENY;
    if (rule->mode == CONFIG_MODE_DISABLED || (denies && !shadow) || lint_has_ended(lint, index)) {
        return;
    }
    struct examination x = {.lint = lint, .rule = index};
    x.holds = !shadow ? is_denied : denies ? is_not_let_in : is_settled;
    if (!holds_for_all(&x, &lint->config->rules[index].from)) {
        return;
    }
    lint->never[index] = true;
    tell(&x, !shadow  ? "lets nobody in"
             : denies ? "would take nothing from anybody"
                      : "would let nobody in who is not let in or denied already");
}

void lint_effects(struct lint *lint)
{
    for (size_t i = 0; i < lint->policy->rule_count; i++) {
        examine(lint, i);
    }
}
