/* file_watch: changes of the set, the poll, and the limits of inotify. */
#include "unit/net/file_watch_test.h"

#include <dirent.h>

static void test_a_set_keeps_what_it_knows(void **state)
{
    (void)state;
    struct fixture *fixture = new_slow_fixture();
    make_file("a", "1");
    make_file("b", "1");
    watch_two(fixture, "a", "b");
    append("a", "2");
    rename_over("b", "2");
    run_loop_ms(fixture->loop, 5); /* both pending */
    const struct file_watch_entry swapped[] = {{"b", SLOW_MS, tag_a, NULL},
                                               {"a", SLOW_MS, tag_b, NULL}};
    file_watch_set(fixture->watch, swapped, 2);
    expect(fixture, "aR bW"); /* with the new tags */
    append("a", "3");         /* not even seen yet */
    file_watch_set(fixture->watch, swapped, 2);
    expect(fixture, "bW");
    assert_return_code(unlink("a"), errno);
    expect(fixture, "bG");
    file_watch_set(fixture->watch, swapped, 2);
    expect_silence(fixture); /* gone is said once */
    file_watch_set(fixture->watch, NULL, 0);
    make_file("a", "4");
    expect_silence(fixture);
    watch_one(fixture, "a");
    expect_silence(fixture); /* a new entry: as it is */
    end(fixture);
}

static void test_callbacks_may_set_and_free(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_file("a", "1");
    make_file("b", "1");
    watch_two(fixture, "a", "b");
    /* The second report survives a set inside the first, in another order. */
    fixture->next_set[0] = (struct file_watch_entry){"b", STILL_MS, tag_b, NULL};
    fixture->next_set[1] = (struct file_watch_entry){"a", STILL_MS, tag_a, NULL};
    fixture->next_count = 2;
    rename_over("a", "2");
    rename_over("b", "2");
    expect(fixture, "aR bR");
    /* But not a set without it. */
    fixture->next_set[0] = (struct file_watch_entry){"b", STILL_MS, tag_b, NULL};
    fixture->next_count = 1;
    rename_over("a", "3");
    rename_over("b", "3");
    expect(fixture, "bR");
    watch_two(fixture, "a", "b");
    fixture->free_next = true;
    rename_over("a", "4");
    rename_over("b", "4");
    expect(fixture, "aR");
    assert_null(fixture->watch);
    end(fixture);
}

static void test_the_poll_alone(void **state)
{
    (void)state;
    struct fixture *fixture = new_poll_fixture();
    make_kubernetes("v1");
    make_kubernetes("v2");
    make_link("v1", "..data");
    make_file("a", "1");
    watch_two(fixture, "a", "..data/tls.crt");
    unsigned long calls = add_calls;
    rename_over("a", "2");
    expect(fixture, "aW"); /* the poll can't tell it from a write */
    swap_link("v2", "..data");
    expect(fixture, "bR");
    append("a", "3");
    expect(fixture, "aW");
    assert_return_code(unlink("a"), errno);
    expect(fixture, "aG");
    make_file("a", "4");
    expect(fixture, "aW");
    assert_int_equal(add_calls, calls);
    assert_null(file_watch_limit(fixture->watch)); /* it was asked for */
    end(fixture);
}

static void test_the_poll_sees_a_replacement_that_is_written_on(void **state)
{
    (void)state;
    struct fixture *fixture = new_fixture(&(struct file_watch_options){
        .method = FILE_WATCH_POLL, .poll_ms = 20, .settle_ms = SLOW_MS});
    make_kubernetes("v1");
    make_kubernetes("v2");
    make_link("v1", "..data");
    watch_one(fixture, "..data/tls.crt");
    swap_link("v2", "..data");
    run_loop_ms(fixture->loop, 60); /* seen, and settling */
    append("v2/tls.crt", "more");
    expect(fixture, "aW");
    end(fixture);
}

