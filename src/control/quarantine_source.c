/*
 * A comment begins at `#` where a word could: no entry holds one, so that a `#` inside a word is a
 * mistake and not the end of an entry that would then hold somebody else.
 */
#include "control/quarantine_source.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "config/config.h"
#include "control/material.h"
#include "policy/quarantine.h"

/* A file may be wrong on every one of its lines, and name a wrong trust domain as often. */
enum { TOLD_AT_MOST = 20, SHOWN_MAX = 200 };

/* Entries on their way into a set, and what was said of them. */
struct gathering {
    const struct config *config;
    struct diag_list *diags;
    struct config_pos whole; /* for what concerns no single entry */
    const char **entries;
    size_t count;
    size_t wrong;     /* that can't be understood */
    size_t strangers; /* of trust domains that are not here */
};

static bool is_known_domain(const struct config *config, struct strview domain)
{
    for (size_t i = 0; i < config->trust_count; i++) {
        if (strview_equal(strview_from(config->trust[i].domain.text), domain)) {
            return true;
        }
    }
    return false;
}

static int shown(const char *text)
{
    size_t len = strlen(text);
    return len < SHOWN_MAX ? (int)len : SHOWN_MAX;
}

/* A typing error in it would hold nobody, which nobody would notice. */
static void warn_stranger(struct gathering *g, struct config_pos pos, const char *place,
                          const char *entry, struct strview domain)
{
    /* Without any domain the configuration is broken, and this is not what is wrong with it. */
    if (g->config->trust_count == 0 || is_known_domain(g->config, domain)) {
        return;
    }
    if (g->strangers++ < TOLD_AT_MOST) {
        diag_warning(g->diags, pos,
                     "%s: \"%.*s\": `trust` has no \"%.*s\", so this entry holds nobody", place,
                     shown(entry), entry, (int)domain.len, domain.ptr);
    }
}

/* False when it can't be understood; entry must live until the set is built. */
static bool take(struct gathering *g, struct config_pos pos, const char *place, const char *entry,
                 const char *kept)
{
    struct quarantine_item item;
    const char *why = NULL;
    if (quarantine_item_parse(strview_from(entry), &item, &why) != 0) {
        if (g->wrong++ < TOLD_AT_MOST) {
            diag_error(g->diags, pos, "%s: \"%.*s\": %s%s", place, shown(entry), entry, why, kept);
        }
        return false;
    }
    if (!item.is_certificate) {
        warn_stranger(g, pos, place, entry, item.pattern.trust_domain);
    }
    g->entries[g->count++] = entry;
    return true;
}

static struct quarantine *finish(struct gathering *g)
{
    if (g->wrong > TOLD_AT_MOST) {
        diag_error(g->diags, g->whole, "quarantine: %zu more entries can't be understood",
                   g->wrong - TOLD_AT_MOST);
    }
    if (g->strangers > TOLD_AT_MOST) {
        diag_warning(g->diags, g->whole,
                     "quarantine: %zu more entries are of trust domains that are not in `trust`",
                     g->strangers - TOLD_AT_MOST);
    }
    struct quarantine *set = quarantine_build(g->entries, g->count);
    mem_free(g->entries);
    return set;
}

/* --- in the configuration -------------------------------------------------------------------- */

struct quarantine *quarantine_source_inline(const struct config *config, struct diag_list *diags)
{
    const struct config_strings *list = &config->quarantine;
    struct gathering g = {.config = config, .diags = diags, .whole = {config->first_file, 0, 0}};
    g.entries = mem_alloc_array(list->count, sizeof(*g.entries));
    for (size_t i = 0; i < list->count; i++) {
        const struct config_string *entry = &list->items[i];
        if (entry->text != NULL) {
            (void)take(&g, entry->pos, "quarantine", entry->text, "");
        }
    }
    return finish(&g);
}

/* --- in the file ----------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Ends the line at its comment and without the space around it. Returns where its entry begins. */
static char *trim(char *line, char *end)
{
    char *comment = line;
    while (comment < end && !(*comment == '#' && (comment == line || is_space(comment[-1])))) {
        comment++;
    }
    end = comment;
    while (end > line && is_space(end[-1])) {
        end--;
    }
    while (line < end && is_space(*line)) {
        line++;
    }
    *end = '\0';
    return line;
}

/* Why a line of another format is none of this one. NULL: nothing special about it. */
static const char *foreign(const char *entry)
{
    if (entry[0] == '-' && (entry[1] == ' ' || entry[1] == '\0')) {
        return "one entry alone on each line, without \"-\": this is no YAML";
    }
    if (entry[0] == '"' || entry[0] == '\'') {
        return "one entry alone on each line, without quotes: this is no YAML";
    }
    return NULL;
}

static void take_line(struct gathering *g, struct config_pos pos, char *line, char *end,
                      const char *kept)
{
    /* What a NUL hides would not be read. */
    bool has_nul = memchr(line, '\0', (size_t)(end - line)) != NULL;
    char *entry = trim(line, end);
    pos.column = (uint32_t)(entry - line) + 1;
    const char *why = has_nul ? "a NUL byte in the line" : foreign(entry);
    if (why == NULL && entry[0] != '\0') {
        (void)take(g, pos, "quarantine_file", entry, kept);
    } else if (why != NULL && g->wrong++ < TOLD_AT_MOST) {
        diag_error(g->diags, pos, "quarantine_file: \"%.*s\": %s%s", shown(entry), entry, why,
                   kept);
    }
}

