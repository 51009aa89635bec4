/* file_watch: real files, changed in all the ways that programs change them. */
#include "unit/net/file_watch_test.h"

static void test_a_rename_replaces(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    expect_silence(fixture);
    rename_over("a", "2");
    uint64_t start = clock_mono_ms();
    expect(fixture, "aR");
    assert_true(fixture->last_ms - start < 1000 && fixture->last_ms - start >= 20 - 1);
    for (unsigned i = 0; i < 5; i++) {
        rename_over("a", "3"); /* many are one */
    }
    expect(fixture, "aR");
    assert_null(file_watch_limit(fixture->watch));
    end(fixture);
}

static void test_two_renamed_one_after_the_other_come_together(void **state)
{
    (void)state;
    struct fixture *fixture = new_slow_fixture();
    make_file("a", "1");
    make_file("b", "1");
    watch_two(fixture, "a", "b");
    rename_over("b", "2");
    run_loop_ms(fixture->loop, SLOW_MS * 3 / 5);
    rename_over("a", "2");
    run_loop_ms(fixture->loop, SLOW_MS * 3 / 5);
    assert_string_equal(fixture->reports, ""); /* b would be due, but a is not */
    fixture->stop_len = 1;
    run_loop(fixture->loop); /* until the end of the turn of the first */
    assert_string_equal(fixture->reports, "aR bR");
    end(fixture);
}

static void test_a_series_of_renames_does_not_starve(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    fixture->stop_len = 1;
    for (unsigned i = 0; i < 100 && fixture->reports[0] == '\0'; i++) {
        rename_over("a", "2");
        run_loop_ms(fixture->loop, 5);
    }
    assert_string_equal(fixture->reports, "aR");
    end(fixture);
}

static void test_kubernetes_swaps_a_link(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_kubernetes("..2026_01_01");
    make_link("..2026_01_01", "..data");
    make_link("..data/tls.crt", "tls.crt");
    make_link("..data/tls.key", "tls.key");
    char *path = NULL;
    assert_true(asprintf(&path, "%s/tls.crt", fixture->base) > 0);
    watch_two(fixture, path, "tls.key"); /* absolute and relative */
    free(path);
    expect_silence(fixture);
    make_kubernetes("..2026_01_02");
    expect_silence(fixture); /* only the swap counts */
    swap_link("..2026_01_02", "..data");
    make_file("..2026_01_01/tls.crt", "too late");
    remove_tree("..2026_01_01");
    expect(fixture, "aR bR");
    make_file("..2026_01_02/tls.crt", "written in place");
    expect(fixture, "aW");
    /* The same again: the new directory's name is a step of the way now. */
    make_kubernetes("..2026_01_03");
    swap_link("..2026_01_03", "..data");
    expect(fixture, "aR bR");
    make_file("..2026_01_02/tls.crt", "nobody looks here any more");
    expect_silence(fixture);
    end(fixture);
}

static void test_a_link_made_anew_replaces(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("v1", "1");
    make_file("v2", "2");
    make_link("v1", "a");
    watch_one(fixture, "a");
    assert_return_code(unlink("a"), errno);
    make_link("v2", "a");
    expect(fixture, "aR");
    assert_return_code(unlink("a"), errno);
    make_link("v2", "a"); /* as before: nothing has changed */
    expect_silence(fixture);
    end(fixture);
}

static void test_a_thousand_swaps(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_kubernetes("one");
    make_kubernetes("two");
    make_link("one", "..data");
    make_link("..data/tls.crt", "tls.crt");
    watch_one(fixture, "tls.crt");
    uint64_t start = clock_mono_ms();
    for (unsigned i = 0; i < 1000; i++) {
        swap_link(i % 2 == 0 ? "two" : "one", "..data");
        if (i % 10 == 0) {
            run_loop_ms(fixture->loop, 1);
        }
    }
    uint64_t took = clock_mono_ms() - start;
    fixture->stop_len = sizeof(fixture->reports);
    run_loop_ms(fixture->loop, 200);
    size_t len = strlen(fixture->reports);
    assert_true(len >= 2 && len <= 3 * (took / 20 + 2)); /* at most one per settling */
    fixture->reports[0] = '\0';
    swap_link("two", "..data");
    expect(fixture, "aR");
    end(fixture);
}

static void test_a_write_in_steps_is_reported_once_after_the_last(void **state)
{
    (void)state;
    struct fixture *fixture = new_slow_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    int fd = open("a", O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_return_code(fd, errno);
    uint64_t last = 0;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(write(fd, "line\n", 5), 5);
        last = clock_mono_ms();
        run_loop_ms(fixture->loop, SLOW_MS / 5);
        assert_string_equal(fixture->reports, "");
    }
    expect(fixture, "aW");
    assert_true(fixture->last_ms - last >= SLOW_MS - 1);
    assert_return_code(close(fd), errno);
    /* The same size, and perhaps within one tick of the file system's clock. */
    make_file("a", "x");
    make_file("a", "y");
    expect(fixture, "aW");
    end(fixture);
}

