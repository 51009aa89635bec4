/*
 * How the keys of a file must fit together. Each row changes one line of a file that is valid:
 * the line with the number (0: adds one at the end) becomes the text.
 */
#include "config/validate.h"

#include "unit/config/config_test.h"

static const char *const lines[] = {
    "version: 1",                                                  /* 1 */
    "identity: {files: {certificate: a.pem, private_key: a.key}}", /* 2 */
    "trust: {prod.example: {bundle: b.pem}}",                      /* 3 */
    "listeners:",                                                  /* 4 */
    "- name: in",                                                  /* 5 */
    "  accept: mtls://0.0.0.0:8443",                               /* 6 */
    "  forward: tcp://127.0.0.1:8080",                             /* 7 */
    "- name: out",                                                 /* 8 */
    "  accept: tcp://127.0.0.1:9001",                              /* 9 */
    "  forward: mtls://pay.svc:8443",                              /* 10 */
    "  expect: spiffe://prod.example/pay",                         /* 11 */
    "- name: edge",                                                /* 12 */
    "  accept: mtls+unix:///run/edge",                             /* 13 */
    "  forward: mtls+unix:///run/next",                            /* 14 */
    "  expect: [spiffe://prod.example/next]",                      /* 15 */
    "rules:",                                                      /* 16 */
    "- name: web",                                                 /* 17 */
    "  from: [spiffe://prod.example/web]",                         /* 18 */
    "  to: [in, edge]",                                            /* 19 */
    "- name: no",                                                  /* 20 */
    "  action: deny",                                              /* 21 */
    "  from: spiffe://prod.example/x",                             /* 22 */
    "  to: all",                                                   /* 23 */
};

struct row {
    size_t line;
    const char *text;
    const char *wanted[WANTED_MAX];
};

static void write_file(char *out, size_t size, const struct row *row)
{
    size_t len = 0;
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        const char *line = row->line == i + 1 ? row->text : lines[i];
        len += (size_t)snprintf(out + len, size - len, "%s\n", line);
    }
    if (row->line == 0) {
        len += (size_t)snprintf(out + len, size - len, "%s\n", row->text);
    }
    assert_true(len < size);
}

static void assert_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[4096];
        struct diag_list diags;
        write_file(text, sizeof text, &rows[i]);
        print_message("-- %zu: %s\n", rows[i].line, rows[i].text);
        diag_list_init(&diags);
        struct config *config = config_parse("f", text, strlen(text), NULL, &diags);
        assert_diags(&diags, rows[i].wanted);
        assert_non_null(config);
        assert_int_equal(config->valid, !diag_has_errors(&diags));
        config_free(config);
        diag_list_fini(&diags);
    }
}

