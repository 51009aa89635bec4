/* reason: the table's labels are names in logs; each has its sentence and its advice. */
#include "base/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_reason_labels_are_lower_snake(void **state)
{
    (void)state;
    for (int i = 0; i < REASON_COUNT; i++) {
        const char *label = reason_label((enum reason)i);
        size_t len = strlen(label);
        assert_in_range(len, 1, 63);
        assert_int_equal(strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789_"), len);
        assert_in_range(label[0], 'a', 'z');
        assert_true(label[len - 1] != '_');
        assert_null(strstr(label, "__"));
    }
}

static void test_reason_labels_are_unique(void **state)
{
    (void)state;
    for (int i = 0; i < REASON_COUNT; i++) {
        for (int j = i + 1; j < REASON_COUNT; j++) {
            assert_string_not_equal(reason_label((enum reason)i), reason_label((enum reason)j));
        }
    }
}

static void test_reason_sentences_are_one_line_and_unique(void **state)
{
    (void)state;
    for (int i = 0; i < REASON_COUNT; i++) {
        const char *sentence = reason_sentence((enum reason)i);
        size_t len = strlen(sentence);
        assert_true(len > 0);
        assert_null(strchr(sentence, '\n'));
        assert_true(sentence[len - 1] != '.' && sentence[len - 1] != ' ');
        for (int j = i + 1; j < REASON_COUNT; j++) {
            assert_string_not_equal(sentence, reason_sentence((enum reason)j));
        }
    }
}

static void test_every_reason_has_its_advice(void **state)
{
    (void)state;
    for (int i = 0; i < REASON_COUNT; i++) {
        const char *advice = reason_advice((enum reason)i);
        if (advice == NULL) {
            fail_msg("%s has no row in reason_advice.def", reason_label((enum reason)i));
        }
        size_t len = strlen(advice);
        assert_true(len > 0 && advice[len - 1] != '.' && strchr(advice, '\n') == NULL);
        assert_non_null(fault_name(reason_fault((enum reason)i)));
        assert_non_null(fault_sentence(reason_fault((enum reason)i)));
    }
}

static void test_reason_zero_is_none(void **state)
{
    (void)state;
    assert_int_equal(REASON_NONE, 0);
    assert_string_equal(reason_label(REASON_NONE), "none");
    assert_int_equal(reason_fault(REASON_CLOSED), FAULT_NONE);
    assert_int_equal(reason_fault(REASON_SVID_EXPIRED), FAULT_PEER);
    assert_int_equal(reason_fault(REASON_POLICY_NO_RULE), FAULT_POLICY);
    assert_int_equal(reason_fault(REASON_UPSTREAM_RESET), FAULT_UPSTREAM);
    assert_int_equal(reason_fault(REASON_INTERNAL), FAULT_LOCAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reason_labels_are_lower_snake),
        cmocka_unit_test(test_reason_labels_are_unique),
        cmocka_unit_test(test_reason_sentences_are_one_line_and_unique),
        cmocka_unit_test(test_every_reason_has_its_advice),
        cmocka_unit_test(test_reason_zero_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
