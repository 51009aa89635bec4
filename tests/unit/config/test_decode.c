/* Every type of field, right and wrong, by a table of the test's own. */
#include "config/decode.h"

#include "unit/config/config_test.h"

struct item {
    struct config_string key;
    struct config_string name;
    uint64_t count;
    struct config_pos pos;
};

enum colour { RED = 0, GREEN = 7, BLUE };

struct thing {
    struct config_string string;
    struct config_string name;
    struct config_string dns;
    struct config_string word;
    struct config_string account;
    struct config_string path;
    struct config_string output;
    uint64_t duration;
    uint64_t size;
    uint64_t count;
    bool flag;
    struct config_pos flag_pos;
    enum colour colour;
    unsigned set;
    uint32_t mode;
    struct config_time time;
    struct config_address accept;
    struct config_address forward;
    struct config_strings strings;
    struct {
        uint64_t inner;
        uint64_t other;
        struct config_pos pos;
    } part;
    struct item *list;
    size_t list_count;
    struct item *map;
    size_t map_count;
};

#define ROWS(rows) .fields = (rows), .count = COUNT_OF(rows)
#define AT(member) offsetof(struct thing, member)
#define SECONDS(n) ((n)*UINT64_C(1000))

static const struct field_choice colours[] = {
    {"red", RED},
    {"green", GREEN},
    {"blue", BLUE},
    {NULL, 0},
};

static const struct field_choice shapes[] = {
    {"round", 1},
    {"flat", 2},
    {"long", 4},
    {NULL, 0},
};

static const struct field item_fields[] = {
    {.name = "name", .type = FIELD_NAME, .required = true, .offset = offsetof(struct item, name)},
    {.name = "count",
     .type = FIELD_COUNT,
     .max = 100,
     .offset = offsetof(struct item, count),
     .default_text = "5"},
};

static const struct field_table item_table = {
    .title = "list[]",
    ROWS(item_fields),
    .size = sizeof(struct item),
    .key_offset = offsetof(struct item, key),
    .pos_offset = offsetof(struct item, pos),
};

static const struct field part_fields[] = {
    {.name = "inner",
     .type = FIELD_DURATION,
     .offset = AT(part.inner),
     .max = SECONDS(60),
     .default_text = "7s"},
    {.name = "other", .type = FIELD_COUNT, .offset = AT(part.other), .max = 9, .required = true},
};

/* Its offsets are those of struct thing, as for the parts of struct config. */
static const struct field_table part_table = {
    .title = "part",
    ROWS(part_fields),
    .pos_offset = AT(part.pos),
};

static const struct field thing_fields[] = {
    {.name = "version", .type = FIELD_VERSION},
    {.name = "string", .type = FIELD_STRING, .offset = AT(string)},
    {.name = "name", .type = FIELD_NAME, .offset = AT(name)},
    {.name = "dns", .type = FIELD_DNS_NAME, .offset = AT(dns)},
    {.name = "word", .type = FIELD_WORD, .offset = AT(word)},
    {.name = "account", .type = FIELD_ACCOUNT, .offset = AT(account)},
    {.name = "path", .type = FIELD_PATH, .offset = AT(path), .default_text = "default.pem"},
    {.name = "output", .type = FIELD_OUTPUT, .offset = AT(output)},
    {.name = "duration",
     .type = FIELD_DURATION,
     .offset = AT(duration),
     .zero_ok = true,
     .min = SECONDS(1),
     .max = SECONDS(3600)},
    {.name = "size", .type = FIELD_SIZE, .offset = AT(size), .min = 1024, .max = 1 << 20},
    {.name = "count",
     .type = FIELD_COUNT,
     .offset = AT(count),
     .min = 1,
     .max = 10,
     .default_text = "3"},
    {.name = "flag",
     .type = FIELD_BOOL,
     .offset = AT(flag),
     .pos_offset = AT(flag_pos),
     .default_text = "true"},
    {.name = "colour",
     .type = FIELD_CHOICE,
     .offset = AT(colour),
     .choices = colours,
     .default_text = "green"},
    {.name = "set",
     .type = FIELD_SET,
     .offset = AT(set),
     .choices = shapes,
     .default_text = "[flat, long]"},
    {.name = "mode", .type = FIELD_MODE, .offset = AT(mode)},
    {.name = "time", .type = FIELD_TIME, .offset = AT(time)},
    {.name = "accept",
     .type = FIELD_ACCEPT,
     .default_text = "tcp://127.0.0.1:9",
     .offset = AT(accept)},
    {.name = "forward", .type = FIELD_FORWARD, .offset = AT(forward)},
    {.name = "strings",
     .type = FIELD_STRINGS,
     .offset = AT(strings),
     .default_text = "x",
     .max = 3},
    {.name = "part", .type = FIELD_STRUCT, .table = &part_table},
    {.name = "list",
     .type = FIELD_LIST,
     .table = &item_table,
     .offset = AT(list),
     .count_offset = AT(list_count),
     .min = 2},
    {.name = "map",
     .type = FIELD_MAP,
     .table = &item_table,
     .offset = AT(map),
     .count_offset = AT(map_count),
     .min = 1},
};

