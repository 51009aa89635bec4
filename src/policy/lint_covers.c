/*
 * lint_covers: enforced allows all of whose callers and listeners another allow has too.
 *
 * The rule's rarest entry leads to candidates: the rules that hold an entry which covers it, found
 * by its text and, for entries with `*`, by a matcher of these alone. Each candidate that is for
 * the same listeners and lasts as long is then held against every entry of the rule, with one
 * lookup a piece: (entry, holder) pairs are in a hash table. A group is covered as a whole where
 * the other rule uses it too.
 */
#include "lint_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
    CANDIDATES_MAX = 32, /* rules that one is held against */
    VISITS_MAX = 64,     /* holders of an entry that are looked at for them */
    RARE_AMONG = 16,     /* entries of which the rarest is taken */
    NESTING_MAX = 32     /* of groups; config_load refuses more */
};

/* A holder is a rule, by its index, or a group: its index plus the number of rules. An item is a
   pattern, by its number, or a group: its index plus the number of patterns. */
struct pair {
    uint32_t item;
    uint32_t holder;
};

struct pairs {
    struct pair *items;
    size_t count;
    size_t capacity;
};

struct covers {
    struct lint *lint;
    struct id_pattern *patterns;
    uint32_t pattern_count;
    uint32_t pattern_capacity;
    uint32_t *by_text; /* open addressing, pattern plus one */
    uint32_t text_mask;
    struct pairs pairs;
    uint32_t *first;   /* by item: where its holders begin, in `holders`; one more than items */
    uint32_t *holders; /* those for all listeners first */
    uint32_t *set;     /* of pairs, plus one: open addressing */
    uint32_t set_mask;
    struct id_matcher *wild; /* entries with `*`; the rank is the pattern */
    uint32_t *first_inner;   /* by holder: where the groups in it begin, in `inner` */
    uint32_t *inner;
    uint32_t *seen; /* by rule: the rule that it was a candidate of last, plus one */
};

static uint32_t rule_count(const struct covers *c)
{
    return (uint32_t)c->lint->policy->rule_count;
}

/* --- building -------------------------------------------------------------------------------- */

static bool takes_part(const struct lint *lint, size_t rule)
{
    const struct policy_rule *it = &lint->policy->rules[rule];
    return it->mode == CONFIG_MODE_ENFORCE && it->action == CONFIG_ACTION_ALLOW &&
           !lint_has_ended(lint, rule) && !lint->never[rule];
}

static uint32_t *find_text(const struct covers *c, struct strview text)
{
    uint32_t at = (uint32_t)hash_bytes(text.ptr, text.len, 0) & c->text_mask;
    while (c->by_text[at] != 0 && !strview_equal(c->patterns[c->by_text[at] - 1].text, text)) {
        at = (at + 1) & c->text_mask;
    }
    return &c->by_text[at];
}

static uint32_t pattern_number(struct covers *c, const struct id_pattern *pattern)
{
    uint32_t *slot = find_text(c, pattern->text);
    if (*slot == 0) {
        if (c->pattern_count == c->pattern_capacity) {
            uint32_t capacity = c->pattern_capacity == 0 ? 64 : c->pattern_capacity * 2;
            c->patterns =
                mem_grow_array(c->patterns, c->pattern_capacity, capacity, sizeof(*c->patterns));
            c->pattern_capacity = capacity;
        }
        c->patterns[c->pattern_count++] = *pattern;
        *slot = c->pattern_count;
    }
    return *slot - 1;
}

static void add_pair(struct pairs *pairs, uint32_t item, uint32_t holder)
{
    if (pairs->count == pairs->capacity) {
        size_t capacity = pairs->capacity == 0 ? 64 : pairs->capacity * 2;
        pairs->items =
            mem_grow_array(pairs->items, pairs->capacity, capacity, sizeof(*pairs->items));
        pairs->capacity = capacity;
    }
    pairs->items[pairs->count++] = (struct pair){item, holder};
}

/* Groups are numbered after all patterns, whose number is known only at the end: until then their
   items have this bit. */
#define GROUP_BIT UINT32_C(0x80000000)

static void add_members(struct covers *c, const struct config_strings *members, uint32_t holder)
{
    for (size_t i = 0; i < members->count; i++) {
        const char *text = members->items[i].text;
        struct id_pattern pattern;
        const char *why = NULL;
        if (config_is_group_reference(text)) {
            const struct config_group *group = config_find_group(c->lint->config, text);
            if (group != NULL) {
                add_pair(&c->pairs, GROUP_BIT | (uint32_t)(group - c->lint->config->groups),
                         holder);
            }
        } else if (id_pattern_parse(strview_from(text), &pattern, &why) == 0) {
            add_pair(&c->pairs, pattern_number(c, &pattern), holder);
        }
    }
}

