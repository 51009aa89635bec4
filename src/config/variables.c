/*
 * First the table of variables, sorted by name: those of the file, over them those of the command
 * line. Then one pass over all strings that hold IDs; nearly all of them are seen to have no "$"
 * and are left as they are. What a variable's value must look like is checked where it is given,
 * once; uses of a bad one are dropped without another word.
 */
#include "config/variables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "config/decode.h"
#include "config/field_table.h"
#include "config/scalar.h"
#include "config/suggest.h"
#include "decode_private.h"

#define SCHEME "spiffe://"
#define OPEN   "${"

enum { TRUST_DOMAIN_MAX = 255, WHERE_SIZE = 160 };

struct variable {
    const char *name;
    const char *value;
    struct config_pos pos; /* line 0: of the command line */
    bool is_option;
    bool good; /* the value is a trust domain */
    bool used;
};

struct expander {
    struct config *config;
    struct diag_list *diags;
    struct variable *items; /* by name */
    size_t count;
};

enum { NO_INDEX = -1 };

/* Where a string stands, for messages: "rules[2].from[0]", "groups.web[1]". */
struct where {
    const char *section;
    long index;       /* in the section, or NO_INDEX */
    const char *name; /* of a group, or NULL */
    const char *key;  /* or NULL */
    long inner;       /* in its list, or NO_INDEX */
};

/* --- the table ------------------------------------------------------------------------------- */

/* Why the value is no trust domain; NULL: it is one. SPIFFE-ID 2.1 and 2.3; spiffe/ knows more, and
   judges what comes of it. */
static const char *check_value(const char *value)
{
    size_t len = strlen(value);
    if (strncmp(value, SCHEME, strlen(SCHEME)) == 0) {
        return "write the trust domain alone, without " SCHEME;
    }
    if (strchr(value, '$') != NULL) {
        return "write the trust domain itself; a variable is not made of another";
    }
    if (len == 0 || len > TRUST_DOMAIN_MAX ||
        strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789._-") != len) {
        return "must be a trust domain: 1 to 255 of a-z, 0-9, \".\", \"-\" and \"_\"";
    }
    return NULL;
}

static void add_of_file(struct expander *e, const struct config_variable *variable)
{
    const char *value = variable->value.text;
    const char *why = value == NULL ? NULL : check_value(value);
    if (why != NULL) {
        diag_error(e->diags, variable->value.pos, "variables.%s: \"%s\": %s", variable->name.text,
                   value, why);
    }
    e->items[e->count++] = (struct variable){.name = variable->name.text,
                                             .value = value,
                                             .pos = variable->name.pos,
                                             .good = value != NULL && why == NULL};
}

static void add_option(struct expander *e, const struct config_variable_value *option)
{
    struct config_pos whole = {e->config->first_file, 0, 0};
    const char *why = check_value(option->value);
    if (why != NULL) {
        diag_error(e->diags, whole, "--var %s: \"%s\": %s", option->name, option->value, why);
    }
    for (size_t i = 0; i < e->config->variable_count; i++) {
        if (strcmp(e->items[i].name, option->name) == 0) {
            e->items[i].value = option->value;
            e->items[i].good = why == NULL;
            return;
        }
    }
    e->items[e->count++] = (struct variable){.name = option->name,
                                             .value = option->value,
                                             .pos = whole,
                                             .is_option = true,
                                             .good = why == NULL};
}

static int compare_variables(const void *a, const void *b)
{
    return strcmp(((const struct variable *)a)->name, ((const struct variable *)b)->name);
}

static void make_table(struct expander *e, const struct config_options *options)
{
    size_t more = options == NULL ? 0 : options->variable_count;
    e->items = mem_alloc_array(e->config->variable_count + more, sizeof(*e->items));
    for (size_t i = 0; i < e->config->variable_count; i++) {
        add_of_file(e, &e->config->variables[i]);
    }
    for (size_t i = 0; i < more; i++) {
        add_option(e, &options->variables[i]);
    }
    if (e->count > 1) {
        qsort(e->items, e->count, sizeof(*e->items), compare_variables);
    }
}

static struct variable *find(const struct expander *e, const char *name)
{
    struct variable wanted = {.name = name};
    return e->count == 0
               ? NULL
               : bsearch(&wanted, e->items, e->count, sizeof(*e->items), compare_variables);
}

/* Of these files; the list may have told about others before. */
static bool has_errors(const struct expander *e)
{
    for (size_t i = 0; i < e->diags->count; i++) {
        const struct diag *diag = &e->diags->items[i];
        if (diag->severity == DIAG_ERROR && diag->pos.file >= e->config->first_file) {
            return true;
        }
    }
    return false;
}

static void warn_unused(const struct expander *e)
{
    if (has_errors(e)) {
        return; /* what could not be read may use it */
    }
    for (size_t i = 0; i < e->count; i++) {
        const struct variable *variable = &e->items[i];
        if (variable->used) {
            continue;
        }
        if (variable->is_option) {
            diag_warning(e->diags, variable->pos,
                         "--var %s: nothing uses it: there is no \"${%s}\"", variable->name,
                         variable->name);
        } else {
            diag_warning(e->diags, variable->pos,
                         "variables.%s: nothing uses it: there is no \"${%s}\"", variable->name,
                         variable->name);
        }
    }
}

