/*
 * The line in question is looked at again as text: what libyaml calls "did not find expected ','
 * or ']'" is nearly always an address with brackets that wants quotes.
 */
#include "config/yaml_problem.h"

#include <string.h>

#include <yaml.h>

#include "base/utf8.h"

static void report(const struct yaml_source *source, size_t line, size_t column,
                   const char *message)
{
    struct config_pos pos = {source->file, (uint32_t)line + 1, (uint32_t)column + 1};
    diag_error(source->diags, pos, "%s", message);
}

/* Line and column, both from 0, of the byte at offset. */
static void locate(const struct yaml_source *source, size_t offset, size_t *line, size_t *column)
{
    *line = 0;
    *column = 0;
    for (size_t i = 0; i < offset && i < source->len; i++) {
        unsigned char c = (unsigned char)source->text[i];
        if (c == '\n') {
            (*line)++;
            *column = 0;
        } else if ((c & 0xc0) != 0x80) {
            (*column)++;
        }
    }
}

static void report_bad_byte(const struct yaml_source *source, size_t offset)
{
    size_t line = 0;
    size_t column = 0;
    locate(source, offset, &line, &column);
    struct config_pos pos = {source->file, (uint32_t)line + 1, (uint32_t)column + 1};
    diag_error(source->diags, pos, "the file must be UTF-8; byte 0x%02x is not",
               (unsigned)(unsigned char)source->text[offset]);
}

bool yaml_source_check_encoding(struct yaml_source *source)
{
    const unsigned char *p = (const unsigned char *)source->text;
    size_t len = source->len;
    if (len >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff))) {
        report(source, 0, 0, "the file must be UTF-8; this is UTF-16 or UTF-32");
        return false;
    }
    if (len >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) {
        source->text += 3;
        source->len -= 3;
    }
    size_t at = 0;
    while (at < source->len) {
        if (source->text[at] >= ' ' && source->text[at] <= '~') {
            at++; /* almost every byte is one of these */
            continue;
        }
        uint32_t code = 0;
        size_t step = utf8_decode(source->text + at, source->len - at, &code);
        if (step == 0) {
            report_bad_byte(source, at);
            return false;
        }
        at += step;
    }
    return true;
}

/* The line (from 0) without its end; it stays in the source. */
static const char *find_line(const struct yaml_source *source, size_t line, size_t *len)
{
    const char *at = source->text;
    size_t left = source->len;
    while (line > 0) {
        const char *end = left == 0 ? NULL : memchr(at, '\n', left);
        if (end == NULL) {
            *len = 0;
            return source->text;
        }
        left -= (size_t)(end + 1 - at);
        at = end + 1;
        line--;
    }
    const char *end = left == 0 ? NULL : memchr(at, '\n', left);
    *len = end == NULL ? left : (size_t)(end - at);
    return at;
}

static char char_at(const struct yaml_source *source, const yaml_mark_t *mark)
{
    size_t len = 0;
    const char *line = find_line(source, mark->line, &len);
    size_t column = 0;
    for (size_t i = 0; i < len; i++) {
        if (((unsigned char)line[i] & 0xc0) == 0x80) {
            continue;
        }
        if (column++ == mark->column) {
            return line[i];
        }
    }
    return '\0';
}

static bool line_has(const struct yaml_source *source, const yaml_mark_t *mark, const char *part)
{
    size_t len = 0;
    const char *line = find_line(source, mark->line, &len);
    return len > 0 && memmem(line, len, part, strlen(part)) != NULL;
}

static bool is_text(const char *text, const char *expected)
{
    return text != NULL && strcmp(text, expected) == 0;
}

static void report_reader_error(const struct yaml_source *source, const yaml_parser_t *parser)
{
    size_t line = 0;
    size_t column = 0;
    locate(source, parser->problem_offset, &line, &column);
    struct config_pos pos = {source->file, (uint32_t)line + 1, (uint32_t)column + 1};
    diag_error(source->diags, pos, "the character U+%04X is not allowed in YAML",
               (unsigned)parser->problem_value);
}