static size_t count_members(const struct config *config)
{
    size_t count = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        count += config->rules[i].from.count;
    }
    for (size_t i = 0; i < config->group_count; i++) {
        count += config->groups[i].members.count;
    }
    return count;
}

static uint32_t mask_for(size_t count)
{
    size_t size = 16;
    while (size < count * 2) {
        size *= 2;
    }
    return (uint32_t)(size - 1);
}

static bool is_for_all(const struct config_rule *rule)
{
    for (size_t i = 0; i < rule->to.count; i++) {
        if (strcmp(rule->to.items[i].text, "all") == 0) {
            return true;
        }
    }
    return false;
}

static bool holds_for_all(const struct covers *c, uint32_t holder)
{
    return holder < rule_count(c) && is_for_all(&c->lint->config->rules[holder]);
}

/* The holders of each item in a row: by counting, those that most rules may be covered by first. */
static void order_holders(struct covers *c)
{
    uint32_t items = c->pattern_count + (uint32_t)c->lint->config->group_count;
    uint32_t *next = mem_alloc_array((size_t)items + 2, sizeof(*next));
    c->holders = mem_alloc_array(c->pairs.count, sizeof(*c->holders));
    for (size_t i = 0; i < c->pairs.count; i++) {
        struct pair *pair = &c->pairs.items[i];
        if ((pair->item & GROUP_BIT) != 0) {
            pair->item = c->pattern_count + (pair->item & ~GROUP_BIT);
        }
        next[pair->item + 2]++;
    }
    for (uint32_t i = 2; i < items + 2; i++) {
        next[i] += next[i - 1];
    }
    for (int all = 1; all >= 0; all--) {
        for (size_t i = 0; i < c->pairs.count; i++) {
            const struct pair *pair = &c->pairs.items[i];
            if (holds_for_all(c, pair->holder) == (all == 1)) {
                c->holders[next[pair->item + 1]++] = pair->holder;
            }
        }
    }
    c->first = next; /* filling moved each begin to its end, which is where the next one begins */
}

/* The same the other way round: the groups in each holder. */
static void order_inner(struct covers *c)
{
    uint32_t holders = rule_count(c) + (uint32_t)c->lint->config->group_count;
    uint32_t *next = mem_alloc_array((size_t)holders + 2, sizeof(*next));
    c->inner = mem_alloc_array(c->pairs.count, sizeof(*c->inner));
    for (size_t i = 0; i < c->pairs.count; i++) {
        next[c->pairs.items[i].holder + 2] += c->pairs.items[i].item >= c->pattern_count;
    }
    for (uint32_t i = 2; i < holders + 2; i++) {
        next[i] += next[i - 1];
    }
    for (size_t i = 0; i < c->pairs.count; i++) {
        const struct pair *pair = &c->pairs.items[i];
        if (pair->item >= c->pattern_count) {
            c->inner[next[pair->holder + 1]++] = pair->item - c->pattern_count;
        }
    }
    c->first_inner = next;
}

static uint32_t pair_hash(struct pair pair)
{
    uint64_t both = ((uint64_t)pair.item << 32) | pair.holder;
    return (uint32_t)((both * 0x9e3779b97f4a7c15U) >> 32);
}

static void index_pairs(struct covers *c)
{
    c->set_mask = mask_for(c->pairs.count);
    c->set = mem_alloc_array((size_t)c->set_mask + 1, sizeof(*c->set));
    for (size_t i = 0; i < c->pairs.count; i++) {
        uint32_t at = pair_hash(c->pairs.items[i]) & c->set_mask;
        while (c->set[at] != 0) {
            at = (at + 1) & c->set_mask;
        }
        c->set[at] = (uint32_t)i + 1;
    }
}

static bool has_pair(const struct covers *c, uint32_t item, uint32_t holder)
{
    struct pair wanted = {item, holder};
    for (uint32_t at = pair_hash(wanted) & c->set_mask; c->set[at] != 0;
         at = (at + 1) & c->set_mask) {
        const struct pair *pair = &c->pairs.items[c->set[at] - 1];
        if (pair->item == item && pair->holder == holder) {
            return true;
        }
    }
    return false;
}

static void index_wild(struct covers *c)
{
    c->wild = id_matcher_new();
    for (uint32_t i = 0; i < c->pattern_count; i++) {
        if (c->patterns[i].exact) {
            continue;
        }
        uint32_t set = id_matcher_set_new(c->wild);
        id_matcher_set_grant(c->wild, set, ID_MATCHER_KEY_ALL, i, ID_EFFECT_ALLOW, ID_ENDS_NEVER);
        bool added = id_matcher_set_add(c->wild, set, &c->patterns[i]);
        ASSERT(added); /* the policy's matcher, which has more, took it */
    }
    bool frozen = id_matcher_freeze(c->wild);
    ASSERT(frozen); /* one grant a pattern */
}