/* --- one string ------------------------------------------------------------------------------ */

static void format_where(const struct where *where, char out[WHERE_SIZE])
{
    char index[24] = "";
    char inner[24] = "";
    if (where->index != NO_INDEX) {
        (void)snprintf(index, sizeof(index), "[%ld]", where->index);
    }
    if (where->inner != NO_INDEX) {
        (void)snprintf(inner, sizeof(inner), "[%ld]", where->inner);
    }
    (void)snprintf(out, WHERE_SIZE, "%s%s%s%s%s%s%s", where->section, index,
                   where->name == NULL ? "" : ".", where->name == NULL ? "" : where->name,
                   where->key == NULL ? "" : ".", where->key == NULL ? "" : where->key, inner);
}

static void report(const struct expander *e, const struct config_string *string,
                   const struct where *where, const char *sentence)
{
    char place[WHERE_SIZE];
    format_where(where, place);
    diag_error(e->diags, string->pos, "%s: \"%s\": %s", place, string->text, sentence);
}

static void report_unknown(const struct expander *e, const struct config_string *string,
                           const struct where *where, const char *name)
{
    char sentence[3 * SCALAR_NAME_MAX + 128];
    struct suggest suggest;
    suggest_init(&suggest, name);
    for (size_t i = 0; i < e->count; i++) {
        suggest_consider(&suggest, e->items[i].name);
    }
    if (suggest.best != NULL) {
        (void)snprintf(sentence, sizeof(sentence),
                       "unknown variable \"%s\"; did you mean \"${%s}\"?", name, suggest.best);
    } else {
        (void)snprintf(sentence, sizeof(sentence),
                       "unknown variable \"%s\"; give its trust domain in `variables` of the main "
                       "file or by --var %s=...",
                       name, name);
    }
    report(e, string, where, sentence);
}

/* What is wrong with the "$" in the text, which is not where one may be. */
static void report_misplaced(const struct expander *e, const struct config_string *string,
                             const struct where *where, const char *before)
{
    const char *dollar = strchr(string->text, '$');
    const char *close = strchr(dollar, '}');
    char sentence[256];
    const char *what = "a variable stands for a whole trust domain and for nothing else";
    if (dollar[1] != '{') {
        what = "\"$\" begins a variable";
    } else if (close == NULL) {
        what = "\"${\" lacks its \"}\"";
    } else if (close == dollar + strlen(OPEN)) {
        what = "\"${}\" lacks the variable's name";
    }
    (void)snprintf(sentence, sizeof(sentence), "%s: write %s${name}%s", what, before,
                   before[0] == '\0' ? "" : "/...");
    report(e, string, where, sentence);
}

/* The name in "${name}" at the beginning of text, and what follows it; NULL: there is none. */
static const char *take_name(const char *text, char name[SCALAR_NAME_MAX + 1])
{
    if (strncmp(text, OPEN, strlen(OPEN)) != 0) {
        return NULL;
    }
    const char *begin = text + strlen(OPEN);
    const char *close = strchr(begin, '}');
    size_t len = close == NULL ? 0 : (size_t)(close - begin);
    if (len == 0 || len > SCALAR_NAME_MAX) {
        return NULL;
    }
    memcpy(name, begin, len);
    name[len] = '\0';
    return close + 1;
}

static void replace(struct config_string *string, const char *before, const char *value,
                    const char *rest)
{
    size_t size = strlen(before) + strlen(value) + strlen(rest) + 1;
    char *text = mem_alloc(size);
    (void)snprintf(text, size, "%s%s%s", before, value, rest);
    mem_free(string->text);
    string->text = text;
}

/* before: what stands in front of a trust domain there. False: it can't be used, which was
   reported here or where the variable is given. */
static bool expand(const struct expander *e, struct config_string *string,
                   const struct where *where, const char *before)
{
    char name[SCALAR_NAME_MAX + 1];
    if (string->text == NULL || strchr(string->text, '$') == NULL) {
        return true;
    }
    bool fits = strncmp(string->text, before, strlen(before)) == 0;
    const char *rest = fits ? take_name(string->text + strlen(before), name) : NULL;
    if (rest == NULL || strchr(rest, '$') != NULL ||
        (rest[0] != '\0' && (rest[0] != '/' || before[0] == '\0'))) {
        report_misplaced(e, string, where, before);
        return false;
    }
    struct variable *variable = find(e, name);
    if (variable == NULL) {
        report_unknown(e, string, where, name);
        return false;
    }
    variable->used = true;
    if (variable->good) {
        replace(string, before, variable->value, rest);
    }
    return variable->good;
}

static bool expand_id(const struct expander *e, struct config_string *string,
                      const struct where *where)
{
    return expand(e, string, where, SCHEME);
}