static void test_without_inotify_the_poll_works(void **state)
{
    (void)state;
    static const struct {
        int init;
        int add;
        const char *text;
    } rows[] = {{EMFILE, 0, "max_user_instances"},
                {ENOSYS, 0, "no inotify"},
                {0, ENOSPC, "max_user_watches"},
                {0, ENOMEM, "memory"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        init_error = rows[i].init;
        add_error = rows[i].add;
        struct fixture *fixture =
            new_fixture(&(struct file_watch_options){.poll_ms = 20, .settle_ms = 20});
        make_file("a", "1");
        watch_one(fixture, "a");
        assert_non_null(file_watch_limit(fixture->watch));
        assert_non_null(strstr(file_watch_limit(fixture->watch), rows[i].text));
        append("a", "2");
        expect(fixture, "aW");
        if (rows[i].add != 0) {
            add_error = 0; /* somebody has raised the limit: the next poll takes hold */
            run_loop_ms(fixture->loop, 50);
            assert_null(file_watch_limit(fixture->watch));
            rename_over("a", "3");
            expect(fixture, "aR");
        }
        end(fixture);
    }
}

static void test_an_overflow_looks_at_everything(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_kubernetes("v1");
    make_kubernetes("v2");
    make_link("v1", "..data");
    make_file("a", "1");
    watch_two(fixture, "a", "..data/tls.crt");
    unsigned limit = 0;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u", &limit), 1); /* NOLINT(cert-err34-c) */
    assert_return_code(fclose(file), errno);
    make_file("x", "");
    make_file("y", "");
    for (unsigned i = 0; i < limit; i++) { /* two in turn: equal events in a row fold */
        assert_return_code(chmod(i % 2 == 0 ? "x" : "y", 0600), errno);
    }
    rename_over("a", "2");
    swap_link("v2", "..data");
    expect_either(fixture, "bR aW",
                  "aW bR"); /* that the one was renamed is lost; it comes all the same */
    rename_over("a", "3");
    expect(fixture, "aR");
    end(fixture);
}

static unsigned count_open_files(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    assert_return_code(closedir(dir), errno);
    return count;
}

/* The number of inotify watches, from the kernel. */
static unsigned count_watches(void)
{
    unsigned count = 0;
    for (int fd = 3; fd < 64; fd++) {
        char line[256];
        (void)snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", fd);
        FILE *file = fopen(line, "r");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            count += strncmp(line, "inotify wd:", 11) == 0;
        }
        if (file != NULL) {
            assert_return_code(fclose(file), errno);
        }
    }
    return count;
}

static void test_nothing_is_left_of_many_sets(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_file("d/a", "1");
    make_file("a", "1");
    watch_two(fixture, "a", "d/a");
    unsigned files = count_open_files();
    unsigned watches = count_watches();
    assert_int_equal(watches, 2);
    for (unsigned i = 0; i < 10000; i++) {
        watch_two(fixture, i % 2 == 0 ? "d/none" : "a", i % 3 == 0 ? "nowhere/at/all" : "d/a");
    }
    watch_two(fixture, "a", "d/a");
    assert_int_equal(count_open_files(), files);
    assert_int_equal(count_watches(), watches);
    run_loop_ms(fixture->loop, 5); /* what inotify says of all the watches that are gone */
    rename_over("a", "2");
    expect(fixture, "aR");
    file_watch_set(fixture->watch, NULL, 0);
    assert_int_equal(count_watches(), 0);
    end(fixture);
}

/* A busy directory that is only passed through does not wake us. */
static void test_a_way_is_not_watched_by_name_for_longer_than_needed(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    make_dir("d");
    make_dir("d/e");
    watch_one(fixture, "d/e/a"); /* missing: by name all the way */
    make_file("d/e/a", "1");
    expect(fixture, "aW");
    unsigned long calls = add_calls;
    make_file("neighbour-of-d", "1");
    rename_over("d/neighbour-of-e", "1");
    expect_silence(fixture);
    assert_int_equal(add_calls, calls);
    char line[256];
    unsigned wide = 0;
    for (int fd = 3; fd < 64; fd++) {
        (void)snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", fd);
        FILE *file = fopen(line, "r");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            const char *mask = strstr(line, " mask:");
            wide += mask != NULL && (strtoul(mask + 6, NULL, 16) & IN_CREATE) != 0;
        }
        if (file != NULL) {
            assert_return_code(fclose(file), errno);
        }
    }
    assert_int_equal(wide, 1); /* e itself */
    end(fixture);
}

/* While a file is not there its way is watched by name, and others share that way. */
static void test_looking_for_a_file_that_has_gone_ends(void **state)
{
    (void)state;
    struct fixture *fixture = new_inotify_fixture();
    char a[300];
    char b[300];
    make_dir("d");
    make_dir("d/e");
    (void)snprintf(a, sizeof(a), "%.255s/d/e/a", fixture->base);
    (void)snprintf(b, sizeof(b), "%.255s/d/b", fixture->base);
    make_file(a, "1");
    make_file(b, "1");
    watch_two(fixture, a, b);
    alarm(60); /* a look without end would hold the loop, and with it every deadline of this test */
    assert_return_code(unlink(a), errno);
    expect(fixture, "aG");
    append(b, "2");
    expect(fixture, "bW");
    unsigned long calls = add_calls;
    assert_return_code(unlink(b), errno);
    expect(fixture, "bG");
    assert_in_range(add_calls - calls, 1, 400);
    make_file(a, "2");
    make_file(b, "2");
    expect(fixture, "aW bW");
    alarm(0);
    end(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_set_keeps_what_it_knows),
        cmocka_unit_test(test_callbacks_may_set_and_free),
        cmocka_unit_test(test_the_poll_alone),
        cmocka_unit_test(test_the_poll_sees_a_replacement_that_is_written_on),
        cmocka_unit_test(test_without_inotify_the_poll_works),
        cmocka_unit_test(test_an_overflow_looks_at_everything),
        cmocka_unit_test(test_nothing_is_left_of_many_sets),
        cmocka_unit_test(test_a_way_is_not_watched_by_name_for_longer_than_needed),
        cmocka_unit_test(test_looking_for_a_file_that_has_gone_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
