/* The sentences, word for word. */
#include "policy/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Configurations are writable memory; these strings are only read. */
#define STRING(literal)                                             \
    {                                                               \
        .text = (char[]){literal}, .pos = {.line = 1, .column = 1 } \
    }
#define STRINGS(...)                                                                          \
    {                                                                                         \
        .items = (struct config_string[]){__VA_ARGS__},                                       \
        .count = sizeof((struct config_string[]){__VA_ARGS__}) / sizeof(struct config_string) \
    }

enum { ORDERS, ADMIN, TO_PAYMENTS, EDGE, LOCKED };

static struct config_listener listeners[] = {
    [ORDERS] = {.name = STRING("orders"), .kind = CONFIG_KIND_TERMINATE},
    [ADMIN] = {.name = STRING("admin"), .kind = CONFIG_KIND_TERMINATE},
    [TO_PAYMENTS] = {.name = STRING("to-payments"),
                     .kind = CONFIG_KIND_ORIGINATE,
                     .expect = STRINGS(STRING("spiffe://prod.example/ns/shop/sa/payments"))},
    [EDGE] = {.name = STRING("edge"), .kind = CONFIG_KIND_BRIDGE},
    [LOCKED] = {.name = STRING("locked"), .kind = CONFIG_KIND_TERMINATE},
};

static struct config_rule rules[] = {
    {.name = STRING("no-canary"),
     .action = CONFIG_ACTION_DENY,
     .from = STRINGS(STRING("spiffe://prod.example/ns/canary/**")),
     .to = STRINGS(STRING("orders"), STRING("locked"))},
    {.name = STRING("web-uses-orders"),
     .from = STRINGS(STRING("spiffe://prod.example/ns/shop/sa/web")),
     .to = STRINGS(STRING("orders"))},
    {.name = STRING("batch-uses-admin"),
     .from = STRINGS(STRING("spiffe://prod.example/batch/*/job"),
                     STRING("spiffe://prod.example/tree/**")),
     .to = STRINGS(STRING("admin"))},
};

static struct config_trust trust[] = {{.domain = STRING("prod.example")}};

static int load(void **state)
{
    static struct config config = {
        .listeners = listeners,
        .listener_count = COUNT_OF(listeners),
        .rules = rules,
        .rule_count = COUNT_OF(rules),
        .trust = trust,
        .trust_count = COUNT_OF(trust),
    };
    struct diag_list diags;
    diag_list_init(&diags);
    *state = policy_load(&config, &diags);
    diag_list_fini(&diags);
    return *state != NULL ? 0 : -1;
}

static int unload(void **state)
{
    policy_free(*state);
    return 0;
}

static void explain(const struct policy *policy, const char *text, size_t listener, char *out,
                    size_t size)
{
    struct spiffe_id id;
    const char *why = NULL;
    assert_true(text == NULL || spiffe_id_parse(strview_from(text), &id, &why) == 0);
    struct policy_input input = {.id = text != NULL ? &id : NULL, .listener = listener};
    struct decision decision;
    policy_decide(policy, &input, &decision);
    explain_decision(policy, &input, &decision, out, size);
}

