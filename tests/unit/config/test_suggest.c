/* Which known word a misspelt one is near to. */
#include "config/suggest.h"

#include "unit/config/config_test.h"

#define WORD_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *word;
    const char *candidates[4];
    const char *best;
} rows[] = {
    {"ruels", {"rules", "limits"}, "rules"},
    {"lsiteners", {"rules", "listeners"}, "listeners"},
    {"listener", {"rules", "listeners"}, "listeners"},
    {"listenerss", {"listeners"}, "listeners"},
    {"timeout", {"timeouts", "time"}, "timeouts"},
    {"idel", {"idle", "handshake"}, "idle"},
    {"ot", {"to", "from"}, "to"},
    {"Rules", {"rules"}, "rules"},
    {"rule", {"rules", "roles", "ruled"}, "rules"}, /* the first of equals */
    {"rules", {"rulers", "rules"}, "rules"},
    {"xyz", {"rules", "trust"}, NULL},
    {"to", {"from"}, NULL},
    {"a", {"b"}, NULL},
    {"", {"to"}, NULL},
    {"", {"longer"}, NULL},
    {"listeners", {NULL}, NULL},
    {WORD_63, {WORD_63}, WORD_63},
    {WORD_63 "a", {WORD_63}, NULL},
};

static void test_suggest_names_the_nearest(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct suggest suggest;
        suggest_init(&suggest, rows[i].word);
        for (size_t k = 0; k < 4 && rows[i].candidates[k] != NULL; k++) {
            suggest_consider(&suggest, rows[i].candidates[k]);
        }
        print_message("\"%s\"\n", rows[i].word);
        if (rows[i].best == NULL) {
            assert_null(suggest.best);
        } else {
            assert_non_null(suggest.best);
            assert_string_equal(suggest.best, rows[i].best);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suggest_names_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