/* Else whoever rewrites a CRL every second keeps all of its successors out. */
static void test_what_is_written_for_ever_is_reported_at_last(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    for (unsigned i = 0; i < 2000 && fixture->reports[0] == '\0'; i++) {
        make_file("a", i % 2 == 0 ? "22" : "333");
        run_loop_ms(fixture->loop, STILL_MS / 20);
    }
    assert_string_equal(fixture->reports, "aW");
    fixture->reports[0] = '\0';
    make_file("a", "4");
    expect(fixture, "aW");
    end(fixture);
}

static void test_each_entry_has_its_own_stillness(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    const struct file_watch_entry entries[] = {{"a", SLOW_MS, tag_b, NULL}, {"a", 0, tag_a, NULL}};
    file_watch_set(fixture->watch, entries, 2);
    make_file("a", "2");
    fixture->stop_len = 1;
    run_loop(fixture->loop);
    assert_string_equal(fixture->reports, "aW");
    run_loop_ms(fixture->loop, STILL_MS);
    assert_string_equal(fixture->reports, "aW");
    run_loop(fixture->loop);
    assert_string_equal(fixture->reports, "aW bW");
    end(fixture);
}

static void test_removed_and_made_anew_is_no_replacement(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    for (unsigned i = 0; i < 5; i++) {
        assert_return_code(unlink("a"), errno);
        make_file("a", "2"); /* on ext4 as a rule with the same inode */
        expect(fixture, "aW");
    }
    end(fixture);
}

static void test_away_for_a_moment_is_not_gone(void **state)
{
    (void)state;
    struct fixture *fixture = new_slow_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    assert_return_code(unlink("a"), errno);
    run_loop_ms(fixture->loop, 5);
    make_file("a", "1");
    expect(fixture, "aW");
    end(fixture);
}

static void test_a_rename_that_is_written_on_is_a_write(void **state)
{
    (void)state;
    struct fixture *fixture = new_slow_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    rename_over("a", "2");
    append("a", "3");
    expect(fixture, "aW");
    rename_over("a", "2");
    run_loop_ms(fixture->loop, 5);
    append("a", "3");
    expect(fixture, "aW");
    append("a", "4"); /* and the other way round */
    rename_over("a", "5");
    expect(fixture, "aR");
    /* A new mode or owner after it is no writing. */
    rename_over("a", "2");
    assert_return_code(chmod("a", 0640), errno);
    expect(fixture, "aR");
    end(fixture);
}

static void test_gone_and_back(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    watch_two(fixture, "a", "b");
    assert_return_code(unlink("a"), errno);
    expect(fixture, "aG");
    rename_over("a", "2");
    expect(fixture, "aR");
    assert_return_code(rename("a", "elsewhere"), errno);
    expect(fixture, "aG");
    make_file("a", "3");
    expect(fixture, "aW");
    /* Hidden for a moment, by one who renames it away and back. */
    assert_return_code(rename("a", "elsewhere"), errno);
    assert_return_code(rename("elsewhere", "a"), errno);
    expect(fixture, "aR");
    make_file("b", "first"); /* was never there */
    expect(fixture, "bW");
    make_file("c", "1");
    watch_one(fixture, "c");
    assert_return_code(unlink("a"), errno); /* no longer in the set */
    assert_return_code(unlink("b"), errno);
    expect_silence(fixture);
    end(fixture);
}

static void test_made_and_removed_at_once_is_nothing(void **state)
{
    (void)state;
    struct fixture *fixture = new_slow_fixture();
    watch_one(fixture, "a");
    make_file("a", "1");
    run_loop_ms(fixture->loop, 5);
    assert_return_code(unlink("a"), errno);
    expect_silence(fixture);
    end(fixture);
}

static void test_directories_vanish_and_come_back(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_dir("d/e");
    make_file("d/e/a", "1");
    watch_one(fixture, "d/e/a");
    for (unsigned i = 0; i < 3; i++) {
        remove_tree("d");
        expect(fixture, "aG");
        make_dir("d");
        run_loop_ms(fixture->loop, 5);
        make_dir("d/e");
        make_file("d/e/a", "2");
        expect(fixture, "aW");
        append("d/e/a", "3");
        expect(fixture, "aW");
    }
    /* As a whole, by a rename. */
    assert_return_code(rename("d", "old"), errno);
    expect(fixture, "aG");
    append("old/e/a", "nobody looks here");
    expect_silence(fixture);
    assert_return_code(rename("old", "d"), errno);
    expect(fixture, "aR");
    end(fixture);
}