static void test_validate_takes_a_file_that_fits(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {0, "# nothing else", {NULL}},
        {6, "  accept: mtls+unix:///run/in", {NULL}},
        {6, "  accept: mtls://[::]:0", {NULL}},
        {7, "  forward: unix:///run/app", {NULL}},
        {7, "  forward: tcp://app.svc:80", {NULL}},
        {7, "  forward: {}", {"f:7:12: error: listeners[0].forward: must be an address"}},
        {9, "  accept: unix:///run/out\n  socket: {mode: '0666'}", {NULL}},
        {9, "  accept: tcp://[::1]:9001", {NULL}},
        {9, "  accept: tcp://10.0.0.1:1\n  unsafe_plaintext: true", {NULL}},
        {10, "  forward: mtls://10.0.0.1:1\n  sni: a.b", {NULL}},
        {11, "  expect: spiffe://prod.example/pay\n  alpn: h2", {NULL}},
        {15, "  expect: [a]\n  alpn: [h2, http/1.1]\n  alpn_required: true", {NULL}},
        {15, "  expect: [a]\n  alpn: []", {NULL}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_pairs_of_addresses(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {6,
         "  accept: tcp://127.0.0.1:1",
         {"f:7:12: error: listeners[0].forward: from plaintext to plaintext there is nothing",
          "f:19:8: error: rules[0].to[0]: \"in\" accepts plaintext; `to` names listeners"}},
        {9,
         "  accept: tcp://0.0.0.0:9001",
         {"f:9:11: error: listeners[1].accept: \"tcp://0.0.0.0:9001\" is plaintext off the loop"}},
        {9,
         "  accept: tcp://[::]:9001",
         {"f:9:11: error: listeners[1].accept: \"tcp://[::]:9001\""}},
        {7,
         "  forward: tcp://10.0.0.1:80",
         {"f:7:12: error: listeners[0].forward: \"tcp://10.0.0.1:80\" is plaintext off the"}},
        {7,
         "  forward: tcp://10.0.0.1:80\n  unsafe_plaintext: false",
         {"f:7:12: error: listeners[0].forward: \"tcp://10.0.0.1:80\" is plaintext off the"}},
        {6,
         "  accept: mtls://127.0.0.1:1\n  socket: {mode: '0600'}",
         {"f:7:11: error: listeners[0].socket: needs a Unix socket in `accept`"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  sni: a.b",
         {"f:8:8: error: listeners[0].sni: needs an mtls `forward`"}},
        {6,
         "  accept: nowhere",
         {"f:6:11: error: listeners[0].accept: \"nowhere\": must start with"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_where_an_identity_comes_from(void **state)
{
    (void)state;
    char long_hint[1200];
    (void)snprintf(long_hint, sizeof(long_hint), "identity: {hint: %01025d}", 0);
    const struct row rows[] = {
        {2, "identity: {workload_api: 'unix:///run/spire/agent.sock'}", {NULL}},
        {2,
         "identity: {hint: internal, start_timeout: 30s, workload_api: 'tcp://127.0.0.1:1'}",
         {NULL}},
        {2, "identity: {spiffe_id: 'spiffe://prod.example/a', start_timeout: 0s}", {NULL}},
        {2, "# SPIFFE_ENDPOINT_SOCKET says", {NULL}},
        {2,
         "identity: {files: {certificate: a, private_key: b}, workload_api: 'unix:///a'}",
         {"f:2:67: error: identity: `files` and `workload_api` are both there"}},
        {2,
         "identity: {files: {certificate: a, private_key: b}, hint: x}",
         {"f:2:59: error: identity.hint: chooses among the SVIDs of the Workload API"}},
        {2,
         "identity: {files: {certificate: a, private_key: b}, start_timeout: 3s}",
         {"f:2:68: error: identity.start_timeout: `files` are there or are not"}},
        {2, "identity: {start_timeout: 500ms}", {"f:2:27: error: identity.start_timeout"}},
        {2, long_hint, {"f:2:18: error: identity.hint: has 1025 bytes; a hint has at most 1024"}},
        {2,
         "identity: {files: {certificate: a}}",
         {"f:2:19: error: identity.files: required key \"private_key\" is missing"}},
        /* Who brings a bundle. */
        {3, "trust: {}", {"f:2:11: error: required key \"trust\" is missing"}},
        {3, "# none", {"f:2:11: error: required key \"trust\" is missing"}},
        {3,
         "trust: {prod.example: {crl: c}}",
         {"f:3:23: error: trust.prod.example: required key \"bundle\" is missing"}},
        {3,
         "trust: {prod.example: {bundle: b, crl_check: leaf}}",
         {"f:3:46: error: trust.prod.example.crl_check: needs `crl`"}},
    };
    assert_rows(rows, COUNT_OF(rows));
    static const char *const without_files[] = {"{}", "{prod.example: {crl_check: chain}}",
                                                "{prod.example: {crl: c}}",
                                                "{a.example: {bundle: b}}", "{a.example: {}}"};
    for (size_t i = 0; i < COUNT_OF(without_files); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "version: 1\ntrust: %s\nlisteners: [{name: in, accept: 'mtls://[::]:1', "
                       "forward: 'tcp://127.0.0.1:1'}]\n",
                       without_files[i]);
        struct diag_list diags;
        diag_list_init(&diags);
        struct config *config = config_parse("f", text, strlen(text), NULL, &diags);
        static const char *const wanted[WANTED_MAX] = {"f: warning: rules: nothing is allowed"};
        assert_diags(&diags, wanted);
        config_free(config);
        diag_list_fini(&diags);
    }
}

static void test_validate_proxy_protocol(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {7, "  forward: tcp://127.0.0.1:1\n  proxy_protocol: v2", {NULL}},
        {7,
         "  forward: unix:///run/app\n  proxy_protocol: v2\n  proxy_protocol_certificate: true",
         {NULL}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  proxy_protocol: none\n"
         "  proxy_protocol_certificate: false",
         {NULL}},
        {15, "  expect: [a]\n  proxy_protocol: v2", {NULL}}, /* a bridge: inside its TLS */
        {11, "  expect: [a]\n  proxy_protocol: none", {NULL}},
        {11,
         "  expect: [a]\n  proxy_protocol: v2",
         {"f:12:19: error: listeners[1].proxy_protocol: there is no verified caller to tell of: "
          "`accept` is plaintext"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  proxy_protocol_certificate: true",
         {"f:8:31: error: listeners[0].proxy_protocol_certificate: needs `proxy_protocol: v2`"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  proxy_protocol: none\n"
         "  proxy_protocol_certificate: true",
         {"f:9:31: error: listeners[0].proxy_protocol_certificate: needs `proxy_protocol: v2`"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  proxy_protocol: v1",
         {"f:8:19: error: listeners[0].proxy_protocol: \"v1\" must be none or v2"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  proxy_protocol: true",
         {"f:8:19: error: listeners[0].proxy_protocol: \"true\" must be none or v2"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_expect(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {11,
         "  truncation: abort",
         {"f:10:12: error: listeners[1]: `expect` is missing: which SPIFFE ID must the server "
          "have"}},
        {15,
         "  expect: []",
         {"f:15:11: error: listeners[2].expect: must name at least one SPIFFE ID"}},
        {15, "  expect: {}", {"f:15:11: error: listeners[2].expect: must be text or a list"}},
        {15, "  expect:", {"f:15:10: error: listeners[2].expect: has no value"}},
        {15,
         "  expect: [[]]",
         {"f:15:12: error: listeners[2].expect[0]: must be text, not a list"}},
        {15, "  expect: *x", {"f:15:11: error: aliases are refused"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  expect: x",
         {"f:8:11: error: listeners[0].expect: names a server's identity, but `forward` is not"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  expect: []",
         {"f:8:11: error: listeners[0].expect: names a server's identity"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

#define TEXT_64  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TEXT_256 TEXT_64 TEXT_64 TEXT_64 TEXT_64

static void test_validate_alpn(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {7,
         "  forward: tcp://127.0.0.1:1\n  alpn_required: yes",
         {"f:8:18: error: listeners[0].alpn_required: \"yes\" must be true or false"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  alpn: [[]]\n  alpn_required: true",
         {"f:8:10: error: listeners[0].alpn[0]: must be text, not a list"}},
        {11,
         "  expect: a\n  alpn: [h2, http/1.1]",
         {"f:12:9: error: listeners[1].alpn: must have one entry, because the plaintext caller"}},
        {11,
         "  expect: a\n  alpn: h2\n  alpn_required: true",
         {"f:13:18: error: listeners[1].alpn_required: is about callers, and `accept` is not "
          "mtls"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  alpn_required: true",
         {"f:8:18: error: listeners[0].alpn_required: needs `alpn`"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  alpn: []\n  alpn_required: true",
         {"f:9:18: error: listeners[0].alpn_required: needs `alpn`"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  alpn: {}\n  alpn_required: true",
         {"f:8:9: error: listeners[0].alpn: must be text or a list"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  alpn: [h2, " TEXT_256 "]",
         {"f:8:14: error: listeners[0].alpn[1]: a protocol name is 1 to 255 bytes long"}},
        {7,
         "  forward: tcp://127.0.0.1:1\n  alpn: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]",
         {"f:8:9: error: listeners[0].alpn: must have at most 16 entries"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_names(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {12,
         "- name: in",
         {"f:12:9: error: listeners[2].name: the name \"in\" stands on line 5 already",
          "f:19:12: error: rules[0].to[1]: unknown listener \"edge\""}},
        {12,
         "- name: all",
         {"f:12:9: error: listeners[2].name: \"all\" is reserved",
          "f:12:9: warning: listeners[2]: no rule allows anybody to use \"all\"",
          "f:19:12: error: rules[0].to[1]: unknown listener \"edge\""}},
        {20,
         "- name: web",
         {"f:20:9: error: rules[1].name: the name \"web\" stands on line 17 already"}},
        {13,
         "  accept: mtls://0.0.0.0:8443",
         {"f:13:11: error: listeners[2].accept: the address \"0.0.0.0:8443\" stands on line 6"}},
        {13, "  accept: mtls://[0:0::0]:8443", {NULL}},
        {9,
         "  accept: unix:///run/edge",
         {"f:13:11: error: listeners[2].accept: the address \"/run/edge\" stands on line 9 "
          "already"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_rules(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {19,
         "  to: [in, edg]",
         {"f:12:9: warning: listeners[2]: no rule allows anybody to use \"edge\"",
          "f:19:12: error: rules[0].to[1]: unknown listener \"edg\"; did you mean \"edge\"?"}},
        {19,
         "  to: [in, edge, zzzzz]",
         {"f:19:18: error: rules[0].to[2]: unknown listener \"zzzzz\""}},
        {19,
         "  to: [in, edge, out]",
         {"f:19:18: error: rules[0].to[2]: \"out\" accepts plaintext"}},
        {19,
         "  to: []",
         {"f:5:9: warning: listeners[0]: no rule allows", "f:12:9: warning: listeners[2]: no rule",
          "f:19:7: warning: rules[0].to: is empty: the rule can never match"}},
        {18, "  from: []", {"f:18:9: warning: rules[0].from: is empty: the rule can never match"}},
        {17,
         "- action: deny\n  name: web",
         {"f:5:9: warning: listeners[0]: no rule allows",
          "f:12:9: warning: listeners[2]: no rule"}},
        /* A listener without a name may be the one that is meant. */
        {12,
         "- truncation: abort",
         {"f:12:3: error: listeners[2]: required key \"name\" is missing"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_rules_that_grant_nothing(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {17,
         "- mode: shadow\n  name: web",
         {"f:5:9: warning: listeners[0]: no rule allows anybody to use \"in\"",
          "f:12:9: warning: listeners[2]: no rule allows anybody to use \"edge\""}},
        {17,
         "- mode: disabled\n  name: web",
         {"f:5:9: warning: listeners[0]: no rule", "f:12:9: warning: listeners[2]: no rule"}},
        {17, "- mode: enforce\n  name: web", {NULL}},
        /* When a rule ends is not looked at here: a file that is valid today is so tomorrow. */
        {17, "- expires: 1970-01-01\n  name: web", {NULL}},
        {0, "- {name: more, from: a, to: all, mode: shadow}", {NULL}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

/* Audit admits what no rule matches: that nobody is allowed would not be true. */
static void test_validate_enforcement(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {1, "version: 1\nenforcement: audit", {NULL}},
        {17,
         "- mode: shadow\n  name: web\n  owner: x",
         {"f:5:9: warning: listeners[0]: no rule", "f:12:9: warning: listeners[2]: no rule"}},
        {16, "enforcement: audit\nrules:", {NULL}},
        {19, "  to: [in]", {"f:12:9: warning: listeners[2]: no rule allows"}},
        {7, "  forward: tcp://127.0.0.1:8080\n  enforcement: audit", {NULL}},
        {7, "  forward: tcp://127.0.0.1:8080\n  enforcement: enforce", {NULL}},
        {15, "  expect: [a]\n  enforcement: audit", {NULL}},
        {11,
         "  expect: a\n  enforcement: audit",
         {"f:12:16: error: listeners[1].enforcement: nothing to soften: `accept` is plaintext"}},
        {11,
         "  expect: a\n  enforcement: enforce",
         {"f:12:16: error: listeners[1].enforcement: nothing to soften"}},
        {7,
         "  forward: tcp://127.0.0.1:8080\n  enforcement: off",
         {"f:8:16: error: listeners[0].enforcement: \"off\" must be enforce or audit"}},
        {1,
         "version: 1\nenforcement: warn",
         {"f:2:14: error: enforcement: \"warn\" must be enforce or audit"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

#define TEST(text) "tests:\n- {from: spiffe://prod.example/web, " text "}"

static void test_validate_tests(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {0, TEST("to: in, decision: allow"), {NULL}},
        {0, TEST("to: edge, decision: deny, rule: no, at: 2027-01-31"), {NULL}},
        {0, TEST("to: in, decision: allow, rule: web"), {NULL}},
        {0,
         TEST("to: out, decision: allow"),
         {"f:25:41: error: tests[0].to: \"out\" accepts plaintext, whose callers have no identity; "
          "name a listener that accepts mtls"}},
        {0,
         TEST("to: all, decision: allow"),
         {"f:25:41: error: tests[0].to: \"all\" is every listener, and a test asks about one"}},
        {0,
         TEST("to: edg, decision: allow"),
         {"f:25:41: error: tests[0].to: unknown listener \"edg\"; did you mean \"edge\"?"}},
        {0,
         TEST("to: billing, decision: allow"),
         {"f:25:41: error: tests[0].to: unknown listener \"billing\""}},
        {0,
         TEST("to: '*', decision: allow"),
         {"f:25:41: error: tests[0].to: unknown listener \"*\""}},
        {0,
         TEST("to: [in], decision: allow"),
         {"f:25:41: error: tests[0].to: must be text, not a list"}},
        {0,
         TEST("to: in, decision: allow, rule: wbe"),
         {"f:25:68: error: tests[0].rule: unknown rule \"wbe\"; did you mean \"web\"?"}},
        {0,
         TEST("to: in, decision: allow, rule: storefront"),
         {"f:25:68: error: tests[0].rule: unknown rule \"storefront\"; write the name of one"}},
        {0,
         TEST("to: in, decision: allow, rule: no"),
         {"f:25:68: error: tests[0].rule: the action of \"no\" is `deny`, and the test wants "
          "`allow`; name another rule, or want `deny`"}},
        {0,
         TEST("to: in, decision: deny, rule: web"),
         {"f:25:67: error: tests[0].rule: the action of \"web\" is `allow`, and the test wants"}},
        {0,
         "- {name: try, mode: shadow, from: a, to: in}\n" TEST(
             "to: in, decision: allow, rule: try"),
         {"f:26:68: error: tests[0].rule: \"try\" decides nothing: its mode is `shadow`; name a"}},
        {0,
         "- {name: not, mode: disabled, from: a, to: in}\n" TEST(
             "to: in, decision: deny, rule: not"),
         {"f:26:67: error: tests[0].rule: \"not\" decides nothing: its mode is `disabled`; name"}},
        {0,
         TEST("to: in, decision: permit"),
         {"f:25:55: error: tests[0].decision: \"permit\" must be allow or deny"}},
        {0, TEST("to: in"), {"f:25:3: error: tests[0]: required key \"decision\" is missing"}},
        {0,
         TEST("to: in, decision: allow, at: 31.1.2027"),
         {"f:25:66: error: tests[0].at: \"31.1.2027\" must be a date such as 2027-01-31"}},
        {0,
         TEST("to: in, decision: allow, when: 2027-01-31"),
         {"f:25:62: error: tests[0]: unknown key \"when\""}},
        {0,
         "tests:\n- {to: in, decision: allow}",
         {"f:25:3: error: tests[0]: required key \"from\" is missing"}},
        /* Of a rule or listener whose name could not be read nothing is said. */
        {17, "- action: allow", {"f:17:3: error: rules[0]: required key \"name\" is missing"}},
        {12,
         "- truncation: abort",
         {"f:12:3: error: listeners[2]: required key \"name\" is missing"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_tests_of_what_could_not_be_read(void **state)
{
    (void)state;
    static const char tail[] = "tests: [{from: a, to: edge, decision: allow, rule: web}]";
    static const struct row rows[] = {
        {17, "- action: allow", {"f:17:3: error: rules[0]: required key \"name\" is missing"}},
        {12,
         "- truncation: abort",
         {"f:12:3: error: listeners[2]: required key \"name\" is missing"}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[4096];
        struct diag_list diags;
        write_file(text, sizeof text - sizeof tail, &rows[i]);
        (void)strcat(text, tail);
        diag_list_init(&diags);
        struct config *config = config_parse("f", text, strlen(text), NULL, &diags);
        assert_diags(&diags, rows[i].wanted);
        config_free(config);
        diag_list_fini(&diags);
    }
}

static void test_validate_what_rules_say_of_themselves(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {18, "  from: a\n  owner: shop-team\n  note: 'until 2027: see #12'", {NULL}},
        {18, "  from: a\n  note: >-\n    two\n    lines", {NULL}},
        {18,
         "  from: a\n  note: >\n    two\n    lines",
         {"f:19:9: error: rules[0].note: must be one line without control characters; a text on "
          "several lines begins with \">-\""}},
        {18,
         "  from: a\n  note: |-\n    two\n    lines",
         {"f:19:9: error: rules[0].note: must be"}},
        {18, "  from: a\n  note: \"a\\eb\"", {"f:19:9: error: rules[0].note: must be one line"}},
        {18, "  from: a\n  owner:", {"f:19:9: error: rules[0].owner: has no value; write text or"}},
        {18, "  from: a\n  owner: ''", {"f:19:10: error: rules[0].owner: must not be empty"}},
        {18, "  from: a\n  owner: [x, y]", {"f:19:10: error: rules[0].owner: must be text, not a"}},
        {18,
         "  from: a\n  owners: x",
         {"f:19:3: error: rules[0]: unknown key \"owners\"; did you "
          "mean \"owner\"?"}},
        {18,
         "  from: a\n  mode: off",
         {"f:19:9: error: rules[0].mode: \"off\" must be enforce, shadow or disabled"}},
        {18,
         "  from: a\n  mode: audit",
         {"f:19:9: error: rules[0].mode: \"audit\" must be enforce, shadow or disabled"}},
        {18,
         "  from: a\n  mode: Shadow",
         {"f:19:9: error: rules[0].mode: \"Shadow\" must be enforce, shadow or disabled"}},
        {18,
         "  from: a\n  expires: 30d",
         {"f:19:12: error: rules[0].expires: \"30d\" must be a date such as 2027-01-31"}},
        {18,
         "  from: a\n  expire: 2027-01-31",
         {"f:19:3: error: rules[0]: unknown key \"expire\"; did you mean \"expires\"?"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_warns_when_nothing_is_allowed(void **state)
{
    (void)state;
    static const char head[] = "{version: 1, identity: {files: {certificate: a, private_key: b}}, "
                               "trust: {a: {bundle: b}}, listeners: [{name: in, accept: "
                               "'mtls+unix:///a', forward: 'unix:///b'}]";
    static const struct {
        const char *tail;
        const char *wanted[WANTED_MAX];
    } rows[] = {
        {"}", {"f: warning: rules: nothing is allowed: there is no rule"}},
        {", enforcement: audit}", {NULL}},
        {", enforcement: audit, rules: []}", {NULL}},
        {", enforcement: enforce, rules: []}", {"f:1:194: warning: rules: nothing is allowed"}},
        {", rules: []}", {"f:1:172: warning: rules: nothing is allowed: there is no rule"}},
        {", rules: [{name: a, from: [], to: in}]}", {"f:1:189: warning: rules[0].from: is empty"}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[512];
        struct diag_list diags;
        (void)snprintf(text, sizeof text, "%s%s", head, rows[i].tail);
        diag_list_init(&diags);
        struct config *config = config_parse("f", text, strlen(text), NULL, &diags);
        assert_diags(&diags, rows[i].wanted);
        assert_true(config->valid);
        config_free(config);
        diag_list_fini(&diags);
    }
}

static void test_validate_sockets_that_are_passed(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {6, "  accept: mtls://systemd:orders", {NULL}},
        {9, "  accept: tcp://systemd:orders", {NULL}},
        {13, "  accept: mtls+unix://systemd:edge", {NULL}},
        {9,
         "  accept: unix://systemd:a\n  socket: {mode: '0660'}",
         {"f:10:11: error: listeners[1].socket: the socket is systemd's"}},
        {6,
         "  accept: mtls://systemd:a\n  forward: tcp://127.0.0.1:1\n- name: b\n  accept: "
         "mtls+unix://systemd:a",
         {"f:8:9: warning: listeners[1]: no rule allows anybody",
          "f:9:11: error: listeners[1].accept: the address \"a\" stands on line 6 already"}},
        {7,
         "  forward: tcp://systemd:orders",
         {"f:7:12: error: listeners[0].forward: \"tcp://sys"}},
        {0,
         "probes: {listen: 'tcp://systemd:a'}",
         {"f:24:18: error: probes.listen: \"tcp://systemd:a\": only"}},
        {0,
         "admin: {listen: 'unix://systemd:a'}",
         {"f:24:17: error: admin.listen: \"unix://systemd:a\": only"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_validate_probes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {0, "probes: {listen: 'tcp://0.0.0.0:8081'}", {NULL}},
        {0, "probes: {listen: 'tcp://[::]:8081', metrics: true}", {NULL}},
        {0, "probes: {listen: 'unix:///run/probes'}", {NULL}},
        {0, "probes: {listen: 'tcp://127.0.0.1:0'}", {NULL}},
        {0,
         "probes: {listen: 'mtls://0.0.0.0:8081'}",
         {"f:24:18: error: probes.listen: \"mtls://0.0.0.0:8081\": probes are plaintext: write "
          "tcp://HOST:PORT or unix:///PATH"}},
        {0,
         "probes: {listen: 'mtls+unix:///run/probes'}",
         {"f:24:18: error: probes.listen: \"mtls+unix:///run/probes\": probes are plaintext"}},
        {0,
         "probes: {listen: 'tcp://0.0.0.0:8443'}",
         {"f:24:18: error: probes.listen: listeners[0].accept is the same address"}},
        {0,
         "probes: {listen: 'unix:///run/edge'}",
         {"f:24:18: error: probes.listen: listeners[2].accept is the same address"}},
        {0,
         "probes: {listen: 'unix:///a'}\nadmin: {listen: 'unix:///a'}",
         {"f:24:18: error: probes.listen: admin.listen is the same address"}},
        {0, "probes: {metrics: true}", {"f:24:9: error: probes: required key \"listen\" is"}},
        {0,
         "probes: {listen: 'tcp://pods:1'}",
         {"f:24:18: error: probes.listen: \"tcp://pods:1\""}},
        {0,
         "probes: {listen: 'tcp://0.0.0.0:1', metrics: yes}",
         {"f:24:46: error: probes.metrics: \"yes\" must be true or false"}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

#define APP(entry) "probes: {listen: 'tcp://0.0.0.0:8081', app: [" entry "]}"
#define TWENTY     "abcdefghijklmnopqrst"
#define HUNDRED    TWENTY TWENTY TWENTY TWENTY TWENTY
#define GET(url)   APP("{path: /app/x, get: '" url "'}")

static void test_validate_probes_of_the_application(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {0, GET("http://127.0.0.1:8080/healthz"), {NULL}},
        {0,
         GET("http://127.9.9.9:8081/"),
         {"f:24:66: error: probes.app[0].get: \"http://127.9.9.9:8081/\" is bulkhead itself"}},
        {0, GET("http://[::1]:8081/"), {NULL}},
        {0, GET("http://unix:/run/app.sock:/healthz"), {NULL}},
        {0,
         APP("{path: /app/a, connect: 'tcp://127.0.0.1:8080'}, {path: /app/b, connect: "
             "'unix:///run/a'}"),
         {NULL}},
        {0, APP("{path: /app/a/b-c_d.e~f/1, connect: 'tcp://[::1]:8080', timeout: 1s}"), {NULL}},
        {0, APP("{path: /app/..., connect: 'tcp://[::1]:8080'}"), {NULL}},
        {0,
         GET("http://10.0.0.1:8080/"),
         {"f:24:66: error: probes.app[0].get: \"http://10.0.0.1:8080/\" is off the loopback"}},
        {0,
         GET("http://0.0.0.0:8080/"),
         {"f:24:66: error: probes.app[0].get: \"http://0.0.0.0:8080/\" is off the loopback"}},
        {0,
         GET("http://[::]:8080/"),
         {"f:24:66: error: probes.app[0].get: \"http://[::]:8080/\" is off the loopback"}},
        {0,
         GET("http://[::ffff:10.0.0.1]:8080/"),
         {"f:24:66: error: probes.app[0].get: \"http://[::ffff:10.0.0.1]:8080/\" is off"}},
        {0,
         GET("http://169.254.169.254/latest"),
         {"f:24:66: error: probes.app[0].get: \"http://169.254.169.254/latest\" is off"}},
        {0,
         GET("http://localhost:8080/"),
         {"f:24:66: error: probes.app[0].get: \"http://localhost:8080/\": its host must be an IP"}},
        {0,
         GET("https://127.0.0.1/"),
         {"f:24:66: error: probes.app[0].get: \"https://127.0.0.1/\": must start with http://"}},
        {0,
         GET("http://127.0.0.1:8080/a b"),
         {"f:24:66: error: probes.app[0].get: \"http://127.0.0.1:8080/a b\": its path holds"}},
        {0,
         GET("http://127.0.0.1:8081/app/x"),
         {"f:24:66: error: probes.app[0].get: \"http://127.0.0.1:8081/app/x\" is bulkhead itself"}},
        {0,
         APP("{path: /app/x, get: 'http://unix:/run/adm'}") "\nadmin: {listen: 'unix:///run/adm'}",
         {"f:24:66: error: probes.app[0].get: \"http://unix:/run/adm\" is bulkhead itself"}},
        {0,
         APP("{path: /app/x, connect: 'tcp://10.0.0.1:1'}"),
         {"f:24:70: error: probes.app[0].connect: \"tcp://10.0.0.1:1\" is off the loopback"}},
        {0,
         APP("{path: /app/x, connect: 'tcp://app.svc:1'}"),
         {"f:24:70: error: probes.app[0].connect: \"tcp://app.svc:1\": a name may lead anywhere"}},
        {0,
         APP("{path: /app/x, connect: 'mtls://127.0.0.1:1'}"),
         {"f:24:70: error: probes.app[0].connect: \"mtls://127.0.0.1:1\": only tcp:// and "
          "unix://"}},
        {0,
         APP("{path: /app/x, connect: 'tcp://127.0.0.1:8081'}"),
         {"f:24:70: error: probes.app[0].connect: \"tcp://127.0.0.1:8081\" is bulkhead itself"}},
        {0,
         APP("{path: /app/x}"),
         {"f:24:46: error: probes.app[0]: needs one of `get`, `connect` and `grpc`"}},
        {0,
         APP("{path: /app/x, get: 'http://127.0.0.1/', connect: 'tcp://127.0.0.1:1'}"),
         {"f:24:46: error: probes.app[0]: needs one alone of `get`, `connect` and `grpc`"}},
        {0,
         APP("{get: 'http://127.0.0.1/'}"),
         {"f:24:46: error: probes.app[0]: required key \"path\" is missing"}},
        {0,
         APP("{path: /livez, get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/livez\" must begin with /app/"}},
        {0,
         APP("{path: /app, get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/app\" must begin with /app/"}},
        {0,
         APP("{path: /app/, get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/app/\" must"}},
        {0,
         APP("{path: /apps/x, get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/apps/x\" must"}},
        {0,
         APP("{path: /app/../livez, get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/app/../livez\" must"}},
        {0,
         APP("{path: /app/./x, get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/app/./x\" must"}},
        {0,
         APP("{path: /app//x, get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/app//x\" must"}},
        {0,
         APP("{path: '/app/x?y', get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/app/x?y\" must"}},
        {0,
         APP("{path: '/app/%78', get: 'http://127.0.0.1/'}"),
         {"f:24:53: error: probes.app[0].path: \"/app/%78\" must"}},
        {0,
         APP("{path: /app/x, get: 'http://127.0.0.1/', timeout: 1ms}"),
         {"f:24:96: error: probes.app[0].timeout: \"1ms\" must be 10ms to 1m"}},
        {0,
         APP("{path: /app/x, get: 'http://127.0.0.1/'}, {path: /app/x, get: 'http://127.0.0.1/y'}"),
         {"f:24:95: error: probes.app[1].path: the path \"/app/x\" stands on line 24 already"}},
        {0,
         APP("{path: /app/x, get: 'http://127.0.0.1/', grpcs: x}"),
         {"f:24:87: error: probes.app[0]: unknown key \"grpcs\""}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://127.0.0.1:9090'}, {path: /app/y, grpc: "
             "'unix:///run/a', service: a.b_c-d/E9}"),
         {NULL}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://10.0.0.1:1'}"),
         {"f:24:67: error: probes.app[0].grpc: \"tcp://10.0.0.1:1\" is off the loopback"}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://localhost:1'}"),
         {"f:24:67: error: probes.app[0].grpc: \"tcp://localhost:1\": a name may lead anywhere"}},
        {0,
         APP("{path: /app/x, grpc: 'mtls://127.0.0.1:1'}"),
         {"f:24:67: error: probes.app[0].grpc: \"mtls://127.0.0.1:1\": only tcp:// and unix://"}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://127.0.0.1:8081'}"),
         {"f:24:67: error: probes.app[0].grpc: \"tcp://127.0.0.1:8081\" is bulkhead itself"}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://127.0.0.1:1', connect: 'tcp://127.0.0.1:1'}"),
         {"f:24:46: error: probes.app[0]: needs one alone of `get`, `connect` and `grpc`"}},
        {0,
         APP("{path: /app/x, connect: 'tcp://127.0.0.1:1', service: a}"),
         {"f:24:100: error: probes.app[0].service: only with `grpc`"}},
        {0,
         APP("{path: /app/x, service: a}"),
         {"f:24:46: error: probes.app[0]: needs one of `get`, `connect` and `grpc`",
          "f:24:70: error: probes.app[0].service: only with `grpc`"}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://127.0.0.1:1', service: 'a b'}"),
         {"f:24:97: error: probes.app[0].service: \"a b\" must be 1 to 200 letters"}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://127.0.0.1:1', service: 'a~'}"),
         {"f:24:97: error: probes.app[0].service: \"a~\" must be 1 to 200 letters"}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://127.0.0.1:1', service: ''}"),
         {"f:24:97: error: probes.app[0].service: "}},
        {0, APP("{path: /app/x, grpc: 'tcp://127.0.0.1:1', service: " HUNDRED HUNDRED "}"), {NULL}},
        {0,
         APP("{path: /app/x, grpc: 'tcp://127.0.0.1:1', service: " HUNDRED HUNDRED "a}"),
         {"f:24:97: error: probes.app[0].service: \"" HUNDRED}},
    };
    assert_rows(rows, COUNT_OF(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_validate_takes_a_file_that_fits),
        cmocka_unit_test(test_validate_pairs_of_addresses),
        cmocka_unit_test(test_validate_where_an_identity_comes_from),
        cmocka_unit_test(test_validate_proxy_protocol),
        cmocka_unit_test(test_validate_expect),
        cmocka_unit_test(test_validate_alpn),
        cmocka_unit_test(test_validate_names),
        cmocka_unit_test(test_validate_rules),
        cmocka_unit_test(test_validate_rules_that_grant_nothing),
        cmocka_unit_test(test_validate_enforcement),
        cmocka_unit_test(test_validate_tests),
        cmocka_unit_test(test_validate_tests_of_what_could_not_be_read),
        cmocka_unit_test(test_validate_what_rules_say_of_themselves),
        cmocka_unit_test(test_validate_warns_when_nothing_is_allowed),
        cmocka_unit_test(test_validate_sockets_that_are_passed),
        cmocka_unit_test(test_validate_probes),
        cmocka_unit_test(test_validate_probes_of_the_application),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
