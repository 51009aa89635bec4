/*
 * lint_slips: IDs that are one letter inserted, left out, changed or swapped with its neighbour
 * away from another ID: one of the two is probably a typing error.
 *
 * Two IDs are that near exactly when leaving out at most one letter of each makes them equal. So
 * each ID is hashed whole and without each of its letters in turn, and only IDs that share a hash
 * are compared: the work grows with the length of all IDs, not with their pairs. A table of
 * counters finds out first which hashes come twice, and only those are kept.
 *
 * Numbers count: "job-17" and "job-18" are meant, and so are "job-1" and "job-10". One digit for
 * another, swapped with another, or added to others is no slip; "job-1O" is one. Neither is a
 * segment of one letter in place of another ("zone/a").
 */
#include "lint_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

enum {
    IDS_MAX = 250 * 1000,         /* more are not compared */
    BYTES_MAX = 32 * 1000 * 1000, /* of all their paths */
    COUNTERS_MAX = 1 << 26,
    TOLD_MAX = 100,
    COMPARED_MAX = 20 * 1000 * 1000
};

/* What is left out of the path of an ID. */
enum omission { OMIT_NOTHING = 0, OMIT_LETTER, OMIT_DIGIT };

struct used_id {
    struct spiffe_id id;
    struct config_pos pos;
    const char *section; /* where it stands first: "rules[%zu].from[%zu]" and so on */
    const char *key;
    size_t section_index;
    size_t index;
    uint32_t uses; /* in rules, groups and `expect` */
    bool told;
};

struct variant {
    uint64_t hash;
    uint32_t id;
    uint8_t omission;
};

struct slips {
    struct lint *lint;
    struct used_id *ids;
    uint32_t count;
    uint32_t *by_text; /* open addressing, ID plus one */
    uint32_t text_mask;
    size_t bytes;
    uint8_t *counters;
    uint64_t counter_mask;
    struct variant *variants;
    size_t variant_count;
    size_t variant_capacity;
    bool counting; /* the first pass */
    size_t told;
    size_t left_out;
    size_t compared;
};

/* --- the IDs --------------------------------------------------------------------------------- */

static size_t count_strings(const struct config *config)
{
    size_t count = config->quarantine.count;
    for (size_t i = 0; i < config->rule_count; i++) {
        count += config->rules[i].from.count;
    }
    for (size_t i = 0; i < config->group_count; i++) {
        count += config->groups[i].members.count;
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        count += config->listeners[i].expect.count;
    }
    return count;
}

static bool is_later(struct config_pos a, struct config_pos b)
{
    if (a.file != b.file) {
        return a.file > b.file;
    }
    return a.line != b.line ? a.line > b.line : a.column > b.column;
}

static void add_id(struct slips *s, const char *text, const struct used_id *where, uint32_t in_use)
{
    struct spiffe_id id;
    const char *why = NULL;
    if (spiffe_id_parse(strview_from(text), &id, &why) != 0 || id.path.len == 0) {
        return; /* a group, a pattern, a fingerprint */
    }
    uint32_t at = (uint32_t)hash_bytes(id.text.ptr, id.text.len, 0) & s->text_mask;
    while (s->by_text[at] != 0 && !strview_equal(s->ids[s->by_text[at] - 1].id.text, id.text)) {
        at = (at + 1) & s->text_mask;
    }
    uint32_t uses = 0;
    if (s->by_text[at] == 0) {
        s->by_text[at] = ++s->count;
        s->bytes += id.path.len;
    } else {
        const struct used_id *known = &s->ids[s->by_text[at] - 1];
        uses = known->uses;
        where = is_later(where->pos, known->pos) ? known : where;
    }
    struct used_id *used = &s->ids[s->by_text[at] - 1];
    *used = *where;
    used->id = id;
    used->uses = uses + in_use;
}

static void add_all(struct slips *s, const struct config_strings *strings, struct used_id where)
{
    /* An ID that is only held, and used nowhere, is the slip whatever it is near to. */
    uint32_t in_use = where.key != NULL;
    for (size_t i = 0; i < strings->count; i++) {
        where.index = i;
        where.pos = strings->items[i].pos;
        add_id(s, strings->items[i].text, &where, in_use);
    }
}

