/* access_file: what can be opened, asked without opening; and the mode of a file that we make. */
#include "telemetry/access_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char directory[64];
    char path[96];
};

static int setup(void **state)
{
    static struct place place;
    (void)snprintf(place.directory, sizeof(place.directory), "/tmp/bulkhead-access-XXXXXX");
    assert_non_null(mkdtemp(place.directory));
    (void)snprintf(place.path, sizeof(place.path), "%s/access.log", place.directory);
    *state = &place;
    return 0;
}

static int teardown(void **state)
{
    const struct place *place = *state;
    (void)unlink(place->path);
    return rmdir(place->directory);
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void open_and_close(const char *path)
{
    struct errbuf err = {""};
    int fd = access_file_open(path, &err);
    if (fd < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND), O_APPEND);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    (void)close(fd);
}

static void test_a_new_file_has_its_mode_whatever_the_umask(void **state)
{
    const struct place *place = *state;
    mode_t before = umask(077);
    open_and_close(place->path);
    (void)umask(before);
    assert_int_equal(mode_of(place->path), 0640);
}

static void test_a_file_that_is_there_keeps_its_mode(void **state)
{
    const struct place *place = *state;
    int fd = open(place->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    open_and_close(place->path);
    assert_int_equal(mode_of(place->path), 0600);
}

static void refuse(const char *path, const char *message)
{
    struct errbuf err = {""};
    assert_int_equal(access_file_check(path, &err), -1);
    if (strstr(err.text, message) == NULL || strstr(err.text, path) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, message);
    }
    err.text[0] = '\0';
    assert_int_equal(access_file_open(path, &err), -1);
    assert_non_null(strstr(err.text, message));
}

static void test_check_makes_nothing(void **state)
{
    const struct place *place = *state;
    struct errbuf err = {""};
    assert_int_equal(access_file_check(place->path, &err), 0);
    assert_int_equal(access(place->path, F_OK), -1);
    open_and_close(place->path);
    assert_int_equal(access_file_check(place->path, &err), 0);
    assert_int_equal(access_file_check("/dev/null", &err), 0);
}

static void test_check_refuses_what_open_refuses(void **state)
{
    const struct place *place = *state;
    refuse(place->directory, "directory");
    refuse("/no/such/directory/access.log", "No such file or directory");
    refuse("/dev/null/access.log", "Not a directory");
}

static void test_check_asks_with_the_rights_of_the_process(void **state)
{
    const struct place *place = *state;
    if (geteuid() != 0) {
        skip();
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct errbuf err = {""};
        bool ok = setuid(65534) == 0 && access_file_check(place->path, &err) == -1 &&
                  strstr(err.text, "Permission denied") != NULL;
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_file_has_its_mode_whatever_the_umask),
        TEST(test_a_file_that_is_there_keeps_its_mode),
        TEST(test_check_makes_nothing),
        TEST(test_check_refuses_what_open_refuses),
        TEST(test_check_asks_with_the_rights_of_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