static void build(struct covers *c)
{
    const struct config *config = c->lint->config;
    c->text_mask = mask_for(count_members(config));
    c->by_text = mem_alloc_array((size_t)c->text_mask + 1, sizeof(*c->by_text));
    for (size_t i = 0; i < config->rule_count; i++) {
        if (takes_part(c->lint, i)) {
            add_members(c, &config->rules[i].from, (uint32_t)i);
        }
    }
    for (size_t i = 0; i < config->group_count; i++) {
        add_members(c, &config->groups[i].members, rule_count(c) + (uint32_t)i);
    }
    order_holders(c);
    order_inner(c);
    index_pairs(c);
    index_wild(c);
    c->seen = mem_alloc_array(config->rule_count, sizeof(*c->seen));
}

static void fini(struct covers *c)
{
    id_matcher_free(c->wild);
    mem_free(c->patterns);
    mem_free(c->by_text);
    mem_free(c->pairs.items);
    mem_free(c->first);
    mem_free(c->holders);
    mem_free(c->first_inner);
    mem_free(c->inner);
    mem_free(c->set);
    mem_free(c->seen);
}

/* --- what covers a pattern ------------------------------------------------------------------- */

/* The patterns that cover one, itself among them. */
struct covering {
    uint32_t patterns[ID_MATCHER_FRONTIER_MAX];
    uint32_t count;
};

static void add_covering(void *arg, uint32_t rank)
{
    struct covering *covering = arg;
    if (covering->count < ID_MATCHER_FRONTIER_MAX) {
        covering->patterns[covering->count++] = rank;
    }
}

static void find_covering(const struct covers *c, uint32_t pattern, struct covering *covering)
{
    *covering = (struct covering){.count = 0};
    ASSERT(c->patterns != NULL && pattern < c->pattern_count);
    if (c->patterns[pattern].exact) {
        covering->patterns[covering->count++] = pattern;
    }
    id_matcher_each_cover(c->wild, &c->patterns[pattern], add_covering, covering);
}

/* --- is it in the rule? ---------------------------------------------------------------------- */

/* Does a holder have the item, in itself or in a group within it? */
static bool contains(struct covers *c, uint32_t item, uint32_t holder, unsigned depth)
{
    if (!lint_work(c->lint, 1) || depth > NESTING_MAX) {
        return false;
    }
    if (has_pair(c, item, holder)) {
        return true;
    }
    for (uint32_t at = c->first_inner[holder]; at < c->first_inner[holder + 1]; at++) {
        if (contains(c, item, rule_count(c) + c->inner[at], depth + 1)) {
            return true;
        }
    }
    return false;
}

static bool covers_pattern(struct covers *c, uint32_t pattern, uint32_t rule)
{
    struct covering covering;
    find_covering(c, pattern, &covering);
    for (uint32_t i = 0; i < covering.count; i++) {
        if (contains(c, covering.patterns[i], rule, 0)) {
            return true;
        }
    }
    return false;
}

/* Does the rule let in all of these? */
static bool covers_members(struct covers *c, const struct config_strings *members, uint32_t rule)
{
    const struct config *config = c->lint->config;
    for (size_t i = 0; i < members->count; i++) {
        const char *text = members->items[i].text;
        if (!lint_work(c->lint, 1)) {
            return false;
        }
        if (!config_is_group_reference(text)) {
            uint32_t *slot = find_text(c, strview_from(text));
            if (*slot == 0 || !covers_pattern(c, *slot - 1, rule)) {
                return false;
            }
            continue;
        }
        const struct config_group *group = config_find_group(config, text);
        uint32_t number = group == NULL ? 0 : (uint32_t)(group - config->groups);
        if (group == NULL || (!contains(c, c->pattern_count + number, rule, 0) &&
                              !covers_members(c, &group->members, rule))) {
            return false;
        }
    }
    return members->count > 0;
}

/* --- listeners and time ---------------------------------------------------------------------- */

static bool names(const struct config_rule *rule, const char *listener)
{
    for (size_t i = 0; i < rule->to.count; i++) {
        if (strcmp(rule->to.items[i].text, listener) == 0) {
            return true;
        }
    }
    return false;
}

/* Is the other for all the listeners of the rule, as long as it lasts? */
static bool reaches_as_far(const struct covers *c, size_t rule, size_t other)
{
    const struct config_rule *one = &c->lint->config->rules[rule];
    const struct config_rule *wide = &c->lint->config->rules[other];
    if (c->lint->policy->rules[other].ends_s < c->lint->policy->rules[rule].ends_s) {
        return false;
    }
    if (is_for_all(wide)) {
        return true;
    }
    for (size_t i = 0; i < one->to.count; i++) {
        if (!names(wide, one->to.items[i].text)) {
            return false;
        }
    }
    return true;
}