static void collect(struct slips *s)
{
    const struct config *config = s->lint->config;
    size_t count = count_strings(config);
    size_t size = 16;
    while (size < count * 2) {
        size *= 2;
    }
    s->text_mask = (uint32_t)(size - 1);
    s->by_text = mem_alloc_array(size, sizeof(*s->by_text));
    s->ids = mem_alloc_array(count, sizeof(*s->ids));
    for (size_t i = 0; i < config->group_count; i++) {
        add_all(s, &config->groups[i].members,
                (struct used_id){.section = "groups.", .key = config->groups[i].name.text});
    }
    for (size_t i = 0; i < config->rule_count; i++) {
        add_all(s, &config->rules[i].from,
                (struct used_id){
                    .section = "rules", .section_index = s->lint->shown[i], .key = "from"});
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        add_all(s, &config->listeners[i].expect,
                (struct used_id){.section = "listeners", .section_index = i, .key = "expect"});
    }
    add_all(s, &config->quarantine, (struct used_id){.section = "quarantine"});
}

/* --- variants -------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void keep(struct slips *s, uint64_t hash, uint32_t id, enum omission omission)
{
    uint8_t *counter = &s->counters[hash & s->counter_mask];
    if (s->counting) {
        *counter = *counter < 2 ? *counter + 1 : 2;
        return;
    }
    if (*counter < 2) {
        return;
    }
    if (s->variant_count == s->variant_capacity) {
        size_t capacity = s->variant_capacity == 0 ? 1024 : s->variant_capacity * 2;
        s->variants =
            mem_grow_array(s->variants, s->variant_capacity, capacity, sizeof(*s->variants));
        s->variant_capacity = capacity;
    }
    s->variants[s->variant_count++] = (struct variant){hash, id, (uint8_t)omission};
}

/* So that the low bits depend on all. */
static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93U;
    return hash ^ (hash >> 32);
}

/* The hash of a text is that of all but its last byte, times a constant, plus that byte: so the
   hash without one byte comes from those of what is before and after it. */
static void add_variants(struct slips *s, uint32_t number)
{
    static const uint64_t factor = 0x9e3779b97f4a7c15U;
    const struct spiffe_id *id = &s->ids[number].id;
    size_t len = id->path.len;
    uint64_t before[SPIFFE_ID_MAX + 1];
    uint64_t power[SPIFFE_ID_MAX + 1];
    uint64_t domain = hash_bytes(id->trust_domain.ptr, id->trust_domain.len, 1);
    before[0] = 0;
    power[0] = 1;
    for (size_t i = 0; i < len; i++) {
        before[i + 1] = before[i] * factor + (unsigned char)id->path.ptr[i] + 1;
        power[i + 1] = power[i] * factor;
    }
    keep(s, mix(before[len] ^ domain), number, OMIT_NOTHING);
    for (size_t i = 0; i < len; i++) {
        uint64_t after = before[len] - before[i + 1] * power[len - i - 1];
        if (i + 1 < len && id->path.ptr[i] == id->path.ptr[i + 1]) {
            continue; /* leaving out its neighbour is the same */
        }
        keep(s, mix((before[i] * power[len - i - 1] + after) ^ domain), number,
             is_digit(id->path.ptr[i]) ? OMIT_DIGIT : OMIT_LETTER);
    }
}

static int by_hash(const void *left, const void *right)
{
    const struct variant *a = left;
    const struct variant *b = right;
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    return (a->id > b->id) - (a->id < b->id);
}

static void find_variants(struct slips *s)
{
    uint64_t size = 1 << 10;
    while (size < 4 * (uint64_t)s->bytes && size < COUNTERS_MAX) {
        size *= 2;
    }
    s->counter_mask = size - 1;
    s->counters = mem_alloc_array(size, sizeof(*s->counters));
    for (int pass = 0; pass < 2; pass++) {
        s->counting = pass == 0;
        for (uint32_t i = 0; i < s->count; i++) {
            add_variants(s, i);
        }
    }
    mem_free(s->counters);
    s->counters = NULL;
    if (s->variant_count > 1) {
        qsort(s->variants, s->variant_count, sizeof(*s->variants), by_hash);
    }
}

/* --- two of them ----------------------------------------------------------------------------- */

/* Is one letter all of its segment? */
static bool is_whole_segment(struct strview path, size_t at)
{
    return path.ptr[at - 1] == '/' && (at + 1 == path.len || path.ptr[at + 1] == '/');
}

static bool is_next_to_digit(struct strview path, size_t at)
{
    return (at > 0 && is_digit(path.ptr[at - 1])) ||
           (at + 1 < path.len && is_digit(path.ptr[at + 1]));
}

/* The longer has one letter more; equal is how long both agree. */
static bool is_slip_of_insertion(struct strview longer, struct strview shorter, size_t equal)
{
    if (memcmp(longer.ptr + equal + 1, shorter.ptr + equal, shorter.len - equal) != 0) {
        return false;
    }
    return !is_digit(longer.ptr[equal]) || !is_next_to_digit(longer, equal);
}

