/* YAML as a tree: places, and everything that YAML allows and a configuration does not. */
#include "config/yaml_doc.h"

#include <stdlib.h>

#include "unit/config/config_test.h"

struct parsed {
    struct diag_list diags;
    struct yaml_node *root;
};

static void parse_bytes(struct parsed *parsed, const char *text, size_t len)
{
    diag_list_init(&parsed->diags);
    uint32_t file = diag_add_file(&parsed->diags, "f");
    parsed->root = yaml_doc_parse(text, len, file, &parsed->diags);
}

static void parsed_fini(struct parsed *parsed)
{
    yaml_node_free(parsed->root);
    diag_list_fini(&parsed->diags);
}

struct row {
    const char *text;
    bool has_tree;
    const char *wanted[WANTED_MAX];
};

static void assert_row(const struct row *row, size_t len)
{
    struct parsed parsed;
    print_message("--\n%s\n", row->text);
    parse_bytes(&parsed, row->text, len);
    assert_diags(&parsed.diags, row->wanted);
    assert_int_equal(parsed.root != NULL, row->has_tree);
    parsed_fini(&parsed);
}

static void assert_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_row(&rows[i], strlen(rows[i].text));
    }
}

static void assert_place(const struct yaml_node *node, uint32_t line, uint32_t column)
{
    assert_non_null(node);
    assert_int_equal(node->line, line);
    assert_int_equal(node->column, column);
}

/* Columns count characters, not bytes, and a byte order mark is none. */
static void test_yaml_doc_knows_places(void **state)
{
    (void)state;
    static const char text[] = "\xef\xbb\xbf# head\n"
                               "a: 1\n"
                               "list:\n"
                               "  - x\n"
                               "  - \"\xc3\xa4\xe2\x82\xac\": [y, 'z']\r\n"
                               "    w: |\n"
                               "      block\n";
    struct parsed parsed;
    parse_bytes(&parsed, text, sizeof text - 1);
    assert_int_equal(parsed.diags.count, 0);
    assert_place(parsed.root, 2, 1);
    assert_place(yaml_node_find(parsed.root, "a"), 2, 4);
    const struct yaml_node *list = yaml_node_find(parsed.root, "list");
    assert_place(list, 4, 3);
    assert_int_equal(list->kind, YAML_KIND_LIST);
    assert_int_equal(list->count, 2);
    assert_place(list->u.items[0], 4, 5);
    const struct yaml_node *map = list->u.items[1];
    assert_place(map, 5, 5);
    const struct yaml_node *flow = yaml_node_find(map, "\xc3\xa4\xe2\x82\xac");
    assert_place(flow, 5, 11);
    assert_place(flow->u.items[1], 5, 15);
    assert_true(flow->u.items[0]->plain);
    assert_false(flow->u.items[1]->plain);
    assert_false(yaml_node_find(map, "w")->plain);
    assert_string_equal(yaml_node_find(map, "w")->u.text, "block\n");
    assert_null(yaml_node_find(map, "v"));
    assert_null(yaml_node_find(list, "a"));
    assert_null(yaml_node_find(NULL, "a"));
    parsed_fini(&parsed);
}

static void test_yaml_doc_types_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {"yes",        "off",  "010", "1e3",
                                        "2001-01-01", "0x10", "~x",  "12:30"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        struct parsed parsed;
        parse_bytes(&parsed, words[i], strlen(words[i]));
        assert_int_equal(parsed.root->kind, YAML_KIND_SCALAR);
        assert_string_equal(parsed.root->u.text, words[i]);
        assert_int_equal(parsed.root->count, strlen(words[i]));
        assert_false(yaml_node_is_null(parsed.root));
        parsed_fini(&parsed);
    }
}