static size_t count_lines(const char *text, size_t len)
{
    size_t count = 1;
    for (size_t i = 0; i < len; i++) {
        count += text[i] == '\n';
    }
    return count;
}

/* Changes the text into its entries, which point into it. */
static void take_text(struct gathering *g, uint32_t file, char *text, size_t len, const char *kept)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    struct config_pos pos = {file, 1, 1};
    char *line = text;
    char *end_of_text = text + len;
    g->whole = (struct config_pos){file, 0, 0};
    g->entries = mem_alloc_array(count_lines(text, len), sizeof(*g->entries));
    if (len >= 3 && memcmp(text, byte_order_mark, 3) == 0) {
        line += 3;
    }
    while (line < end_of_text) {
        char *end = memchr(line, '\n', (size_t)(end_of_text - line));
        end = end == NULL ? end_of_text : end;
        take_line(g, pos, line, end, kept);
        line = end + 1;
        pos.line++;
    }
}

struct quarantine *quarantine_source_file(const struct config *config, const char *kept,
                                          struct diag_list *diags, bool *broken)
{
    const struct config_string *path = &config->quarantine_file;
    struct gathering g = {.config = config, .diags = diags};
    struct errbuf err;
    char *text = NULL;
    size_t len = 0;
    *broken = false;
    if (path->text == NULL) {
        return quarantine_build(NULL, 0);
    }
    if (strstr(path->text, "${") != NULL) {
        *broken = true; /* which the reading of variables has told */
        return NULL;
    }
    if (file_read(path->text, QUARANTINE_FILE_MAX_BYTES, &text, &len, &err) != 0) {
        diag_error(diags, path->pos, "quarantine_file: %s%s", err.text, kept);
        *broken = true;
        return NULL;
    }
    take_text(&g, diag_add_file(diags, path->text), text, len, kept);
    struct quarantine *set = finish(&g);
    mem_free(text);
    *broken = g.wrong > 0;
    return set;
}

/* --- both ------------------------------------------------------------------------------------ */

static size_t copy_entries(const char **to, const struct quarantine *from)
{
    size_t count = quarantine_count(from);
    for (size_t i = 0; i < count; i++) {
        to[i] = quarantine_entry(from, i);
    }
    return count;
}

/* Is each entry of `part`, which is sorted as `whole` is, in `whole`? */
static bool holds(const struct quarantine *whole, const struct quarantine *part)
{
    size_t k = 0;
    size_t count = quarantine_count(whole);
    for (size_t i = 0; i < quarantine_count(part); i++) {
        int order = -1;
        while (k < count &&
               (order = strcmp(quarantine_entry(whole, k), quarantine_entry(part, i))) < 0) {
            k++;
        }
        if (k == count || order != 0) {
            return false;
        }
    }
    return true;
}

struct quarantine *quarantine_source_join(struct quarantine *a, struct quarantine *b)
{
    if (a == NULL || b == NULL) {
        return quarantine_ref(a == NULL ? b : a);
    }
    if (holds(a, b)) {
        return quarantine_ref(a);
    }
    if (holds(b, a)) {
        return quarantine_ref(b);
    }
    const char **entries =
        mem_alloc_array(quarantine_count(a) + quarantine_count(b), sizeof(*entries));
    size_t count = copy_entries(entries, a);
    count += copy_entries(entries + count, b);
    struct quarantine *joined = quarantine_build(entries, count);
    mem_free(entries);
    return joined;
}

/* An empty set for NULL. Takes it over. */
static struct quarantine *or_nobody(struct quarantine *quarantine)
{
    return quarantine == NULL ? quarantine_build(NULL, 0) : quarantine;
}

static struct quarantine *bring_file(const struct material *material, const struct config *config,
                                     struct diag_list *diags)
{
    struct quarantine *former = material->quarantine_file;
    const char *kept = "";
    bool broken = false;
    if (former != NULL) {
        kept = "; what was in force is kept, and what can be understood is added";
    }
    struct quarantine *read = or_nobody(quarantine_source_file(config, kept, diags, &broken));
    if (!broken) {
        return read;
    }
    struct quarantine *joined = quarantine_source_join(former, read);
    quarantine_unref(read);
    return joined;
}

void quarantine_source_bring(struct material *material, const struct config *config,
                             struct quarantine *in_files, bool refused, struct diag_list *diags)
{
    struct quarantine *former = material->quarantine_inline;
    struct quarantine *now = in_files;
    if (in_files == NULL) {
        now = quarantine_ref(former);
    } else if (refused) {
        now = quarantine_source_join(former, in_files);
        quarantine_unref(in_files);
    }
    material_set_quarantine(material, now, bring_file(material, config, diags));
}

struct quarantine *quarantine_source_load(const struct config *config, struct diag_list *diags)
{
    bool broken = false;
    struct quarantine *in_files = quarantine_source_inline(config, diags);
    struct quarantine *in_file = or_nobody(quarantine_source_file(config, "", diags, &broken));
    struct quarantine *both = quarantine_source_join(in_files, in_file);
    quarantine_unref(in_files);
    quarantine_unref(in_file);
    return both;
}