/* A sentence for what people do write; NULL: libyaml's own words are as good as ours. */
static const char *translate(const struct yaml_source *source, const yaml_parser_t *parser)
{
    if (is_text(parser->context, "while scanning an alias")) {
        return "\"*\" must be quoted";
    }
    if (is_text(parser->context, "while scanning an anchor")) {
        return "\"&\" must be quoted";
    }
    bool in_flow = parser->context != NULL && strstr(parser->context, "flow") != NULL;
    if ((in_flow || parser->flow_level > 0) && line_has(source, &parser->problem_mark, "://[")) {
        return "quote an address with brackets inside [ ] or { }: \"mtls://[::1]:8443\"";
    }
    if ((in_flow || parser->flow_level > 0) && line_has(source, &parser->problem_mark, "${")) {
        return "quote what holds a variable inside [ ] or { }: \"spiffe://${name}/...\"";
    }
    if (is_text(parser->problem, "found character that cannot start any token")) {
        switch (char_at(source, &parser->problem_mark)) {
        case '\t':
            return "a tab can't indent; use spaces";
        case '@':
            return "a value that starts with \"@\" must be quoted";
        case '`':
            return "a value that starts with \"`\" must be quoted";
        case '%':
            return "a value that starts with \"%\" must be quoted";
        }
    }
    if (is_text(parser->problem, "found a tab character that violates indentation")) {
        return "a tab can't indent; use spaces";
    }
    if (is_text(parser->problem, "did not find expected key")) {
        return "a key of the map above is expected here; check the indentation and the brackets";
    }
    if (is_text(parser->problem, "did not find expected '-' indicator")) {
        return "an entry of the list above (\"- \") is expected here; check the indentation";
    }
    if (is_text(parser->problem, "did not find expected <document start>")) {
        return "the map or list above is complete; check the indentation and the brackets";
    }
    if (is_text(parser->problem, "mapping values are not allowed in this context")) {
        return "\": \" is not allowed here; quote a value that holds it, or check the indentation";
    }
    return NULL;
}

/* How many characters the line that the mark stands in begins with before its first word. */
static size_t indentation(const struct yaml_source *source, const yaml_mark_t *mark)
{
    size_t len = 0;
    size_t at = 0;
    const char *line = find_line(source, mark->line, &len);
    while (at < len && line[at] == ' ') {
        at++;
    }
    return at;
}

/* Whether the mark is the ":" of a key with which its line begins. */
static bool ends_first_key(const struct yaml_source *source, const yaml_mark_t *mark)
{
    size_t len = 0;
    const char *line = find_line(source, mark->line, &len);
    size_t at = indentation(source, mark);
    size_t begin = at;
    while (at < len && strchr(" \t:#'\"[]{},", line[at]) == NULL) {
        at++;
    }
    return at > begin && at == mark->column && at < len && line[at] == ':';
}

/* The last line before this one that says anything; false: there is none. */
static bool find_line_above(const struct yaml_source *source, size_t line, size_t *above)
{
    while (line-- > 0) {
        size_t len = 0;
        const char *text = find_line(source, line, &len);
        size_t at = 0;
        while (at < len && strchr(" \t\r", text[at]) != NULL) {
            at++;
        }
        if (at < len && text[at] != '#') {
            *above = line;
            return true;
        }
    }
    return false;
}

/* "name:orders" is one word to YAML, and so is "-name". Then the next key has nowhere to stand.
   False: the line above is not written so. */
static bool report_missing_space(const struct yaml_source *source, size_t line)
{
    size_t above = 0;
    if (!find_line_above(source, line, &above)) {
        return false;
    }
    size_t len = 0;
    const char *text = find_line(source, above, &len);
    size_t at = 0;
    while (at < len && text[at] == ' ') {
        at++;
    }
    if (at + 1 < len && text[at] == '-' && text[at + 1] != ' ' && text[at + 1] != '-') {
        report(source, above, at, "write a space behind the \"-\" of a list entry");
        return true;
    }
    if (at + 1 < len && text[at] == '-') {
        at += 2;
    }
    while (at < len && strchr(" \t\r:#'\"[]{},", text[at]) == NULL) {
        at++;
    }
    bool is_word = at + 1 < len && text[at] == ':' && strchr(" \t\r/", text[at + 1]) == NULL;
    if (is_word) {
        report(source, above, at, "write a space behind the \":\" of a key");
    }
    return is_word;
}