static bool is_slip_of_change(struct strview a, struct strview b, size_t equal)
{
    const char *left = a.ptr + equal;
    const char *right = b.ptr + equal;
    size_t rest = a.len - equal;
    bool digits = is_digit(left[0]) && is_digit(right[0]);
    if (memcmp(left + 1, right + 1, rest - 1) == 0) {
        return !digits && !is_whole_segment(a, equal);
    }
    return !digits && rest > 1 && left[0] == right[1] && left[1] == right[0] &&
           memcmp(left + 2, right + 2, rest - 2) == 0;
}

static bool is_slip(struct strview a, struct strview b)
{
    size_t equal = 0;
    while (equal < a.len && equal < b.len && a.ptr[equal] == b.ptr[equal]) {
        equal++;
    }
    if (a.len == b.len) {
        return equal < a.len && is_slip_of_change(a, b, equal);
    }
    if (a.len == b.len + 1) {
        return is_slip_of_insertion(a, b, equal);
    }
    return b.len == a.len + 1 && is_slip_of_insertion(b, a, equal);
}

/* "rules[2].from[0]" */
static void describe_place(const struct used_id *id, char *out, size_t size)
{
    if (strcmp(id->section, "groups.") == 0) {
        (void)snprintf(out, size, "groups.%s[%zu]", id->key, id->index);
    } else if (id->key == NULL) {
        (void)snprintf(out, size, "%s", id->section);
    } else {
        (void)snprintf(out, size, "%s[%zu].%s[%zu]", id->section, id->section_index, id->key,
                       id->index);
    }
}

/* The one that is used less is the slip; of equals, the one that comes later. */
static void tell(struct slips *s, uint32_t a, uint32_t b)
{
    bool a_is_slip = s->ids[a].uses == s->ids[b].uses ? is_later(s->ids[a].pos, s->ids[b].pos)
                                                      : s->ids[a].uses < s->ids[b].uses;
    struct used_id *slip = &s->ids[a_is_slip ? a : b];
    const struct used_id *meant = &s->ids[a_is_slip ? b : a];
    char where[128];
    if (slip->told) {
        return;
    }
    slip->told = true;
    if (s->told == TOLD_MAX) {
        s->left_out++;
        return;
    }
    s->told++;
    describe_place(slip, where, sizeof(where));
    diag_warning(s->lint->diags, slip->pos,
                 "%s: \"%.*s\" is one letter away from \"%.*s\" (%s): is one of them a slip?",
                 where, (int)slip->id.text.len, slip->id.text.ptr, (int)meant->id.text.len,
                 meant->id.text.ptr, lint_place(s->lint->diags, meant->pos).text);
}

/* Two digits left out are a digit for a digit. */
static bool may_be_slip(const struct variant *a, const struct variant *b)
{
    return a->id != b->id && !(a->omission == OMIT_DIGIT && b->omission == OMIT_DIGIT) &&
           (a->omission != OMIT_NOTHING || b->omission != OMIT_NOTHING);
}

static void compare_run(struct slips *s, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        for (size_t k = i + 1; k < end && s->compared < COMPARED_MAX; k++) {
            const struct variant *a = &s->variants[i];
            const struct variant *b = &s->variants[k];
            s->compared++;
            if (may_be_slip(a, b) &&
                strview_equal(s->ids[a->id].id.trust_domain, s->ids[b->id].id.trust_domain) &&
                is_slip(s->ids[a->id].id.path, s->ids[b->id].id.path)) {
                tell(s, a->id, b->id);
            }
        }
    }
}

static void compare_all(struct slips *s)
{
    for (size_t begin = 0; begin < s->variant_count;) {
        size_t end = begin;
        while (end < s->variant_count && s->variants[end].hash == s->variants[begin].hash) {
            end++;
        }
        compare_run(s, begin, end);
        begin = end;
    }
}

static void tell_what_is_missing(const struct slips *s, bool skipped)
{
    struct config_pos whole = {s->lint->config->first_file, 0, 0};
    if (skipped) {
        diag_note(s->lint->diags, whole,
                  "rules: there are more than %d IDs: they were not searched for slips",
                  (int)IDS_MAX);
    }
    if (s->left_out > 0) {
        diag_note(s->lint->diags, whole, "rules: %zu more IDs are one letter away from another",
                  s->left_out);
    }
    if (s->compared >= COMPARED_MAX) {
        diag_note(s->lint->diags, whole,
                  "rules: too many IDs are alike: not all pairs were searched for slips");
    }
}

void lint_slips(struct lint *lint)
{
    struct slips s = {.lint = lint};
    collect(&s);
    bool skipped = s.count > IDS_MAX || s.bytes > BYTES_MAX;
    if (!skipped) {
        find_variants(&s);
        compare_all(&s);
    }
    tell_what_is_missing(&s, skipped);
    mem_free(s.ids);
    mem_free(s.by_text);
    mem_free(s.variants);
}