/* --- all strings ----------------------------------------------------------------------------- */

static void expand_one(const struct expander *e, struct config_string *string,
                       const struct where *where)
{
    if (!expand_id(e, string, where)) {
        decode_string_release(string);
    }
}

/* where->inner is counted in the file of the string: the quarantine is of several. */
static void expand_list(const struct expander *e, struct config_strings *strings,
                        struct where *where)
{
    size_t kept = 0;
    where->inner = NO_INDEX;
    for (size_t i = 0; i < strings->count; i++) {
        bool same_file = i > 0 && strings->items[i].pos.file == strings->items[i - 1].pos.file;
        where->inner = same_file ? where->inner + 1 : 0;
        strings->items[kept] = strings->items[i];
        if (expand_id(e, &strings->items[kept], where)) {
            kept++;
        } else {
            mem_free(strings->items[kept].text);
            strings->broken = true;
        }
    }
    strings->count = kept;
}

/* Two keys may come out as one domain: the second is reported and not used. */
static bool is_new_domain(const struct expander *e, size_t count,
                          const struct config_string *domain)
{
    for (size_t i = 0; i < count; i++) {
        const struct config_string *other = &e->config->trust[i].domain;
        if (strcmp(other->text, domain->text) == 0) {
            diag_error(e->diags, domain->pos,
                       "trust: \"%s\" stands on line %u already; a trust domain has one bundle",
                       domain->text, other->pos.line);
            return false;
        }
    }
    return true;
}

static void expand_trust(const struct expander *e)
{
    struct config *config = e->config;
    const struct where where = {.section = "trust", .index = NO_INDEX, .inner = NO_INDEX};
    const struct field *field = field_table_find(field_table_root(), "trust");
    ASSERT(field != NULL);
    size_t kept = 0;
    for (size_t i = 0; i < config->trust_count; i++) {
        config->trust[kept] = config->trust[i];
        if (expand(e, &config->trust[kept].domain, &where, "") &&
            (e->count == 0 || is_new_domain(e, kept, &config->trust[kept].domain))) {
            kept++;
        } else {
            decode_release(field->table, &config->trust[kept]);
            decode_string_release(&config->trust[kept].domain);
        }
    }
    config->trust_count = kept;
}

static void expand_rules(const struct expander *e)
{
    struct config *config = e->config;
    size_t shown = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        shown = config_rule_index(config, i, shown);
        struct where where = {.section = "rules", .index = (long)shown, .key = "from"};
        expand_list(e, &config->rules[i].from, &where);
    }
}

static void expand_tests(const struct expander *e)
{
    struct config *config = e->config;
    size_t shown = 0;
    for (size_t i = 0; i < config->test_count; i++) {
        shown = config_test_index(config, i, shown);
        struct where where = {
            .section = "tests", .index = (long)shown, .key = "from", .inner = NO_INDEX};
        expand_one(e, &config->tests[i].from, &where);
    }
}

static void expand_lists(const struct expander *e)
{
    struct config *config = e->config;
    for (size_t i = 0; i < config->listener_count; i++) {
        struct where where = {.section = "listeners", .index = (long)i, .key = "expect"};
        expand_list(e, &config->listeners[i].expect, &where);
    }
    for (size_t i = 0; i < config->group_count; i++) {
        struct where where = {
            .section = "groups", .index = NO_INDEX, .name = config->groups[i].name.text};
        expand_list(e, &config->groups[i].members, &where);
    }
    struct where where = {.section = "quarantine", .index = NO_INDEX};
    expand_list(e, &config->quarantine, &where);
}

void variables_expand(struct config *config, const struct config_options *options,
                      struct diag_list *diags)
{
    struct expander e = {.config = config, .diags = diags};
    const struct where pin = {
        .section = "identity", .index = NO_INDEX, .key = "spiffe_id", .inner = NO_INDEX};
    make_table(&e, options);
    expand_one(&e, &config->identity.spiffe_id, &pin);
    expand_trust(&e);
    expand_lists(&e);
    expand_rules(&e);
    expand_tests(&e);
    warn_unused(&e);
    mem_free(e.items);
}

/* --- the command line ------------------------------------------------------------------------ */

int variables_option_parse(const char *text, struct variables_option *option, struct errbuf *err)
{
    const char *equals = strchr(text, '=');
    size_t len = equals == NULL ? 0 : (size_t)(equals - text);
    if (equals == NULL) {
        errbuf_set(err, "\"%s\": must be NAME=VALUE, such as domain=prod.example", text);
        return -1;
    }
    if (len < sizeof(option->name)) {
        memcpy(option->name, text, len);
        option->name[len] = '\0';
    }
    if (len >= sizeof(option->name) || !scalar_is_name(option->name, SCALAR_NAME_MAX)) {
        errbuf_set(err,
                   "\"%.*s\": the name must be 1 to 63 of a-z, 0-9, \".\", \"_\" and \"-\", a "
                   "letter or digit first",
                   (int)len, text);
        return -1;
    }
    option->value = equals + 1;
    return 0;
}