/* What is indented otherwise than its neighbours. False: the problem is another one. */
static bool report_indentation(const struct yaml_source *source, const yaml_parser_t *parser)
{
    const yaml_mark_t *mark = &parser->problem_mark;
    const yaml_mark_t *map = &parser->context_mark;
    size_t by = indentation(source, mark);
    struct config_pos pos = {source->file, (uint32_t)mark->line + 1, (uint32_t)by + 1};
    if (is_text(parser->problem, "mapping values are not allowed in this context")) {
        if (!ends_first_key(source, mark)) {
            return false;
        }
        if (report_missing_space(source, mark->line)) {
            return true;
        }
        diag_error(source->diags, pos,
                   "this key is indented by %zu, which makes it part of the value above; "
                   "indent it as its neighbours are",
                   by);
        return true;
    }
    bool at_key = is_text(parser->problem, "did not find expected key") && mark->column == by &&
                  by != map->column &&
                  strcmp(parser->context, "while parsing a block mapping") == 0;
    if (at_key && !report_missing_space(source, mark->line)) {
        diag_error(source->diags, pos,
                   "this is indented by %zu, but the keys of the map that begins in line %zu are "
                   "by %zu; check the indentation",
                   by, map->line + 1, map->column);
    }
    return at_key;
}

/* What begins somewhere and does not end. False: the problem is another one. */
static bool report_unfinished(const struct yaml_source *source, const yaml_parser_t *parser)
{
    const yaml_mark_t *mark = &parser->problem_mark;
    const yaml_mark_t *start = &parser->context_mark;
    bool list = is_text(parser->problem, "did not find expected ',' or ']'");
    if (list || is_text(parser->problem, "did not find expected ',' or '}'")) {
        struct config_pos pos = {source->file, (uint32_t)mark->line + 1,
                                 (uint32_t)mark->column + 1};
        diag_error(source->diags, pos,
                   "\",\" or \"%s\" is expected here; the \"%s\" that is still open stands in line "
                   "%zu, column %zu",
                   list ? "]" : "}", list ? "[" : "{", start->line + 1, start->column + 1);
        return true;
    }
    if (is_text(parser->context, "while scanning a quoted scalar") &&
        is_text(parser->problem, "found unexpected end of stream")) {
        report(source, start->line, start->column, "the quote that begins here is not closed");
        return true;
    }
    if (is_text(parser->context, "while scanning a simple key")) {
        report(source, start->line, start->column, "a key needs a \":\" and a space behind it");
        return true;
    }
    return false;
}

void yaml_problem_report(const struct yaml_source *source, const yaml_parser_t *parser)
{
    if (parser->error == YAML_READER_ERROR) {
        report_reader_error(source, parser);
        return;
    }
    if (report_indentation(source, parser)) {
        return;
    }
    const yaml_mark_t *mark = &parser->problem_mark;
    const char *sentence = translate(source, parser);
    if (sentence == NULL && report_unfinished(source, parser)) {
        return;
    }
    if (sentence != NULL) {
        bool at_start = parser->context != NULL && strstr(parser->context, "scanning an a") != NULL;
        mark = at_start ? &parser->context_mark : mark;
        report(source, mark->line, mark->column, sentence);
        return;
    }
    struct config_pos pos = {source->file, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1};
    const char *problem = parser->problem != NULL ? parser->problem : "out of memory";
    if (parser->context != NULL) {
        diag_error(source->diags, pos, "%s, %s", parser->context, problem);
    } else {
        diag_error(source->diags, pos, "%s", problem);
    }
}