static void test_yaml_doc_knows_null(void **state)
{
    (void)state;
    static const char text[] = "[~, null, Null, NULL, '', \"null\", '~', nULL, {a: }]";
    struct parsed parsed;
    parse_bytes(&parsed, text, sizeof text - 1);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(yaml_node_is_null(parsed.root->u.items[i]), i < 4);
    }
    assert_true(yaml_node_is_null(yaml_node_find(parsed.root->u.items[8], "a")));
    assert_false(yaml_node_is_null(parsed.root));
    parsed_fini(&parsed);
}

static void test_yaml_doc_empty_is_no_tree_and_no_error(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", false, {NULL}},      {" \n\n", false, {NULL}}, {"# only a comment\n", false, {NULL}},
        {"---\n", false, {NULL}}, {"~\n", false, {NULL}},   {"\xef\xbb\xbf", false, {NULL}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

/* These leave a tree, so that the rest is looked at. */
static void test_yaml_doc_refuses_what_yaml_allows(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a: &x 1\nb: *x\n", true, {"f:1:4: error: anchors", "f:2:4: error: aliases"}},
        {"a: &x {b: *x}\n", true, {"f:1:4: error: anchors", "f:1:11: error: aliases"}},
        {"a: &x [*x, *y]\n",
         true,
         {"f:1:4: error: anchors", "f:1:8: error: aliases", "f:1:12: error: aliases"}},
        {"&x a: 1\n", true, {"f:1:1: error: anchors"}},
        {"*x : 1\n", true, {"f:1:1: error: aliases"}},
        {"a: !!int 1\n", true, {"f:1:4: error: tags"}},
        {"a: !secret x\n", true, {"f:1:4: error: tags"}},
        {"a: !!set {x}\n", true, {"f:1:4: error: tags"}},
        {"!x [1]\n", true, {"f:1:1: error: tags"}},
        {"a: ! x\n", true, {"f:1:4: error: tags"}},
        {"%YAML 1.1\n---\na: 1\n", true, {"f:1:1: error: directives"}},
        {"%TAG ! tag:x,2000:\n---\na: 1\n", true, {"f:1:1: error: directives"}},
        {"a: {b: 1}\n<<: {c: 2}\n", true, {"f:2:1: error: merge keys"}},
        {"[a]: 1\nb: 2\n", true, {"f:1:1: error: a key must be a word"}},
        {"? {a: 1}\n: 2\n", true, {"f:1:3: error: a key must be a word"}},
        {"a: 1\nb: 2\na: 3\n'a': 4\n",
         true,
         {"f:3:1: error: duplicate key \"a\": it stands on line 1 already",
          "f:4:1: error: duplicate key \"a\": it stands on line 1 already"}},
        {"x: {a: 1, a: {b: 1}}\n", true, {"f:1:11: error: duplicate key \"a\""}},
        {"? \n: 1\n'': 3\n", true, {"f:3:1: error: duplicate key \"\""}},
        {"a: \"x\\0y\"\n", true, {"f:1:4: error: a value must not hold a NUL byte"}},
        {"\"x\\0y\": 1\n", true, {"f:1:1: error: a value must not hold a NUL byte"}},
        {"a: 1\n---\nb: *x\n", true, {"f:2:1: error: a second document"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

/* A quoted << or ! is text like any other. */
static void test_yaml_doc_takes_quoted_signs(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"'<<': 1\n", true, {NULL}},
        {"a: '&x'\nb: \"*x\"\nc: '!x'\n", true, {NULL}},
        {"a: x&y*z!\n", true, {NULL}},
        {"---\na: 1\n...\n", true, {NULL}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_yaml_doc_says_where_syntax_is_wrong(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a: [*]\n", false, {"f:1:5: error: \"*\" must be quoted"}},
        {"a: [& ]\n", false, {"f:1:5: error: \"&\" must be quoted"}},
        {"a:\n\tb: 1\n", false, {"f:2:1: error: a tab can't indent; use spaces"}},
        {"a: @x\n", false, {"f:1:4: error: a value that starts with \"@\" must be quoted"}},
        {"a: `x\n", false, {"f:1:4: error: a value that starts with \"`\" must be quoted"}},
        {"a: %x\n", false, {"f:1:4: error: a value that starts with \"%\" must be quoted"}},
        {"a: b: c\n", false, {"f:1:5: error: \": \" is not allowed here"}},
        {"a: {b: mtls://[::1]:8443}\n", false, {"f:1:15: error: quote an address with brackets"}},
        {"a: [tcp://[::1]:80]\n", false, {"f:1:"}},
        {"a: [1\n",
         false,
         {"f:2:1: error: \",\" or \"]\" is expected here; the \"[\" that is still open stands in "
          "line 1, column 4"}},
        {"a: {b: 1\nc: [2]\n",
         false,
         {"f:2:2: error: \",\" or \"}\" is expected here; the \"{\" that is still open stands in "
          "line 1, column 4"}},
        {"a: 'x\n", false, {"f:1:4: error: the quote that begins here is not closed"}},
        {"b: 1\na: \"x\nc: 2\n", false, {"f:2:4: error: the quote that begins here"}},
        {"b: 1\na 2\nc: 3\n", false, {"f:2:1: error: a key needs a \":\" and a space behind it"}},
        {"- a:1\n  b: 2\n", false, {"f:1:4: error: write a space behind the \":\" of a key"}},
        {"x:\n  a:1\n  # why\n\n  b: 2\n", false, {"f:2:4: error: write a space behind the \":\""}},
        {"x:\n  -a: 1\n    b: 2\n",
         false,
         {"f:2:3: error: write a space behind the \"-\" of a list entry"}},
        {"x:\n  - spiffe://a/b\n    b: 2\n", false, {"f:3:5: error: this key is indented by 4"}},
        {"x:\n  - 'a:1'\n    b: 2\n", false, {"f:3:5: error: an entry of the list above"}},
        {"x:\n  - b\n    a: 2\n", false, {"f:3:5: error: this key is indented by 4"}},
        {"x: -1\n  a: 2\n", false, {"f:2:3: error: this key is indented by 2"}},
        {"x: y:1\n  a: 2\n", false, {"f:2:3: error: this key is indented by 2"}},
        {"a: 1\n b: 2\n", false, {"f:2:2: error: this key is indented by 1, which makes it part"}},
        {"a:\n  b: 1\n   c: 2\n", false, {"f:3:4: error: this key is indented by 3"}},
        {"a:\n  b: []\n   c: 2\n",
         false,
         {"f:3:4: error: this is indented by 3, but the keys of the map that begins in line 2 are "
          "by 2"}},
        {"a:\n    b: 1\n  c: 2\n",
         false,
         {"f:3:3: error: this is indented by 2, but the keys of the map that begins in line 1 are "
          "by 0"}},
        {"a: 1\n 'b': 2\n", false, {"f:2:5: error: \": \" is not allowed here"}},
        {"}", false, {"f:1:1: error: "}},
        {"a: 1\n}\n", false, {"f:2:1: error: a key of the map above is expected here"}},
        {"a: 1\n- b\n", false, {"f:2:1: error: a key of the map above is expected here"}},
        {"a:\n  - b\n  c: 1\n", false, {"f:3:3: error: an entry of the list above"}},
        {"a: 1\n...\nb: 2\n", false, {"f:3:1: error: the map or list above is complete"}},
        {"  a: 1\nb: 2\n", false, {"f:2:1: error: the map or list above is complete"}},
        {"a: 1\n---\n]\n", true, {"f:2:1: error: a second document"}},
        {"a: \x07\n", false, {"f:1:4: error: the character U+0007 is not allowed in YAML"}},
        {"\xc3\xa4: \x7f\n", false, {"f:1:4: error: the character U+007F is not allowed in YAML"}},
        {"a: \"\\x\"\n", false, {"f:1:"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_yaml_doc_wants_utf8(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a: \xff\n", false, {"f:1:4: error: the file must be UTF-8; byte 0xff is not"}},
        {"\xc3\xa4: 1\n b: \xc0\xaf\n", false, {"f:2:5: error: the file must be UTF-8; byte 0xc0"}},
        {"a: \xed\xa0\x80\n", false, {"f:1:4: error: the file must be UTF-8; byte 0xed"}},
        {"a: \xf4\x90\x80\x80\n", false, {"f:1:4: error: the file must be UTF-8; byte 0xf4"}},
        {"a: \xc3", false, {"f:1:4: error: the file must be UTF-8; byte 0xc3"}},
        {"\xff\xfe"
         "a",
         false,
         {"f:1:1: error: the file must be UTF-8; this is UTF-16"}},
        {"\xfe\xff", false, {"f:1:1: error: the file must be UTF-8; this is UTF-16"}},
    };
    assert_rows(rows, COUNT_OF(rows));
    static const struct row nul = {
        "a: x\0y\n", false, {"f:1:5: error: the character U+0000 is not allowed in YAML"}};
    assert_row(&nul, 7);
    static const struct row wide = {"a\0:\0 \0b\0", false, {"f:1:2: error: the character U+0000"}};
    assert_row(&wide, 8);
}

static void assert_depth(unsigned depth, const char *opening, bool allowed)
{
    size_t each = strlen(opening);
    char *text = calloc(1, depth * each + 1);
    assert_non_null(text);
    for (unsigned i = 0; i < depth; i++) {
        memcpy(text + i * each, opening, each);
    }
    struct parsed parsed;
    parse_bytes(&parsed, text, depth * each);
    /* Nothing closes the brackets: an allowed depth ends at the end of the text. */
    assert_null(parsed.root);
    assert_int_equal(parsed.diags.count, 1);
    bool too_deep = strstr(parsed.diags.items[0].message, "nested deeper than 32") != NULL;
    assert_int_equal(too_deep, !allowed);
    parsed_fini(&parsed);
    free(text);
}

static void test_yaml_doc_bounds_nesting(void **state)
{
    (void)state;
    assert_depth(YAML_DOC_MAX_DEPTH, "[", true);
    assert_depth(YAML_DOC_MAX_DEPTH + 1, "[", false);
    assert_depth(100000, "[", false);
    assert_depth(100000, "{a: ", false);
    assert_depth(100000, "- ", false);
}

/* No square of the number of keys: a million of them are read in seconds, also under valgrind. */
static void test_yaml_doc_reads_very_many_keys(void **state)
{
    (void)state;
    enum { KEYS = 100000, EACH = 10 };
    char *text = malloc(KEYS * EACH + 1);
    assert_non_null(text);
    for (unsigned i = 0; i < KEYS; i++) {
        /* Every key comes twice. */
        (void)snprintf(text + i * EACH, EACH + 1, "k%05u: %u\n", i / 2, i % 2);
    }
    struct parsed parsed;
    parse_bytes(&parsed, text, KEYS * EACH);
    assert_non_null(parsed.root);
    assert_int_equal(parsed.root->count, KEYS / 2);
    assert_int_equal(parsed.diags.error_count, KEYS / 2);
    assert_string_equal(yaml_node_find(parsed.root, "k00007")->u.text, "0");
    parsed_fini(&parsed);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yaml_doc_knows_places),
        cmocka_unit_test(test_yaml_doc_types_nothing),
        cmocka_unit_test(test_yaml_doc_knows_null),
        cmocka_unit_test(test_yaml_doc_empty_is_no_tree_and_no_error),
        cmocka_unit_test(test_yaml_doc_refuses_what_yaml_allows),
        cmocka_unit_test(test_yaml_doc_takes_quoted_signs),
        cmocka_unit_test(test_yaml_doc_says_where_syntax_is_wrong),
        cmocka_unit_test(test_yaml_doc_wants_utf8),
        cmocka_unit_test(test_yaml_doc_bounds_nesting),
        cmocka_unit_test(test_yaml_doc_reads_very_many_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
