/* path_trail: the steps of a way, links in every place, and ways that lead nowhere. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/path_trail.h"

static char base[256];

/* Every test runs in a directory of its own, so that the paths are short and relative. */
static int setup(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(base, sizeof(base), "%s/bulkhead-trail-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(base));
    assert_return_code(chdir(base), errno);
    assert_return_code(mkdir("d", 0700), errno);
    assert_return_code(mkdir("d/e", 0700), errno);
    assert_return_code(close(creat("d/file", 0600)), errno);
    assert_return_code(close(creat("d/e/file", 0600)), errno);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_return_code(chdir("/"), errno);
    char command[400];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", base);
    assert_int_equal(system(command), 0);
    return 0;
}

struct steps {
    char text[4096];
};

/* "dir/" for a directory on the way, "dir:name" for an entry, "dir=name" for the file. */
static void on_step(void *arg, enum path_step step, const char *dir, const char *name)
{
    struct steps *steps = arg;
    size_t len = strlen(steps->text);
    assert_true((name == NULL) == (step == PATH_STEP_DIRECTORY));
    const char *between = step == PATH_STEP_DIRECTORY ? "/" : (step == PATH_STEP_ENTRY ? ":" : "=");
    (void)snprintf(steps->text + len, sizeof(steps->text) - len, "%s%s%s%s", len > 0 ? " " : "",
                   dir, between, name != NULL ? name : "");
}

static void expect(const char *path, bool found, const char *resolved, const char *text)
{
    struct steps steps = {""};
    char out[PATH_MAX];
    bool result = path_trail_walk(path, PATH_NAMES_LINKS, on_step, &steps, out);
    if (result != found || strcmp(out, resolved) != 0 || strcmp(steps.text, text) != 0) {
        fail_msg("%s: %d \"%s\" by \"%s\"", path, result, out, steps.text);
    }
}

static void make_link(const char *target, const char *path)
{
    assert_return_code(symlink(target, path), errno);
}

static void test_plain_paths(void **state)
{
    (void)state;
    expect("d/file", true, "./d/file", "./d/ ./d=file");
    expect("./d//e/./file", true, "./d/e/file", "./d/ ./d/e/ ./d/e=file");
    expect("d/../d/file", true, "./d/file", "./d/ ./d/ ./d=file");
    expect("d", true, "./d", ".=d");
    expect("d/", true, "./d", ".=d");
    expect("/", true, "/", "");
    expect("/..", true, "/", "");
    expect("/dev/null", true, "/dev/null", "/dev/ /dev=null");
}

static void test_a_relative_path_may_leave_the_working_directory(void **state)
{
    (void)state;
    assert_return_code(chdir("d/e"), errno);
    expect("../file", true, "./../file", "./..=file");
    expect("../../d/file", true, "./../../d/file", "./../../d/ ./../../d=file");
}

static void test_links_are_steps(void **state)
{
    (void)state;
    make_link("..2026", "d/..data");
    make_link("..data/file", "d/link");
    assert_return_code(mkdir("d/..2026", 0700), errno);
    assert_return_code(close(creat("d/..2026/file", 0600)), errno);
    expect("d/link", true, "./d/..2026/file",
           "./d/ ./d:link ./d:..data ./d/..2026/ ./d/..2026=file");
    make_link("d/e", "far");
    expect("far/file", true, "./d/e/file", ".:far ./d/ ./d/e/ ./d/e=file");
    expect("far/../file", true, "./d/file",
           ".:far ./d/ ./d/e/ ./d=file"); /* physical, as in open */
    make_link("/dev/null", "absolute");
    expect("absolute", true, "/dev/null", ".:absolute /dev/ /dev=null");
    make_link("/", "d/root");
    expect("d/root/dev/null", true, "/dev/null", "./d/ ./d:root /dev/ /dev=null");
}

static void test_what_is_missing_is_a_step(void **state)
{
    (void)state;
    expect("d/none", false, "./d/none", "./d/ ./d=none");
    expect("none/file", false, "./none", ".:none");
    expect("d/file/below", false, "./d/file", "./d/ ./d:file");
    make_link("e/none", "d/dangling");
    expect("d/dangling", false, "./d/e/none", "./d/ ./d:dangling ./d/e/ ./d/e=none");
    expect("", false, "", "");
}

static void test_all_names_on_the_way(void **state)
{
    (void)state;
    struct steps steps = {""};
    char out[PATH_MAX];
    assert_false(path_trail_walk("d/e/none", PATH_NAMES_ALL, on_step, &steps, out));
    assert_string_equal(steps.text, ".:d ./d/ ./d:e ./d/e/ ./d/e=none");
}

static void test_links_that_go_round_end(void **state)
{
    (void)state;
    char out[PATH_MAX];
    struct steps steps = {""};
    make_link("round", "round");
    assert_false(path_trail_walk("round", PATH_NAMES_LINKS, on_step, &steps, out));
    make_link("a2/x", "a1");
    make_link("a1/x", "a2");
    steps.text[0] = '\0';
    assert_false(path_trail_walk("a1", PATH_NAMES_LINKS, on_step, &steps, out));
    /* 40 are followed, as by the kernel; 41 are not. */
    char from[16];
    char to[16] = "d/file";
    for (unsigned i = 1; i <= 41; i++) {
        (void)snprintf(from, sizeof(from), "l%u", i);
        make_link(to, from);
        memcpy(to, from, sizeof(to));
        steps.text[0] = '\0';
        struct stat info;
        bool opens = stat(from, &info) == 0;
        assert_int_equal(path_trail_walk(from, PATH_NAMES_LINKS, on_step, &steps, out), opens);
        assert_int_equal(opens, i <= 40);
    }
}

static void test_paths_that_are_too_long(void **state)
{
    (void)state;
    char path[PATH_MAX + 10];
    char out[PATH_MAX];
    struct steps steps = {""};
    memset(path, 'a', NAME_MAX + 1);
    path[NAME_MAX + 1] = '\0';
    assert_false(path_trail_walk(path, PATH_NAMES_LINKS, on_step, &steps, out));
    for (size_t i = 0; i < sizeof(path) - 1; i++) {
        path[i] = i % 2 == 0 ? '.' : '/';
    }
    path[sizeof(path) - 1] = '\0';
    assert_false(path_trail_walk(path, PATH_NAMES_LINKS, on_step, &steps, out));
    path[PATH_MAX - 1] = '\0';
    assert_true(path_trail_walk(path, PATH_NAMES_LINKS, on_step, &steps, out));
    /* A link whose text and the rest are together too long. */
    char target[PATH_MAX - 200];
    for (size_t i = 0; i < sizeof(target) - 1; i++) {
        target[i] = i % 2 == 0 ? '.' : '/';
    }
    target[sizeof(target) - 1] = '\0';
    make_link(target, "long");
    assert_true(path_trail_walk("long/d/file", PATH_NAMES_LINKS, on_step, &steps, out));
    memcpy(path, "long/", 5);
    for (size_t i = 5; i < 400; i++) {
        path[i] = i % 2 == 1 ? '.' : '/';
    }
    path[400] = '\0';
    assert_false(path_trail_walk(path, PATH_NAMES_LINKS, on_step, &steps, out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_relative_path_may_leave_the_working_directory, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_links_are_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_missing_is_a_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_names_on_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_links_that_go_round_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paths_that_are_too_long, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