static const struct field_table thing_table = {
    .title = "",
    ROWS(thing_fields),
    .size = sizeof(struct thing),
    .pos_offset = SIZE_MAX,
};

struct decoded {
    struct diag_list diags;
    struct thing thing;
};

static void decode(struct decoded *decoded, const char *text)
{
    *decoded = (struct decoded){0};
    diag_list_init(&decoded->diags);
    uint32_t file = diag_add_file(&decoded->diags, "f");
    struct yaml_node *root = yaml_doc_parse(text, strlen(text), file, &decoded->diags);
    assert_non_null(root);
    decode_tree(&thing_table, root, file, "/etc", &decoded->diags, &decoded->thing);
    yaml_node_free(root);
}

static void decoded_fini(struct decoded *decoded)
{
    decode_release(&thing_table, &decoded->thing);
    diag_list_fini(&decoded->diags);
}

static void test_decode_starts_from_the_defaults(void **state)
{
    (void)state;
    struct decoded d;
    decode(&d, "{}");
    assert_int_equal(d.diags.count, 0);
    assert_int_equal(d.thing.count, 3);
    assert_true(d.thing.flag);
    assert_string_equal(d.thing.accept.host, "127.0.0.1");
    assert_int_equal(d.thing.colour, GREEN);
    assert_int_equal(d.thing.set, 6);
    assert_int_equal(d.thing.part.inner, 7000);
    assert_string_equal(d.thing.path.text, "/etc/default.pem");
    assert_null(d.thing.string.text);
    assert_null(d.thing.time.text.text);
    assert_int_equal(d.thing.flag_pos.line, 0);
    assert_int_equal(d.thing.strings.pos.line, 0);
    assert_int_equal(d.thing.strings.count, 1);
    assert_string_equal(d.thing.strings.items[0].text, "x");
    assert_int_equal(d.thing.list_count, 0);
    decoded_fini(&d);
}

static void test_decode_fills_every_type(void **state)
{
    (void)state;
    static const char text[] = "version: 1\n"
                               "string: \"x: y\"\n"
                               "name: a.b_c-1\n"
                               "dns: a_b.Example\n"
                               "word: bbr\n"
                               "account: 1000\n"
                               "path: sub/svid.pem\n"
                               "output: ./access.log\n"
                               "duration: 2m\n"
                               "size: 16KiB\n"
                               "count: 10\n"
                               "flag: false\n"
                               "colour: blue\n"
                               "set: [long, round]\n"
                               "mode: \"0660\"\n"
                               "accept: mtls://0.0.0.0:0\n"
                               "forward: unix:///run/a\n"
                               "strings: [a, 'b']\n"
                               "part:\n"
                               "  inner: 1s\n"
                               "  other: 0\n"
                               "list: [{name: a}, {name: b, count: 6}]\n"
                               "map: {k: {name: c}}\n"
                               "time: 2027-01-31T18:00+02:00\n";
    struct decoded d;
    decode(&d, text);
    static const char *const none[WANTED_MAX] = {NULL};
    assert_diags(&d.diags, none);
    const struct thing *t = &d.thing;
    assert_string_equal(t->string.text, "x: y");
    assert_int_equal(t->string.pos.line, 2);
    assert_int_equal(t->string.pos.column, 9);
    assert_string_equal(t->name.text, "a.b_c-1");
    assert_string_equal(t->dns.text, "a_b.Example");
    assert_string_equal(t->word.text, "bbr");
    assert_string_equal(t->account.text, "1000");
    assert_string_equal(t->path.text, "/etc/sub/svid.pem");
    assert_string_equal(t->output.text, "/etc/./access.log");
    assert_int_equal(t->duration, 120000);
    assert_int_equal(t->size, 16384);
    assert_int_equal(t->count, 10);
    assert_false(t->flag);
    assert_int_equal(t->flag_pos.line, 12);
    assert_int_equal(t->flag_pos.column, 7);
    assert_int_equal(t->colour, BLUE);
    assert_int_equal(t->set, 5);
    assert_int_equal(t->mode, 0660);
    assert_int_equal(t->accept.scheme, CONFIG_SCHEME_MTLS);
    assert_string_equal(t->accept.text.text, "mtls://0.0.0.0:0");
    assert_string_equal(t->forward.path, "/run/a");
    assert_int_equal(t->strings.count, 2);
    assert_false(t->strings.broken);
    assert_string_equal(t->strings.items[1].text, "b");
    assert_int_equal(t->strings.items[1].pos.column, 14);
    assert_int_equal(t->part.inner, 1000);
    assert_int_equal(t->part.pos.line, 20);
    assert_string_equal(t->time.text.text, "2027-01-31T18:00+02:00");
    assert_int_equal(t->time.text.pos.line, 24);
    assert_int_equal(t->time.text.pos.column, 7);
    assert_int_equal(t->time.s, 1801411200);
    assert_int_equal(t->list_count, 2);
    assert_int_equal(t->list[0].count, 5);
    assert_int_equal(t->list[1].count, 6);
    assert_int_equal(t->list[1].pos.column, 19);
    assert_int_equal(t->map_count, 1);
    assert_string_equal(t->map[0].key.text, "k");
    assert_string_equal(t->map[0].name.text, "c");
    decoded_fini(&d);
}