/* Its name is free, but the kernel tells that it is gone only when nobody uses it any more. */
static void test_a_removed_directory_that_is_in_use(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_file("d/a", "1");
    watch_one(fixture, "d/a");
    int fd = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_return_code(fd, errno);
    assert_return_code(unlink("d/a"), errno);
    expect(fixture, "aG");
    assert_return_code(rmdir("d"), errno);
    expect_silence(fixture);
    make_dir("d");
    make_file("d/a", "2");
    expect(fixture, "aW");
    assert_return_code(close(fd), errno);
    expect_silence(fixture);
    append("d/a", "3");
    expect(fixture, "aW");
    end(fixture);
}

static void test_two_directories_are_exchanged(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_dir("d2");
    make_file("d/a", "1");
    make_file("d2/a", "2");
    watch_one(fixture, "d/a");
    assert_return_code((int)syscall(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "d2", 2), errno);
    expect(fixture, "aW");
    rename_over("d/a", "3");
    expect(fixture, "aR");
    rename_over("d2/a", "3");
    expect_silence(fixture);
    end(fixture);
}

static void test_a_dangling_link_becomes_valid(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_link("d/target", "a");
    make_link("b", "b");
    watch_two(fixture, "a", "b");
    expect_silence(fixture);
    make_dir("d");
    expect_silence(fixture);
    make_file("d/target", "1");
    expect(fixture, "aW");
    assert_return_code(unlink("d/target"), errno);
    expect(fixture, "aG");
    rename_over("d/target", "2");
    expect(fixture, "aR");
    rename_over("b", "no longer a link to itself");
    expect(fixture, "bR");
    end(fixture);
}

static void test_one_file_under_two_entries(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    make_link("a", "link");
    watch_two(fixture, "a", "a");
    rename_over("a", "2");
    expect(fixture, "aR bR");
    watch_two(fixture, "a", "link");
    rename_over("a", "2");
    expect(fixture, "aR bR");
    append("link", "3");
    expect(fixture, "aW bW");
    watch_one(fixture, "a"); /* the directory is still held by the other */
    rename_over("a", "4");
    expect(fixture, "aR");
    end(fixture);
}

static void test_what_does_not_count(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    watch_one(fixture, "a");
    char byte;
    int fd = open("a", O_RDWR | O_CLOEXEC);
    assert_return_code(fd, errno);
    assert_int_equal(read(fd, &byte, 1), 1);
    assert_return_code(close(fd), errno);
    make_file("neighbour", "1");
    rename_over("neighbour", "2");
    make_dir("a-directory");
    expect_silence(fixture);
    assert_return_code(utimensat(AT_FDCWD, "a", NULL, 0), errno);
    expect(fixture, "aW"); /* a touch: for the caller to compare */
    end(fixture);
}

static void test_pipes_and_devices_do_not_hang(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    assert_return_code(mkfifo("a", 0600), errno);
    watch_two(fixture, "a", "/dev/zero");
    expect_silence(fixture);
    rename_over("a", "a file now");
    expect(fixture, "aR");
    watch_two(fixture, "/dev/stdin", "/proc/self/fd/0");
    expect_silence(fixture);
    watch_two(fixture, "/", "");
    expect_silence(fixture);
    end(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rename_replaces),
        cmocka_unit_test(test_two_renamed_one_after_the_other_come_together),
        cmocka_unit_test(test_a_series_of_renames_does_not_starve),
        cmocka_unit_test(test_kubernetes_swaps_a_link),
        cmocka_unit_test(test_a_link_made_anew_replaces),
        cmocka_unit_test(test_a_thousand_swaps),
        cmocka_unit_test(test_a_write_in_steps_is_reported_once_after_the_last),
        cmocka_unit_test(test_what_is_written_for_ever_is_reported_at_last),
        cmocka_unit_test(test_each_entry_has_its_own_stillness),
        cmocka_unit_test(test_removed_and_made_anew_is_no_replacement),
        cmocka_unit_test(test_away_for_a_moment_is_not_gone),
        cmocka_unit_test(test_a_rename_that_is_written_on_is_a_write),
        cmocka_unit_test(test_gone_and_back),
        cmocka_unit_test(test_made_and_removed_at_once_is_nothing),
        cmocka_unit_test(test_directories_vanish_and_come_back),
        cmocka_unit_test(test_a_removed_directory_that_is_in_use),
        cmocka_unit_test(test_two_directories_are_exchanged),
        cmocka_unit_test(test_a_dangling_link_becomes_valid),
        cmocka_unit_test(test_one_file_under_two_entries),
        cmocka_unit_test(test_what_does_not_count),
        cmocka_unit_test(test_pipes_and_devices_do_not_hang),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
