/* first_seen_file: what it holds comes back; what is broken is never overwritten. */
#include "control/first_seen_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "telemetry/peer_table.h"

#define HEAD "# bulkhead first-seen 1\n"
#define WEB  "spiffe://prod.example/web 2026-11-30T22:30:00Z -\n"
#define WIKI "spiffe://prod.example/wiki 2026-11-30T22:31:07Z 2026-12-01T08:00:00Z\n"

struct place {
    char dir[32];
    char path[64];
};

static int make_place(void **state)
{
    struct place *place = mem_alloc(sizeof(*place));
    (void)snprintf(place->dir, sizeof(place->dir), "/tmp/bulkhead-test-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    (void)snprintf(place->path, sizeof(place->path), "%s/seen", place->dir);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    char command[64];
    (void)snprintf(command, sizeof(command), "rm -rf %s", place->dir);
    int status = system(command);
    mem_free(place);
    return status;
}

static void put(const char *path, const char *text, size_t len)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static void expect_content(const char *path, const char *text)
{
    struct errbuf err;
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(file_read(path, 1 << 20, &data, &len, &err), 0);
    assert_string_equal(data, text);
    mem_free(data);
}

static void test_what_it_holds_comes_back(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    size_t line = 0;
    struct peer_table *table = peer_table_new(10);
    put(place->path, HEAD WEB WIKI, strlen(HEAD WEB WIKI));
    assert_int_equal(first_seen_file_read(place->path, table, &line, &err), FIRST_SEEN_WHOLE);
    assert_int_equal(peer_table_known(table), 2);
    const struct peer_sight sights[] = {
        {strview_from("spiffe://prod.example/new"), true, true, UINT64_C(1796083200000)},
        {strview_from("spiffe://prod.example/web"), true, true, UINT64_C(1796083200000)},
        {strview_from("spiffe://prod.example/dialled"), false, true, UINT64_C(1796083200000)},
    };
    for (size_t i = 0; i < 3; i++) {
        (void)peer_table_note(table, &sights[i]);
    }
    assert_int_equal(first_seen_file_write(place->path, table, &err), 0);
    expect_content(place->path, HEAD WEB WIKI "spiffe://prod.example/new 2026-12-01T00:00:00Z -\n");
    struct stat info;
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    peer_table_free(table);
}

static void test_no_file_is_no_fault(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    size_t line = 0;
    struct peer_table *table = peer_table_new(10);
    assert_int_equal(first_seen_file_read(place->path, table, &line, &err), FIRST_SEEN_ABSENT);
    assert_int_equal(first_seen_file_read(place->dir, table, &line, &err), FIRST_SEEN_UNREADABLE);
    assert_int_equal(mkfifo(place->path, 0600), 0);
    assert_int_equal(first_seen_file_read(place->path, table, &line, &err), FIRST_SEEN_UNREADABLE);
    peer_table_free(table);
}

#define ROW(text, line, known)                    \
    {                                             \
        (text), sizeof(text) - 1, (line), (known) \
    }

static void test_what_is_broken_is_told_and_the_rest_counts(void **state)
{
    const struct place *place = *state;
    static const struct {
        const char *text;
        size_t len;
        size_t line;
        size_t known;
    } rows[] = {
        ROW("", 0, 0),
        ROW("\n", 1, 0),
        ROW("# bulkhead first-seen 2\n" WEB, 1, 1),
        ROW(WEB WIKI, 1, 1),
        ROW(HEAD "\n" WEB, 2, 1),
        ROW(HEAD WEB "nonsense\n" WIKI, 3, 2),
        ROW(HEAD WEB WEB, 3, 1),
        ROW(HEAD "spiffe://prod.example/web 2026-11-30T22:30:00Z\n", 2, 0),
        ROW(HEAD "spiffe://prod.example/web 2026-11-30T22:30:00Z - \n", 2, 0),
        ROW(HEAD "spiffe://prod.example/web  2026-11-30T22:30:00Z -\n", 2, 0),
        ROW(HEAD "spiffe://prod.example/web - -\n", 2, 0),
        ROW(HEAD "spiffe://prod.example/web 1970-01-01T00:00:00Z -\n", 2, 0),
        ROW(HEAD "spiffe://prod.example/web yesterday -\n", 2, 0),
        ROW(HEAD "spiffe://PROD.example/web 2026-11-30T22:30:00Z -\n", 2, 0),
        ROW(HEAD "spiffe://prod.example/a/../b 2026-11-30T22:30:00Z -\n", 2, 0),
        ROW(HEAD "spiffe://prod.example/w\0b 2026-11-30T22:30:00Z -\n", 2, 0),
        ROW(HEAD WEB "spiffe://prod.example/wiki 2026-11-30T22:31:07Z -", 3, 1),
        ROW(HEAD WEB "spiffe://prod.example/wi", 3, 1),
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct errbuf err;
        size_t line = 99;
        struct peer_table *table = peer_table_new(10);
        put(place->path, rows[i].text, rows[i].len);
        enum first_seen_state found = first_seen_file_read(place->path, table, &line, &err);
        if (found != FIRST_SEEN_BROKEN || line != rows[i].line ||
            peer_table_known(table) != rows[i].known) {
            fail_msg("row %zu: %d, line %zu, %zu known", i, (int)found, line,
                     peer_table_known(table));
        }
        peer_table_free(table);
    }
}

static void test_more_than_there_is_room_for_is_broken(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    size_t line = 0;
    struct peer_table *table = peer_table_new(1);
    put(place->path, HEAD WEB WIKI, strlen(HEAD WEB WIKI));
    assert_int_equal(first_seen_file_read(place->path, table, &line, &err), FIRST_SEEN_BROKEN);
    assert_int_equal(line, 3);
    assert_int_equal(peer_table_known(table), 1);
    peer_table_free(table);
}

static void test_setting_aside_overwrites_nothing(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    char first[FIRST_SEEN_PATH_SIZE];
    char second[FIRST_SEEN_PATH_SIZE];
    put(place->path, "one", 3);
    assert_int_equal(first_seen_file_set_aside(place->path, first, &err), 0);
    assert_int_equal(access(place->path, F_OK), -1);
    put(place->path, "two", 3);
    assert_int_equal(first_seen_file_set_aside(place->path, second, &err), 0);
    expect_content(first, "one");
    expect_content(second, "two");
    assert_int_equal(first_seen_file_set_aside(place->path, second, &err), -1);
}

static void test_a_write_that_fails_leaves_what_was_there(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    char in_the_way[80];
    struct peer_table *table = peer_table_new(1);
    put(place->path, HEAD WEB, strlen(HEAD WEB));
    (void)snprintf(in_the_way, sizeof(in_the_way), "%s.new", place->path);
    assert_int_equal(mkdir(in_the_way, 0700), 0);
    assert_int_equal(first_seen_file_write(place->path, table, &err), -1);
    assert_non_null(strstr(err.text, ".new"));
    expect_content(place->path, HEAD WEB);
    assert_int_equal(rmdir(in_the_way), 0);
    /* What a crash left, and a link that somebody laid there: neither is written through. */
    assert_int_equal(symlink(place->path, in_the_way), 0);
    assert_int_equal(first_seen_file_write(place->path, table, &err), 0);
    expect_content(place->path, HEAD);
    assert_int_equal(first_seen_file_write("/nonexistent/seen", table, &err), -1);
    peer_table_free(table);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
    const struct CMUnitTest tests[] = {
        TEST(test_what_it_holds_comes_back),
        TEST(test_no_file_is_no_fault),
        TEST(test_what_is_broken_is_told_and_the_rest_counts),
        TEST(test_more_than_there_is_room_for_is_broken),
        TEST(test_setting_aside_overwrites_nothing),
        TEST(test_a_write_that_fails_leaves_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