struct row {
    const char *text;
    const char *wanted[WANTED_MAX];
};

static void assert_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct decoded d;
        print_message("--\n%s\n", rows[i].text);
        decode(&d, rows[i].text);
        assert_diags(&d.diags, rows[i].wanted);
        decoded_fini(&d);
    }
}

static void test_decode_takes_zero_and_alike(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"duration: 0s", {NULL}},     {"duration: '10s'", {NULL}},
        {"size: '1024'", {NULL}},     {"output: stdout", {NULL}},
        {"output: none", {NULL}},     {"output: /var/log/x", {NULL}},
        {"mode: 660", {NULL}},        {"strings: a", {NULL}},
        {"strings: []", {NULL}},      {"account: www-data", {NULL}},
        {"string: 'true'", {NULL}},   {"string: 1.5", {NULL}},
        {"string: \xc3\xa4", {NULL}}, {"name: '1'", {NULL}},
        {"string: '~'", {NULL}},      {"accept: tcp://[::1]:1", {NULL}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_decode_refuses_unknown_and_missing_keys(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"nmae: a", {"f:1:1: error: unknown key \"nmae\"; did you mean \"name\"?"}},
        {"Name: a", {"f:1:1: error: unknown key \"Name\"; did you mean \"name\"?"}},
        {"qqqq: a", {"f:1:1: error: unknown key \"qqqq\"; the keys here are "}},
        {"'': a", {"f:1:1: error: unknown key \"\""}},
        {"~: a", {"f:1:1: error: unknown key \"~\""}},
        {"part: {othr: 1, other: 2}",
         {"f:1:8: error: part: unknown key \"othr\"; did you mean \"other\"?"}},
        {"part: {}", {"f:1:7: error: part: required key \"other\" is missing"}},
        {"list:\n- name: a\n- count: 1\n  x: 1",
         {"f:3:3: error: list[1]: required key \"name\" is missing",
          "f:4:3: error: list[1]: unknown key \"x\"; the keys here are name, count"}},
        {"map: {k: {y: 1}}",
         {"f:1:11: error: map.k: unknown key \"y\"",
          "f:1:10: error: map.k: required key \"name\""}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct decoded d;
        decode(&d, rows[i].text);
        /* Missing keys are reported after the others of their map. */
        if (i == 7) {
            diag_sort(&d.diags);
        }
        assert_diags(&d.diags, rows[i].wanted);
        decoded_fini(&d);
    }
}

