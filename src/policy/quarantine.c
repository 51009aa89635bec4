/*
 * The entries are sorted by text. Patterns go into an id_matcher, each as a set of its own whose
 * rank is the entry's number; fingerprints into a list sorted by their bytes. A pattern that would
 * break the matcher's bound goes into a list that is compared one by one.
 */
#include "policy/quarantine.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/memory.h"
#include "config/config.h"
#include "policy/id_matcher.h"

struct certificate {
    uint8_t sha256[QUARANTINE_SHA256_SIZE];
    size_t entry;
};

struct loose_pattern {
    struct id_pattern pattern;
    size_t entry;
};

struct quarantine {
    char **entries;
    size_t count;
    struct id_matcher *matcher; /* NULL: could not be frozen, all patterns are loose */
    struct certificate *certificates;
    size_t certificate_count;
    struct loose_pattern *loose;
    size_t loose_count;
    _Atomic unsigned references;
};

/* --- one entry ------------------------------------------------------------------------------- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_sha256(struct strview hex, uint8_t out[QUARANTINE_SHA256_SIZE])
{
    size_t at = 0;
    for (size_t i = 0; i < QUARANTINE_SHA256_SIZE; i++) {
        if (i > 0 && at < hex.len && hex.ptr[at] == ':') {
            at++;
        }
        if (hex.len - at < 2 || hex_value(hex.ptr[at]) < 0 || hex_value(hex.ptr[at + 1]) < 0) {
            return false;
        }
        out[i] = (uint8_t)(hex_value(hex.ptr[at]) * 16 + hex_value(hex.ptr[at + 1]));
        at += 2;
    }
    return at == hex.len;
}

#define A_CERTIFICATE                                                                             \
    "\"sha256:\" and the 64 hexadecimal digits of the SHA-256 of the leaf certificate's DER, as " \
    "`bulkhead svid FILE` prints it"

/* What is no ID is often a fingerprint in other words, or a group. */
static int parse_pattern(struct strview text, struct quarantine_item *item, const char **why)
{
    if (id_pattern_parse(text, &item->pattern, why) == 0) {
        return 0;
    }
    uint8_t digest[QUARANTINE_SHA256_SIZE];
    bool is_sha = text.len > 3 && strncasecmp(text.ptr, "sha", 3) == 0;
    if (is_sha || parse_sha256(text, digest)) {
        *why = "a certificate is written as " A_CERTIFICATE;
    } else if (strview_starts_with(text, CONFIG_GROUP_PREFIX)) {
        *why = "a group has no place here; write its IDs and patterns";
    }
    return -1;
}

int quarantine_item_parse(struct strview text, struct quarantine_item *item, const char **why)
{
    size_t prefix = strlen(QUARANTINE_SHA256_PREFIX);
    *item = (struct quarantine_item){.is_certificate = false};
    if (text.len < prefix || memcmp(text.ptr, QUARANTINE_SHA256_PREFIX, prefix) != 0) {
        return parse_pattern(text, item, why);
    }
    item->is_certificate = true;
    struct strview hex = {.ptr = text.ptr + prefix, .len = text.len - prefix};
    if (!parse_sha256(hex, item->sha256)) {
        *why = "must be " A_CERTIFICATE;
        return -1;
    }
    return 0;
}

/* --- building -------------------------------------------------------------------------------- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_certificates(const void *a, const void *b)
{
    return memcmp(a, b, QUARANTINE_SHA256_SIZE);
}

/* Copies of what can be read, sorted, each once. */
static void take_entries(struct quarantine *quarantine, const char *const *entries, size_t count)
{
    quarantine->entries = mem_alloc_array(count, sizeof(*quarantine->entries));
    size_t taken = 0;
    for (size_t i = 0; i < count; i++) {
        struct quarantine_item item;
        const char *why = NULL;
        if (quarantine_item_parse(strview_from(entries[i]), &item, &why) == 0) {
            quarantine->entries[taken++] = mem_strdup(entries[i]);
        }
    }
    if (taken > 1) {
        qsort(quarantine->entries, taken, sizeof(*quarantine->entries), compare_texts);
    }
    for (size_t i = 0; i < taken; i++) {
        char *text = quarantine->entries[i];
        size_t last = quarantine->count;
        if (last > 0 && strcmp(quarantine->entries[last - 1], text) == 0) {
            mem_free(text);
        } else {
            quarantine->entries[quarantine->count++] = text;
        }
    }
}

static void add_loose(struct quarantine *quarantine, const struct id_pattern *pattern, size_t entry)
{
    quarantine->loose[quarantine->loose_count++] = (struct loose_pattern){*pattern, entry};
}

