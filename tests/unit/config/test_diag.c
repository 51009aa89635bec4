/* The list of what is wrong: order, text, and names that try to be more than one line. */
#include "config/diag.h"

#include "base/json_writer.h"
#include "unit/config/config_test.h"

static struct config_pos pos(uint32_t file, uint32_t line, uint32_t column)
{
    return (struct config_pos){file, line, column};
}

static void test_diag_sorts_by_place_and_keeps_the_order_of_equals(void **state)
{
    (void)state;
    struct diag_list list;
    diag_list_init(&list);
    uint32_t first = diag_add_file(&list, "a.yaml");
    uint32_t second = diag_add_file(&list, "b.yaml");
    assert_int_equal(first, 0);
    assert_int_equal(second, 1);
    diag_error(&list, pos(second, 1, 1), "seventh");
    diag_error(&list, pos(first, 10, 2), "fifth");
    diag_warning(&list, pos(first, 9, 30), "third");
    diag_error(&list, pos(first, 9, 4), "second");
    diag_error(&list, pos(first, 9, 30), "fourth");
    diag_error(&list, pos(first, 0, 0), "first");
    diag_warning(&list, pos(first, UINT32_MAX, 1), "sixth");
    diag_sort(&list);
    static const char *const wanted[WANTED_MAX] = {
        "a.yaml: error: first",        "a.yaml:9:4: error: second",
        "a.yaml:9:30: warning: third", "a.yaml:9:30: error: fourth",
        "a.yaml:10:2: error: fifth",   "a.yaml:4294967295:1: warning: sixth",
        "b.yaml:1:1: error: seventh",
    };
    assert_diags(&list, wanted);
    diag_list_fini(&list);
    assert_int_equal(list.count, 0);
}

static void test_diag_counts_errors_apart_from_warnings(void **state)
{
    (void)state;
    struct diag_list list;
    diag_list_init(&list);
    assert_false(diag_has_errors(&list));
    diag_sort(&list);
    for (unsigned i = 0; i < 100; i++) {
        diag_warning(&list, pos(0, i, 1), "%u", i);
    }
    assert_false(diag_has_errors(&list));
    assert_int_equal(list.warning_count, 100);
    diag_error(&list, pos(0, 1, 1), "x");
    assert_true(diag_has_errors(&list));
    assert_int_equal(list.error_count, 1);
    assert_int_equal(list.count, 101);
    diag_list_fini(&list);
}

/* It reads as an error; whether it is one is up to who loads. */
static void test_diag_counts_failing_tests_apart_from_errors(void **state)
{
    (void)state;
    struct diag_list list;
    diag_list_init(&list);
    diag_test(&list, pos(diag_add_file(&list, "f"), 2, 3), "tests[%d]", 0);
    diag_note(&list, pos(0, 3, 1), "note");
    assert_false(diag_has_errors(&list));
    assert_int_equal(list.error_count, 0);
    assert_int_equal(list.warning_count, 0);
    assert_int_equal(list.test_count, 1);
    assert_int_equal(diag_told_as(&list.items[0]), DIAG_ERROR);
    assert_int_equal(diag_told_as(&list.items[1]), DIAG_NOTE);
    static const char *const wanted[WANTED_MAX] = {"f:2:3: error: tests[0]", "f:3:1: note: note"};
    assert_diags(&list, wanted);
    diag_list_fini(&list);
}

static void test_diag_is_one_line(void **state)
{
    (void)state;
    struct diag_list list;
    diag_list_init(&list);
    diag_error(&list, pos(diag_add_file(&list, "f"), 1, 1), "unknown key \"%s\"",
               "a\nf:1:1: error: b\x1b[2J\x7f");
    static const char *const wanted[WANTED_MAX] = {
        "f:1:1: error: unknown key \"a?f:1:1: error: b?[2J?\""};
    assert_diags(&list, wanted);
    diag_list_fini(&list);
}

static void test_diag_formats_into_any_size(void **state)
{
    (void)state;
    struct diag_list list;
    diag_list_init(&list);
    diag_error(&list, pos(3, 1, 1), "no file is known by that number");
    char text[64];
    diag_format(&list, &list.items[0], text, sizeof text);
    assert_string_equal(text, "error: no file is known by that number");
    diag_format(&list, &list.items[0], text, 8);
    assert_string_equal(text, "error: ");
    diag_list_fini(&list);
}

static void test_diag_is_written_as_json(void **state)
{
    (void)state;
    struct diag_list list;
    struct json_writer w;
    char text[256];
    diag_list_init(&list);
    uint32_t file = diag_add_file(&list, "f");
    diag_error(&list, pos(file, 2, 3), "wrong");
    diag_warning(&list, pos(file, 4, 5), "odd");
    diag_error(&list, pos(7, 0, 0), "nowhere");
    json_writer_init(&w, text, sizeof(text) - 1);
    diag_write_json(&w, &list, DIAG_ERROR);
    text[json_writer_finish(&w)] = '\0';
    assert_string_equal(text, "[{\"file\":\"f\",\"line\":2,\"column\":3,\"message\":\"wrong\"},"
                              "{\"file\":null,\"line\":0,\"column\":0,\"message\":\"nowhere\"}]");
    diag_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diag_sorts_by_place_and_keeps_the_order_of_equals),
        cmocka_unit_test(test_diag_counts_errors_apart_from_warnings),
        cmocka_unit_test(test_diag_counts_failing_tests_apart_from_errors),
        cmocka_unit_test(test_diag_is_one_line),
        cmocka_unit_test(test_diag_formats_into_any_size),
        cmocka_unit_test(test_diag_is_written_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
