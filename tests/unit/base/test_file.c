/* file: what is read, what is refused and with which words. */
#include "base/file.h"

#include "base/memory.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char dir[256];
    char path[300];
};

static int setup(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    const char *base = getenv("TMPDIR");
    (void)snprintf(place->dir, sizeof(place->dir), "%s/bulkhead-file-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(place->dir));
    (void)snprintf(place->path, sizeof(place->path), "%s/file", place->dir);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    (void)unlink(place->path);
    (void)rmdir(place->dir);
    mem_free(place);
    return 0;
}

static void write_file(const char *path, const void *data, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void expect_refusal(const char *path, size_t max_bytes, const char *part)
{
    char *data = NULL;
    size_t len = 99;
    struct errbuf err = {.text = ""};
    assert_int_equal(file_read(path, max_bytes, &data, &len, &err), -1);
    assert_null(data);
    assert_int_equal(len, 0);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, err.text);
    }
}

static void test_file_reads_all_sizes_whole(void **state)
{
    const struct place *place = *state;
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 4097, 8192, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *content = mem_alloc(sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) {
            content[k] = (char)(k % 251);
        }
        write_file(place->path, content, sizes[i], 0600);
        char *data = NULL;
        size_t len = 0;
        struct errbuf err;
        assert_int_equal(file_read(place->path, 100000, &data, &len, &err), 0);
        assert_int_equal(len, sizes[i]);
        assert_memory_equal(data, content, len);
        assert_int_equal(data[len], '\0');
        mem_free(data);
        mem_free(content);
    }
}

static void test_file_refuses_what_is_too_large(void **state)
{
    const struct place *place = *state;
    write_file(place->path, "12345", 5, 0600);
    expect_refusal(place->path, 4, "is too large: 5 bytes; at most 4 are accepted");
    expect_refusal(place->path, 0, "is too large");
    char *data = NULL;
    size_t len = 0;
    struct errbuf err;
    assert_int_equal(file_read(place->path, 5, &data, &len, &err), 0);
    mem_free(data);
    /* Files of /proc have no size before they are read. */
    expect_refusal("/proc/self/status", 10, "is too large; at most 10 bytes");
}

static void test_file_names_what_is_missing(void **state)
{
    const struct place *place = *state;
    expect_refusal(place->path, 10, "/file\": No such file or directory");
    expect_refusal("", 10, "No such file or directory");
    expect_refusal(place->dir, 10, "is a directory; a file is needed");
    if (geteuid() != 0) {
        write_file(place->path, "x", 1, 0);
        expect_refusal(place->path, 10, "Permission denied");
    }
}

static void test_file_does_not_hang_on_a_fifo(void **state)
{
    const struct place *place = *state;
    assert_int_equal(mkfifo(place->path, 0600), 0);
    expect_refusal(place->path, 10, "is no regular file");
}

static void test_file_refuses_devices_and_sockets(void **state)
{
    const struct place *place = *state;
    expect_refusal("/dev/zero", 10, "is no regular file");
    expect_refusal("/dev/null", 10, "is no regular file");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(place->path) < sizeof(un.sun_path)) {
        memcpy(un.sun_path, place->path, strlen(place->path));
        assert_int_equal(bind(fd, (const struct sockaddr *)&un, sizeof(un)), 0);
        expect_refusal(place->path, 10, "can't open");
    }
    (void)close(fd);
}

static void test_file_reads_a_pipe_by_number(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "piped", 5), 5);
    (void)close(ends[1]);
    char path[64];
    (void)snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
    char *data = NULL;
    size_t len = 0;
    struct errbuf err;
    assert_int_equal(file_read(path, 5, &data, &len, &err), 0);
    assert_int_equal(len, 5);
    assert_string_equal(data, "piped");
    mem_free(data);
    (void)close(ends[0]);

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "piped", 5), 5);
    (void)snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
    expect_refusal(path, 4, "is too large; at most 4 bytes");
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_file_reads_standard_input(void **state)
{
    const struct place *place = *state;
    write_file(place->path, "typed", 5, 0600);
    int saved = dup(STDIN_FILENO);
    static const char *const names[] = {"-", "/dev/stdin"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int fd = open(place->path, O_RDONLY);
        assert_true(dup2(fd, STDIN_FILENO) == STDIN_FILENO);
        (void)close(fd);
        char *data = NULL;
        size_t len = 0;
        struct errbuf err;
        assert_int_equal(file_read(names[i], 100, &data, &len, &err), 0);
        assert_string_equal(data, "typed");
        mem_free(data);
    }
    if (saved >= 0) {
        (void)dup2(saved, STDIN_FILENO);
        (void)close(saved);
    } else {
        (void)close(STDIN_FILENO);
    }
}

static void test_file_secret_modes(void **state)
{
    const struct place *place = *state;
    static const struct {
        mode_t mode;
        int result;
        int others_may_read;
    } cases[] = {
        {0600, 0, 0}, {0400, 0, 0}, {0640, 0, 0},  {0660, 0, 0},  {0644, 0, 1},
        {0604, 0, 1}, {0601, 0, 0}, {0602, -1, 0}, {0666, -1, 0}, {0777, -1, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)unlink(place->path);
        write_file(place->path, "key", 3, cases[i].mode);
        char *data = NULL;
        size_t len = 0;
        int others = 77;
        struct errbuf err = {.text = ""};
        assert_int_equal(file_read_secret(place->path, 100, &data, &len, &others, &err),
                         cases[i].result);
        assert_int_equal(others, cases[i].others_may_read);
        if (cases[i].result == 0) {
            assert_string_equal(data, "key");
            mem_free(data);
        } else {
            assert_null(data);
            assert_non_null(strstr(err.text, "may be written by everyone (mode 0"));
            assert_non_null(strstr(err.text, "make it 0600"));
        }
    }
}

static void test_file_descriptors_are_not_leaked(void **state)
{
    const struct place *place = *state;
    int before = dup(STDERR_FILENO);
    (void)close(before);
    write_file(place->path, "12345", 5, 0600);
    expect_refusal(place->path, 1, "is too large");
    expect_refusal(place->dir, 1, "is a directory");
    char *data = NULL;
    size_t len = 0;
    struct errbuf err;
    assert_int_equal(file_read(place->path, 5, &data, &len, &err), 0);
    mem_free(data);
    int after = dup(STDERR_FILENO);
    (void)close(after);
    assert_int_equal(before, after);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_file_reads_all_sizes_whole),
        WITH_PLACE(test_file_refuses_what_is_too_large),
        WITH_PLACE(test_file_names_what_is_missing),
        WITH_PLACE(test_file_does_not_hang_on_a_fifo),
        WITH_PLACE(test_file_refuses_devices_and_sockets),
        WITH_PLACE(test_file_reads_a_pipe_by_number),
        WITH_PLACE(test_file_reads_standard_input),
        WITH_PLACE(test_file_secret_modes),
        WITH_PLACE(test_file_descriptors_are_not_leaked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