/* --- candidates ------------------------------------------------------------------------------ */

struct candidates {
    uint32_t rules[CANDIDATES_MAX];
    size_t count;
    uint32_t rule; /* whose they are */
    unsigned visits;
};

static void visit_holders(struct covers *c, uint32_t item, struct candidates *candidates,
                          unsigned depth)
{
    for (uint32_t at = c->first[item]; at < c->first[item + 1]; at++) {
        uint32_t holder = c->holders[at];
        if (candidates->visits++ >= VISITS_MAX || candidates->count == CANDIDATES_MAX ||
            depth > NESTING_MAX || !lint_work(c->lint, 1)) {
            return;
        }
        if (holder >= rule_count(c)) {
            visit_holders(c, c->pattern_count + holder - rule_count(c), candidates, depth + 1);
        } else if (holder != candidates->rule && c->seen[holder] != candidates->rule + 1) {
            c->seen[holder] = candidates->rule + 1;
            if (reaches_as_far(c, candidates->rule, holder)) {
                candidates->rules[candidates->count++] = holder;
            }
        }
    }
}

static void visit_pattern(struct covers *c, uint32_t pattern, struct candidates *candidates)
{
    struct covering covering;
    find_covering(c, pattern, &covering);
    for (uint32_t i = 0; i < covering.count; i++) {
        candidates->visits = 0;
        visit_holders(c, covering.patterns[i], candidates, 0);
    }
}

/* Rules with one of the members, or all of it in a group. */
static void visit_member(struct covers *c, const char *text, struct candidates *candidates)
{
    const struct config *config = c->lint->config;
    for (unsigned depth = 0; config_is_group_reference(text); depth++) {
        const struct config_group *group = config_find_group(config, text);
        if (group == NULL || group->members.count == 0 || depth > NESTING_MAX) {
            return;
        }
        candidates->visits = 0;
        visit_holders(c, c->pattern_count + (uint32_t)(group - config->groups), candidates, 0);
        text = group->members.items[0].text;
    }
    uint32_t *slot = find_text(c, strview_from(text));
    if (*slot != 0) {
        visit_pattern(c, *slot - 1, candidates);
    }
}

static uint32_t holder_count(const struct covers *c, const char *text)
{
    if (config_is_group_reference(text)) {
        return UINT32_MAX;
    }
    uint32_t *slot = find_text(c, strview_from(text));
    return *slot == 0 ? UINT32_MAX : c->first[*slot] - c->first[*slot - 1];
}

static const char *rarest(const struct covers *c, const struct config_strings *from)
{
    const char *best = from->items[0].text;
    uint32_t best_count = holder_count(c, best);
    for (size_t i = 1; i < from->count && i < RARE_AMONG; i++) {
        uint32_t count = holder_count(c, from->items[i].text);
        if (count < best_count) {
            best = from->items[i].text;
            best_count = count;
        }
    }
    return best;
}

/* --- all ------------------------------------------------------------------------------------- */

/* Of two that say the same, the second is the needless one. */
static bool is_needless(struct covers *c, uint32_t rule, uint32_t other)
{
    const struct config_rule *rules = c->lint->config->rules;
    if (!covers_members(c, &rules[rule].from, other)) {
        return false;
    }
    return other < rule || !reaches_as_far(c, other, rule) ||
           !covers_members(c, &rules[other].from, rule);
}

static void examine(struct covers *c, uint32_t rule)
{
    struct lint *lint = c->lint;
    const struct config_rule *it = &lint->config->rules[rule];
    if (!takes_part(lint, rule) || it->from.count == 0 || it->to.count == 0) {
        return;
    }
    struct candidates candidates = {.rule = rule};
    visit_member(c, rarest(c, &it->from), &candidates);
    for (size_t i = 0; i < candidates.count && !lint->out_of_work; i++) {
        if (is_needless(c, rule, candidates.rules[i])) {
            const struct policy_rule *other = &lint->policy->rules[candidates.rules[i]];
            diag_warning(lint->diags, it->pos,
                         "rules[%zu]: rule \"%s\" adds nothing: rule \"%s\" (%s) lets in all of it",
                         lint->shown[rule], it->name.text, other->name,
                         lint_place(lint->diags, other->pos).text);
            return;
        }
    }
}

void lint_covers(struct lint *lint)
{
    struct covers c = {.lint = lint};
    build(&c);
    for (uint32_t i = 0; i < rule_count(&c) && !lint->out_of_work; i++) {
        examine(&c, i);
    }
    fini(&c);
}