static const struct {
    const char *id;
    size_t listener;
    const char *sentence;
} decisions[] = {
    {"spiffe://prod.example/ns/shop/sa/web", ORDERS, "rule \"web-uses-orders\" allows it"},
    {"spiffe://prod.example/ns/canary/sa/web", ORDERS, "deny rule \"no-canary\" matched"},
    {"spiffe://prod.example/ns/shop/sa/web-canary", ORDERS,
     "no rule matched; nearest: rule \"web-uses-orders\" differs in segment 4: \"web-canary\", not "
     "\"web\""},
    {"spiffe://prod.example/ns/shop/sa/web", ADMIN,
     "no rule matched; rule \"web-uses-orders\" allows this ID, but not on listener \"admin\""},
    {"spiffe://prod.example/ns/shop/sa/web", EDGE, "no rule names listener \"edge\""},
    {"spiffe://prod.example/ns/shop/sa/web", LOCKED, "no allow rule names listener \"locked\""},
    {"spiffe://prod.example/ns/canary/sa/web", LOCKED, "deny rule \"no-canary\" matched"},
    {"spiffe://evil.example/ns/shop/sa/web", ORDERS,
     "no rule matched; nearest: rule \"web-uses-orders\" differs in the trust domain: "
     "\"evil.example\", not \"prod.example\""},
    {"spiffe://prod.example/ns/shop/sa/web/x", ORDERS,
     "no rule matched; nearest: rule \"web-uses-orders\" differs in segment 5: the ID goes on with "
     "\"x\", the rule ends"},
    {"spiffe://prod.example/ns/shop/sa", ORDERS,
     "no rule matched; nearest: rule \"web-uses-orders\" differs in segment 4: the ID ends, the "
     "rule goes on with \"web\""},
    {"spiffe://prod.example/batch/x/run", ADMIN,
     "no rule matched; nearest: rule \"batch-uses-admin\" differs in segment 3: \"run\", not "
     "\"job\""},
    {"spiffe://prod.example/tree", ADMIN,
     "no rule matched; nearest: rule \"batch-uses-admin\" differs in segment 2: the ID ends, the "
     "rule goes on with \"**\""},
    {NULL, ORDERS, "no rule matched; the peer has no SPIFFE ID"},
    {NULL, TO_PAYMENTS, "the listener takes plaintext; `expect` decides"},
};

static void test_explain_decision_says_why(void **state)
{
    for (size_t i = 0; i < COUNT_OF(decisions); i++) {
        char text[512];
        explain(*state, decisions[i].id, decisions[i].listener, text, sizeof text);
        assert_string_equal(text, decisions[i].sentence);
    }
}

static const struct {
    const char *server; /* NULL: none */
    size_t listener;
    const char *sentence;
} servers[] = {
    {"spiffe://prod.example/ns/shop/sa/payments", TO_PAYMENTS, "the server's ID is in `expect`"},
    {"spiffe://prod.example/ns/shop/sa/x", TO_PAYMENTS,
     "the server's ID is not in `expect`: differs in segment 4: \"x\", not \"payments\""},
    {"spiffe://evil.example/ns/shop/sa/payments", TO_PAYMENTS,
     "the server's ID is not in `expect`: differs in the trust domain: \"evil.example\", not "
     "\"prod.example\""},
    {"spiffe://prod.example/ns/shop/sa/payments/x", TO_PAYMENTS,
     "the server's ID is not in `expect`: differs in segment 5: the ID goes on with \"x\", the "
     "entry ends"},
    {"spiffe://prod.example/ns/shop/sa/payments", EDGE, "listener \"edge\" has no `expect`"},
    {NULL, TO_PAYMENTS, "the server has no SPIFFE ID"},
};

static void test_explain_upstream_says_why(void **state)
{
    for (size_t i = 0; i < COUNT_OF(servers); i++) {
        struct spiffe_id id;
        const char *why = NULL;
        const char *server = servers[i].server;
        assert_true(server == NULL || spiffe_id_parse(strview_from(server), &id, &why) == 0);
        struct decision decision;
        struct policy_input input = {.id = server != NULL ? &id : NULL,
                                     .listener = servers[i].listener};
        policy_decide_upstream(*state, &input, &decision);
        char text[512];
        explain_upstream(*state, &input, &decision, text, sizeof text);
        assert_string_equal(text, servers[i].sentence);
    }
}

static void test_explain_cuts_long_segments(void **state)
{
    char id[1024] = "spiffe://prod.example/ns/shop/sa/";
    size_t len = strlen(id);
    memset(id + len, 'x', 900);
    id[len + 900] = '\0';
    char text[512];
    explain(*state, id, ORDERS, text, sizeof text);
    assert_non_null(strstr(text, "xxx...\", not \"web\""));
    assert_true(strlen(text) < 250);
}

static void test_explain_cuts_what_does_not_fit(void **state)
{
    const char *id = "spiffe://prod.example/ns/shop/sa/web";
    char text[16];
    memset(text, 'z', sizeof text);
    explain(*state, id, ORDERS, text, 12);
    assert_string_equal(text, "rule \"web-u");
    assert_int_equal(text[12], 'z');
    explain(*state, id, ORDERS, text, 1);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explain_decision_says_why),
        cmocka_unit_test(test_explain_upstream_says_why),
        cmocka_unit_test(test_explain_cuts_long_segments),
        cmocka_unit_test(test_explain_cuts_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
