/*
 * file_watch_test: what the tests of file_watch share: a directory of the test's own, the ways in
 * which programs change files, and what is reported.
 *
 * The reports are one text: "aR bW" is "a was replaced, b was written"; G is gone. inotify's two
 * calls are replaced in these programs, to count and to fail where a test says so.
 */
#ifndef BULKHEAD_TESTS_UNIT_NET_FILE_WATCH_TEST_H
#define BULKHEAD_TESTS_UNIT_NET_FILE_WATCH_TEST_H

#include "unit/net/net_test.h"

#include <ftw.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "net/file_watch.h"

/* SLOW_MS: where something must happen before it, on a busy machine too. */
enum { STILL_MS = 40, SLOW_MS = 250, LONG_MS = 60 * 1000 };

static int init_error;
static int add_error;
static unsigned long add_calls;

int inotify_init1(int flags)
{
    if (init_error != 0) {
        errno = init_error;
        return -1;
    }
    return (int)syscall(SYS_inotify_init1, flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    add_calls++;
    if (add_error != 0) {
        errno = add_error;
        return -1;
    }
    return (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}

struct fixture {
    struct loop *loop;
    struct file_watch *watch;
    uint64_t still_ms;
    char base[256];
    char reports[4096];
    size_t stop_len; /* of reports, at which the loop is stopped */
    uint64_t last_ms;
    struct file_watch_entry next_set[2]; /* set inside the next callback */
    size_t next_count;
    bool free_next;
};

static inline void on_change(void *arg, const struct file_watch_entry *entry,
                             enum file_change change)
{
    struct fixture *fixture = arg;
    size_t len = strlen(fixture->reports);
    (void)snprintf(fixture->reports + len, sizeof(fixture->reports) - len, "%s%s%c",
                   len > 0 ? " " : "", (const char *)entry->tag, "RWG"[change]);
    fixture->last_ms = clock_mono_ms();
    if (fixture->next_count > 0) {
        size_t count = fixture->next_count;
        fixture->next_count = 0;
        file_watch_set(fixture->watch, fixture->next_set, count);
    }
    if (fixture->free_next) {
        file_watch_free(fixture->watch);
        fixture->watch = NULL;
    }
    if (strlen(fixture->reports) >= fixture->stop_len) {
        loop_stop(fixture->loop);
    }
}

static inline struct fixture *new_fixture(const struct file_watch_options *options)
{
    static struct fixture fixture;
    struct errbuf err;
    const char *tmp = getenv("TMPDIR");
    fixture = (struct fixture){.loop = new_loop(), .still_ms = STILL_MS};
    (void)snprintf(fixture.base, sizeof(fixture.base), "%s/bulkhead-watch-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(fixture.base));
    assert_return_code(chdir(fixture.base), errno);
    fixture.watch = file_watch_new(fixture.loop, options, on_change, &fixture, &err);
    assert_non_null(fixture.watch);
    return &fixture;
}

/* By inotify alone: the poll is too rare to matter. */
static inline struct fixture *new_inotify_fixture(void)
{
    return new_fixture(&(struct file_watch_options){.poll_ms = LONG_MS, .settle_ms = 20});
}

static inline struct fixture *new_slow_fixture(void)
{
    struct fixture *fixture =
        new_fixture(&(struct file_watch_options){.poll_ms = LONG_MS, .settle_ms = SLOW_MS});
    fixture->still_ms = SLOW_MS;
    return fixture;
}

static inline struct fixture *new_poll_fixture(void)
{
    return new_fixture(
        &(struct file_watch_options){.method = FILE_WATCH_POLL, .poll_ms = 20, .settle_ms = 20});
}

static inline int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    assert_return_code(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), errno);
}

static inline void end(struct fixture *fixture)
{
    init_error = 0;
    add_error = 0;
    file_watch_free(fixture->watch);
    loop_free(fixture->loop);
    assert_return_code(chdir("/"), errno);
    remove_tree(fixture->base);
}

static inline void write_file(const char *path, const char *text, int flags)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    assert_return_code(fd, errno);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_return_code(close(fd), errno);
}

static inline void make_file(const char *path, const char *text)
{
    write_file(path, text, O_CREAT | O_TRUNC);
}

static inline void append(const char *path, const char *text)
{
    write_file(path, text, O_APPEND);
}

static inline void rename_over(const char *path, const char *text)
{
    make_file("temporary", text);
    assert_return_code(rename("temporary", path), errno);
}

static inline void make_link(const char *target, const char *path)
{
    assert_return_code(symlink(target, path), errno);
}

static inline void swap_link(const char *target, const char *path)
{
    make_link(target, "temporary-link");
    assert_return_code(rename("temporary-link", path), errno);
}

static inline void make_dir(const char *path)
{
    assert_return_code(mkdir(path, 0700), errno);
}

static inline void make_kubernetes(const char *version)
{
    char path[64];
    make_dir(version);
    (void)snprintf(path, sizeof(path), "%s/tls.crt", version);
    make_file(path, version);
    (void)snprintf(path, sizeof(path), "%s/tls.key", version);
    make_file(path, version);
}

static char tag_a[] = "a";
static char tag_b[] = "b";

static inline void watch_two(struct fixture *fixture, const char *a, const char *b)
{
    const struct file_watch_entry entries[] = {{a, fixture->still_ms, tag_a, NULL},
                                               {b, fixture->still_ms, tag_b, NULL}};
    file_watch_set(fixture->watch, entries, b != NULL ? 2 : 1);
}

static inline void watch_one(struct fixture *fixture, const char *path)
{
    watch_two(fixture, path, NULL);
}

/* Waits for as many reports, and then for more that must not come. */
static inline void wait_for_reports(struct fixture *fixture, const char *reports)
{
    fixture->stop_len = strlen(reports);
    if (strlen(fixture->reports) < fixture->stop_len) {
        run_loop(fixture->loop);
    }
    fixture->stop_len = sizeof(fixture->reports);
    if (fixture->watch != NULL) {
        run_loop_ms(fixture->loop, 2 * fixture->still_ms);
    }
}

static inline void expect(struct fixture *fixture, const char *reports)
{
    wait_for_reports(fixture, reports);
    assert_string_equal(fixture->reports, reports);
    fixture->reports[0] = '\0';
}

/* Where a slow machine may find both at once. */
static inline void expect_either(struct fixture *fixture, const char *reports, const char *other)
{
    wait_for_reports(fixture, reports);
    if (strcmp(fixture->reports, other) != 0) {
        assert_string_equal(fixture->reports, reports);
    }
    fixture->reports[0] = '\0';
}

static inline void expect_silence(struct fixture *fixture)
{
    expect(fixture, "");
}

#endif