static void add_pattern(struct quarantine *quarantine, const struct id_pattern *pattern,
                        size_t entry)
{
    uint32_t set = id_matcher_set_new(quarantine->matcher);
    if (!id_matcher_set_add(quarantine->matcher, set, pattern)) {
        add_loose(quarantine, pattern, entry);
        return;
    }
    id_matcher_set_grant(quarantine->matcher, set, ID_MATCHER_KEY_ALL, (uint32_t)entry,
                         ID_EFFECT_DENY, ID_ENDS_NEVER);
}

/* The entries' items; with only_loose all patterns go where they are compared one by one. */
static void compile(struct quarantine *quarantine, bool only_loose)
{
    quarantine->loose_count = 0;
    quarantine->certificate_count = 0;
    for (size_t i = 0; i < quarantine->count; i++) {
        struct quarantine_item item;
        const char *why = NULL;
        int parsed = quarantine_item_parse(strview_from(quarantine->entries[i]), &item, &why);
        ASSERT(parsed == 0);
        if (item.is_certificate) {
            struct certificate *certificate =
                &quarantine->certificates[quarantine->certificate_count++];
            memcpy(certificate->sha256, item.sha256, sizeof(certificate->sha256));
            certificate->entry = i;
        } else if (only_loose) {
            add_loose(quarantine, &item.pattern, i);
        } else {
            add_pattern(quarantine, &item.pattern, i);
        }
    }
}

struct quarantine *quarantine_build(const char *const *entries, size_t count)
{
    struct quarantine *quarantine = mem_alloc(sizeof(*quarantine));
    atomic_init(&quarantine->references, 1);
    take_entries(quarantine, entries, count);
    ASSERT(quarantine->count <= ID_RANK_MAX);
    quarantine->certificates = mem_alloc_array(quarantine->count, sizeof(struct certificate));
    quarantine->loose = mem_alloc_array(quarantine->count, sizeof(struct loose_pattern));
    quarantine->matcher = id_matcher_new();
    compile(quarantine, false);
    if (!id_matcher_freeze(quarantine->matcher)) {
        id_matcher_free(quarantine->matcher);
        quarantine->matcher = NULL;
        compile(quarantine, true);
    }
    if (quarantine->certificate_count > 1) {
        qsort(quarantine->certificates, quarantine->certificate_count,
              sizeof(*quarantine->certificates), compare_certificates);
    }
    return quarantine;
}

struct quarantine *quarantine_ref(struct quarantine *quarantine)
{
    atomic_fetch_add_explicit(&quarantine->references, 1, memory_order_relaxed);
    return quarantine;
}

void quarantine_unref(struct quarantine *quarantine)
{
    if (quarantine == NULL ||
        atomic_fetch_sub_explicit(&quarantine->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    id_matcher_free(quarantine->matcher);
    for (size_t i = 0; i < quarantine->count; i++) {
        mem_free(quarantine->entries[i]);
    }
    mem_free(quarantine->entries);
    mem_free(quarantine->certificates);
    mem_free(quarantine->loose);
    mem_free(quarantine);
}

size_t quarantine_count(const struct quarantine *quarantine)
{
    return quarantine->count;
}

const char *quarantine_entry(const struct quarantine *quarantine, size_t i)
{
    ASSERT(i < quarantine->count);
    return quarantine->entries[i];
}

bool quarantine_same(const struct quarantine *a, const struct quarantine *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->entries[i], b->entries[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* --- asking ---------------------------------------------------------------------------------- */

static const char *find_certificate(const struct quarantine *quarantine, const uint8_t *sha256)
{
    if (sha256 == NULL || quarantine->certificate_count == 0) {
        return NULL;
    }
    const struct certificate *found =
        bsearch(sha256, quarantine->certificates, quarantine->certificate_count,
                sizeof(*quarantine->certificates), compare_certificates);
    return found == NULL ? NULL : quarantine->entries[found->entry];
}

static const char *find_id(const struct quarantine *quarantine, const struct spiffe_id *id)
{
    struct id_match match = {.rank = {[ID_EFFECT_DENY] = ID_RANK_NONE}};
    if (quarantine->matcher != NULL) {
        /* Nothing in it ends: any time will do. */
        id_matcher_match(quarantine->matcher, id, ID_MATCHER_KEY_ALL, 0, &match);
    }
    if (match.rank[ID_EFFECT_DENY] != ID_RANK_NONE) {
        return quarantine->entries[match.rank[ID_EFFECT_DENY]];
    }
    for (size_t i = 0; i < quarantine->loose_count; i++) {
        if (id_pattern_matches(&quarantine->loose[i].pattern, id)) {
            return quarantine->entries[quarantine->loose[i].entry];
        }
    }
    return NULL;
}

const char *quarantine_find(const struct quarantine *quarantine, const struct spiffe_id *id,
                            const uint8_t *leaf_sha256)
{
    if (quarantine == NULL) {
        return NULL;
    }
    const char *entry = find_certificate(quarantine, leaf_sha256);
    return entry != NULL || id == NULL ? entry : find_id(quarantine, id);
}
