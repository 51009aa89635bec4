/* memory and assert: sizes that overflow and conditions that fail end the process with a message.
 */
#include "base/memory.h"

#include "base/assert.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Runs fn in a child; its stderr goes to out. Returns the signal that ended it, or 0. */
static int run_in_child(void (*fn)(void), char *out, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        fn();
        _exit(0);
    }
    (void)close(ends[1]);
    size_t len = 0;
    ssize_t got;
    while ((got = read(ends[0], out + len, size - 1 - len)) > 0) {
        len += (size_t)got;
    }
    out[len] = '\0';
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void overflow_alloc_array(void)
{
    mem_free(mem_alloc_array(SIZE_MAX / 2, 3));
}

static void overflow_grow_array(void)
{
    mem_free(mem_grow_array(NULL, 0, SIZE_MAX / 4, 5));
}

static void overflow_alloc_aligned_array(void)
{
    mem_free(mem_alloc_aligned_array(64, SIZE_MAX / 4, 5));
}

static void overflow_strndup(void)
{
    mem_free(mem_strndup("x", SIZE_MAX));
}

static void failing_assert(void)
{
    ASSERT(1 + 1 == 3);
}

static void failing_magic(void)
{
    struct {
        unsigned magic;
    } object = {.magic = 2}, *pointer = &object;
    CHECK_MAGIC(pointer, 1U);
}

static void test_memory_aborts_on_overflow(void **state)
{
    (void)state;
    void (*const cases[])(void) = {overflow_alloc_array, overflow_alloc_aligned_array,
                                   overflow_grow_array, overflow_strndup};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        assert_int_equal(run_in_child(cases[i], text, sizeof(text)), SIGABRT);
        assert_non_null(strstr(text, "bulkhead: out of memory"));
    }
}

static void test_assert_prints_and_aborts(void **state)
{
    (void)state;
    char text[512];
    assert_int_equal(run_in_child(failing_assert, text, sizeof(text)), SIGABRT);
    assert_non_null(strstr(text, "test_memory.c"));
    assert_non_null(strstr(text, "failing_assert: assertion failed: 1 + 1 == 3"));
    assert_int_equal(run_in_child(failing_magic, text, sizeof(text)), SIGABRT);
}

static void test_memory_is_zeroed_and_size_zero_is_no_failure(void **state)
{
    (void)state;
    static const char zero[100];
    char *memory = mem_alloc(sizeof(zero));
    assert_memory_equal(memory, zero, sizeof(zero));
    mem_free(memory);
    memory = mem_try_alloc(sizeof(zero));
    assert_non_null(memory);
    assert_memory_equal(memory, zero, sizeof(zero));
    mem_free(memory);
    memory = mem_try_alloc(0);
    assert_non_null(memory);
    mem_free(memory);
    mem_free(mem_alloc_array(0, 8));
    mem_free(NULL);
}

static void test_memory_aligned_is_aligned_and_zeroed(void **state)
{
    (void)state;
    static const char zero[192];
    for (size_t count = 0; count <= 3; count++) {
        char *before = mem_alloc(4096); /* what comes from the same place next must be zero again */
        memset(before, 1, 4096);
        mem_free(before);
        char *memory = mem_alloc_aligned_array(64, count, 64);
        assert_int_equal((uintptr_t)memory % 64, 0);
        assert_memory_equal(memory, zero, count * 64);
        mem_free(memory);
    }
}

static void test_memory_grown_part_is_zero(void **state)
{
    (void)state;
    uint32_t *array = mem_grow_array(NULL, 0, 3, sizeof(array[0]));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(array[i], 0);
        array[i] = i + 1;
    }
    array = mem_grow_array(array, 3, 1000, sizeof(array[0]));
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(array[i], i < 3 ? i + 1 : 0);
    }
    mem_free(array);
}

static void test_memory_strings_are_copied(void **state)
{
    (void)state;
    char *copy = mem_strdup("abc");
    assert_string_equal(copy, "abc");
    mem_free(copy);
    copy = mem_strndup("abc", 2);
    assert_string_equal(copy, "ab");
    mem_free(copy);
    copy = mem_strndup(NULL, 0);
    assert_string_equal(copy, "");
    mem_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_aborts_on_overflow),
        cmocka_unit_test(test_assert_prints_and_aborts),
        cmocka_unit_test(test_memory_is_zeroed_and_size_zero_is_no_failure),
        cmocka_unit_test(test_memory_aligned_is_aligned_and_zeroed),
        cmocka_unit_test(test_memory_grown_part_is_zero),
        cmocka_unit_test(test_memory_strings_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