static void test_decode_refuses_wrong_texts(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"name: A", {"f:1:7: error: name: \"A\" must be 1 to 63 of a-z"}},
        {"name: .a", {"f:1:7: error: name: \".a\" must be 1 to 63 of a-z"}},
        {"name: -a", {"f:1:7: error: name: \"-a\" must be"}},
        {"name: a/b", {"f:1:7: error: name: \"a/b\" must be"}},
        {"name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         {"f:1:7: error: name: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
          "\" must be 1 to 63"}},
        {"word: a.b", {"f:1:7: error: word: \"a.b\" must be 1 to 15"}},
        {"word: aaaaaaaaaaaaaaaa", {"f:1:7: error: word: \"aaaaaaaaaaaaaaaa\" must be 1 to 15"}},
        {"dns: a..b", {"f:1:6: error: dns: \"a..b\" must not have two dots"}},
        {"output: access", {"f:1:9: error: output: \"access\" must be stdout, none or a file"}},
        {"output: stderr", {"f:1:9: error: output: \"stderr\" must be stdout, none or a file"}},
        {"string: ''", {"f:1:9: error: string: must not be empty"}},
        {"string: \"a\\tb\"", {"f:1:9: error: string: must be one line without control"}},
        {"string: |\n  a\n", {"f:1:9: error: string: must be one line without control"}},
        {"path: \"a\\nb\"", {"f:1:7: error: path: must be one line without control"}},
        {"accept: mtls://a:1", {"f:1:9: error: accept: \"mtls://a:1\": \"a\" is no IP address"}},
        {"forward: a:1", {"f:1:10: error: forward: \"a:1\": must start with tcp://"}},
        {"version: 2",
         {"f:1:10: error: version: \"2\" is not known; this bulkhead reads version: 1"}},
        {"version: '1'",
         {"f:1:10: error: version: \"1\" must be a number; write it without quotes"}},
        {"version: 1.0", {"f:1:10: error: version: \"1.0\" is not known"}},
        {"version: 01", {"f:1:10: error: version: \"01\" is not known"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_decode_refuses_wrong_numbers(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"count: 0", {"f:1:8: error: count: \"0\" must be 1 to 10"}},
        {"count: 11", {"f:1:8: error: count: \"11\" must be 1 to 10"}},
        {"count: '3'", {"f:1:8: error: count: \"3\" must be a decimal number, without quotes"}},
        {"count: 0x3", {"f:1:8: error: count: \"0x3\" must be a decimal number: digits only"}},
        {"count: 010", {"f:1:8: error: count: \"010\" must be decimal, without a leading 0"}},
        {"count: -1", {"f:1:8: error: count: \"-1\" must start with a decimal digit"}},
        {"count: 1_0", {"f:1:8: error: count: \"1_0\" must be a decimal number: digits only"}},
        {"duration: 10", {"f:1:11: error: duration: \"10\" must have a unit"}},
        {"duration: 0", {"f:1:11: error: duration: \"0\" must have a unit"}},
        {"duration: 1ms", {"f:1:11: error: duration: \"1ms\" must be 0s or 1s to 1h"}},
        {"duration: 2h", {"f:1:11: error: duration: \"2h\" must be 0s or 1s to 1h"}},
        {"duration: 1:30",
         {"f:1:11: error: duration: \"1:30\" must be a whole number and one unit"}},
        {"size: 0", {"f:1:7: error: size: \"0\" must be 1KiB to 1MiB"}},
        {"size: 1GiB", {"f:1:7: error: size: \"1GiB\" must be 1KiB to 1MiB"}},
        {"size: 1MB", {"f:1:7: error: size: \"1MB\" must be a whole number of bytes"}},
        {"mode: 0o660", {"f:1:7: error: mode: \"0o660\" must be octal permissions"}},
        {"colour: Red", {"f:1:9: error: colour: \"Red\" must be red, green or blue"}},
        {"colour: [red]", {"f:1:9: error: colour: must be red, green or blue, not a list"}},
        {"set: square", {"f:1:6: error: set: \"square\" must be round, flat or long"}},
        {"set: [round, Flat]", {"f:1:14: error: set[1]: \"Flat\" must be round, flat or long"}},
        {"set: [round, flat, round]", {"f:1:20: error: set[2]: \"round\" stands there already"}},
        {"set: \"[long, round]\"",
         {"f:1:6: error: set: \"[long, round]\" must be round, flat or long"}},
        {"set: []", {"f:1:6: error: set: must name at least one of round, flat or long"}},
        {"set: {round: true}", {"f:1:6: error: set: must be round, flat or long, not a map"}},
        {"set: [[round]]", {"f:1:7: error: set[0]: must be round, flat or long, not a list"}},
        {"set: 1", {"f:1:6: error: set: \"1\" must be round, flat or long"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

/* YAML 1.1 reads all of these as booleans, and some tools write them. */
static void test_decode_reads_times_by_their_text(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"time: 2027-01-31", {NULL}},
        {"time: '2027-01-31'", {NULL}},
        {"time: \"2027-01-31 18:00:00.000000000 Z\"", {NULL}},
        {"time: 2027-01-31 18:00:00 +02:00", {NULL}},
        {"time: 2027-02-30", {"f:1:7: error: time: \"2027-02-30\" must be a date such as 2027-01"}},
        {"time: 1801353600", {"f:1:7: error: time: \"1801353600\" must be a date such as"}},
        {"time: 2027-01-31T18:00",
         {"f:1:7: error: time: \"2027-01-31T18:00\" lacks its time zone"}},
        {"time: never", {"f:1:7: error: time: \"never\" must be a date"}},
        {"time:", {"f:1:6: error: time: has no value; write a date such as 2027-01-31 or leave"}},
        {"time: ''", {"f:1:7: error: time: must not be empty"}},
        {"time: [2027-01-31]", {"f:1:7: error: time: must be a date such as 2027-01-31, not a l"}},
        {"time: *x", {"f:1:7: error: aliases are refused"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_decode_knows_two_booleans(void **state)
{
    (void)state;
    static const char *const words[] = {"yes", "no", "on", "off", "y",     "n", "True", "TRUE",
                                        "Yes", "No", "ON", "Off", "False", "0", "1"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        char text[32];
        char wanted[96];
        (void)snprintf(text, sizeof text, "flag: %s", words[i]);
        (void)snprintf(wanted, sizeof wanted, "f:1:7: error: flag: \"%s\" must be true or false",
                       words[i]);
        struct row row = {text, {wanted}};
        assert_rows(&row, 1);
    }
    static const struct row quoted = {
        "flag: 'true'", {"f:1:7: error: flag: \"true\" must be true or false, without quotes"}};
    assert_rows(&quoted, 1);
}

static void test_decode_refuses_wrong_shapes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"x", {"f:1:1: error: the file: must be a map of keys and values"}},
        {"[1]", {"f:1:1: error: the file: must be a map of keys and values"}},
        {"string: [a]", {"f:1:9: error: string: must be text, not a list"}},
        {"string: {a: 1}", {"f:1:9: error: string: must be text, not a map"}},
        {"string:", {"f:1:8: error: string: has no value; write text or leave the key out"}},
        {"string: null", {"f:1:9: error: string: has no value"}},
        {"count: [1]", {"f:1:8: error: count: must be a decimal number, not a list"}},
        {"flag: ~", {"f:1:7: error: flag: has no value; write true or false"}},
        {"duration: {s: 1}",
         {"f:1:11: error: duration: must be a duration such as 10s, not a map"}},
        {"mode: [6, 6, 0]", {"f:1:7: error: mode: must be octal permissions"}},
        {"accept: [a]", {"f:1:9: error: accept: must be an address such as tcp://"}},
        {"version: [1]", {"f:1:10: error: version: must be the number 1, not a list"}},
        {"strings: {a: 1}", {"f:1:10: error: strings: must be text or a list of texts, not a map"}},
        {"strings: ~", {"f:1:10: error: strings: has no value"}},
        {"strings: ''", {"f:1:10: error: strings: must not be empty"}},
        {"strings: [a, [b], {c: 1}]",
         {"f:1:14: error: strings[1]: must be text, not a list",
          "f:1:19: error: strings[2]: must be text, not a map"}},
        {"strings: ['', ~]",
         {"f:1:11: error: strings[0]: must not be empty",
          "f:1:15: error: strings[1]: has no value"}},
        {"strings: [a, b, c, d]", {"f:1:10: error: strings: must have at most 3 entries"}},
        {"part: x", {"f:1:7: error: part: must be a map of keys and values"}},
        {"part:", {"f:1:6: error: part: has no keys; write them, indented, below"}},
        {"part: []", {"f:1:7: error: part: must be a map of keys and values"}},
        {"list: {name: a}", {"f:1:7: error: list: must be a list: each entry starts with \"- \""}},
        {"list: a", {"f:1:7: error: list: must be a list"}},
        {"list:", {"f:1:6: error: list: must be a list"}},
        {"list: []", {"f:1:7: error: list: must have at least 2 entries"}},
        {"list: [{name: a}]", {"f:1:7: error: list: must have at least 2 entries"}},
        {"list: [{name: a}, b]", {"f:1:19: error: list[1]: must be a map of keys and values"}},
        {"list: [{name: a}, ~]", {"f:1:19: error: list[1]: has no keys"}},
        {"map: [a]", {"f:1:6: error: map: must be a map with one key for each entry"}},
        {"map: {}", {"f:1:6: error: map: must have at least 1 entry"}},
        {"map: {k: }", {"f:1:10: error: map.k: has no keys"}},
        {"map: {k: x}", {"f:1:10: error: map.k: must be a map of keys and values"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

/* What yaml_doc has refused is passed over in silence, whatever belongs there. */
static void test_decode_says_nothing_of_aliases(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(thing_fields); i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s: *a", thing_fields[i].name);
        struct decoded d;
        decode(&d, text);
        print_message("%s\n", text);
        assert_int_equal(d.diags.count, 1);
        assert_non_null(strstr(d.diags.items[0].message, "aliases are refused"));
        decoded_fini(&d);
    }
    static const struct row rows[] = {
        {"*a", {"f:1:1: error: aliases"}},
        {"strings: [a, *a]", {"f:1:14: error: aliases"}},
        {"list: [*a, {name: b}]", {"f:1:8: error: aliases"}},
        {"map: {k: *a}", {"f:1:10: error: aliases"}},
        {"part: {inner: *a, other: 1}", {"f:1:15: error: aliases"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_decode_keeps_what_is_right_beside_errors(void **state)
{
    (void)state;
    struct decoded d;
    decode(&d, "name: BAD\ncount: 99\naccept: nowhere\nstrings: [a, ~, c]\n"
               "list: [x, {name: b}, {count: 7}]\n");
    diag_sort(&d.diags);
    static const char *const wanted[WANTED_MAX] = {
        "f:1:7: error: name: ",        "f:2:8: error: count: ",   "f:3:9: error: accept: ",
        "f:4:14: error: strings[1]: ", "f:5:8: error: list[0]: ", "f:5:22: error: list[2]: ",
    };
    assert_diags(&d.diags, wanted);
    assert_string_equal(d.thing.name.text, "BAD");
    assert_int_equal(d.thing.count, 3);
    assert_string_equal(d.thing.accept.text.text, "nowhere");
    assert_int_equal(d.thing.accept.scheme, CONFIG_SCHEME_NONE);
    assert_int_equal(d.thing.strings.count, 2);
    assert_true(d.thing.strings.broken);
    assert_int_equal(d.thing.list_count, 3);
    assert_null(d.thing.list[0].name.text);
    assert_int_equal(d.thing.list[0].count, 5);
    assert_string_equal(d.thing.list[1].name.text, "b");
    assert_int_equal(d.thing.list[2].count, 7);
    decoded_fini(&d);
}

/* The place in a message is cut, not written beyond its buffer. */
static void test_decode_bounds_the_path_in_messages(void **state)
{
    (void)state;
    char text[2000];
    (void)snprintf(text, sizeof text, "map: {%0*d: {name: [x], y: 1}}", 1000, 0);
    struct decoded d;
    decode(&d, text);
    assert_int_equal(d.diags.count, 2);
    assert_int_equal(strncmp(d.diags.items[0].message, "map.000", 7), 0);
    assert_true(strlen(d.diags.items[0].message) < 400);
    decoded_fini(&d);
}

static void test_decode_without_directory_leaves_paths(void **state)
{
    (void)state;
    struct decoded d = {0};
    static const char text[] = "{path: a.pem, output: ./x, string: a/b}";
    diag_list_init(&d.diags);
    struct yaml_node *root = yaml_doc_parse(text, sizeof text - 1, 0, &d.diags);
    decode_tree(&thing_table, root, 0, "", &d.diags, &d.thing);
    yaml_node_free(root);
    assert_string_equal(d.thing.path.text, "a.pem");
    assert_string_equal(d.thing.output.text, "./x");
    assert_string_equal(d.thing.string.text, "a/b");
    decoded_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_starts_from_the_defaults),
        cmocka_unit_test(test_decode_fills_every_type),
        cmocka_unit_test(test_decode_takes_zero_and_alike),
        cmocka_unit_test(test_decode_refuses_unknown_and_missing_keys),
        cmocka_unit_test(test_decode_refuses_wrong_texts),
        cmocka_unit_test(test_decode_refuses_wrong_numbers),
        cmocka_unit_test(test_decode_reads_times_by_their_text),
        cmocka_unit_test(test_decode_knows_two_booleans),
        cmocka_unit_test(test_decode_refuses_wrong_shapes),
        cmocka_unit_test(test_decode_says_nothing_of_aliases),
        cmocka_unit_test(test_decode_keeps_what_is_right_beside_errors),
        cmocka_unit_test(test_decode_bounds_the_path_in_messages),
        cmocka_unit_test(test_decode_without_directory_leaves_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
