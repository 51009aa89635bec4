/* file_watch: which names in a directory match a pattern. */
#include "unit/net/file_watch_test.h"

static void watch_names(struct fixture *fixture, const char *path)
{
    const struct file_watch_entry entry = {
        .path = path, .still_ms = fixture->still_ms, .tag = tag_a, .pattern = "*.yaml"};
    file_watch_set(fixture->watch, &entry, 1);
}

static void test_a_name_that_is_renamed_in_replaces(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_file("d/1.yaml", "1");
    watch_names(fixture, "d");
    rename_over("d/2.yaml", "2");
    expect(fixture, "aR");
    rename_over("d/2.yaml", "3"); /* over one that was there */
    expect(fixture, "aR");
    /* A name that goes takes nothing from one that comes. */
    rename_over("d/3.yaml", "3");
    assert_return_code(unlink("d/1.yaml"), errno);
    run_loop_ms(fixture->loop, 2);
    assert_return_code(unlink("d/2.yaml"), errno);
    expect(fixture, "aR");
    end(fixture);
}

static void test_names_that_come_or_go_otherwise_are_written(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    watch_names(fixture, "d");
    make_file("d/1.yaml", "1");
    expect(fixture, "aW");
    assert_return_code(rename("d/1.yaml", "d/1.off"), errno);
    expect(fixture, "aW");
    assert_return_code(rename("d/1.off", "d/1.yaml"), errno);
    expect(fixture, "aR");
    assert_return_code(unlink("d/1.yaml"), errno);
    expect(fixture, "aW");
    end(fixture);
}

static void test_other_names_and_contents_do_not_count(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_file("d/1.yaml", "1");
    watch_names(fixture, "d");
    make_file("d/1.yaml.swp", "1");
    make_file("d/.2.yaml", "1");
    rename_over("d/3.yml", "1");
    append("d/1.yaml", "2");
    make_dir("d/sub");
    make_file("d/sub/4.yaml", "1");
    expect_silence(fixture);
    end(fixture);
}

static void test_a_directory_behind_a_link_is_swapped(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("one");
    make_dir("two");
    make_link("one", "d");
    watch_names(fixture, "d");
    swap_link("two", "d");
    expect(fixture, "aR");
    rename_over("d/1.yaml", "1");
    expect(fixture, "aR");
    end(fixture);
}

static void test_a_directory_goes_and_comes(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_file("d/1.yaml", "1");
    watch_names(fixture, "d");
    assert_return_code(rename("d", "e"), errno);
    expect(fixture, "aG");
    assert_return_code(rename("e", "d"), errno);
    expect(fixture, "aR");
    end(fixture);
}

static void test_the_poll_finds_names(void **state)
{
    (void)state;
    struct fixture *fixture = new_poll_fixture();
    make_dir("d");
    watch_names(fixture, "d");
    rename_over("d/1.yaml", "1");
    expect(fixture, "aW"); /* a poll can't tell how it came */
    make_file("d/1.txt", "1");
    expect_silence(fixture);
    end(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_name_that_is_renamed_in_replaces),
        cmocka_unit_test(test_names_that_come_or_go_otherwise_are_written),
        cmocka_unit_test(test_other_names_and_contents_do_not_count),
        cmocka_unit_test(test_a_directory_behind_a_link_is_swapped),
        cmocka_unit_test(test_a_directory_goes_and_comes),
        cmocka_unit_test(test_the_poll_finds_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
