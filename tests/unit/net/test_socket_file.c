/* socket_file: whoever can write to the directory gets nothing changed that is not our socket. */
#include "unit/net/net_test.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "net/listener.h"

static const struct listen_options private = {.mode = 0600, .owner = (uid_t)-1, .group = (gid_t)-1};
static const struct listen_options open_to_all = {
    .mode = 0666, .owner = (uid_t)-1, .group = (gid_t)-1};

struct place {
    char directory[64];
    char path[96];
    char victim[96];
    struct netaddr addr;
};

/* What somebody does between our bind() and our next step. */
static void (*after_bind)(const struct place *place);
static const struct place *bind_place;

int bind(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    int result = (int)syscall(SYS_bind, fd, addr.__sockaddr__, len);
    if (result == 0 && after_bind != NULL) {
        after_bind(bind_place);
    }
    return result;
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    assert_return_code(lstat(path, &info), errno);
    return info.st_mode & 07777;
}

static uid_t owner_of(const char *path)
{
    struct stat info;
    assert_return_code(lstat(path, &info), errno);
    return info.st_uid;
}

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_return_code(fd, errno);
    (void)close(fd);
}

static int make_place(void **state)
{
    static struct place place;
    (void)snprintf(place.directory, sizeof(place.directory), "/tmp/bulkhead-file-XXXXXX");
    assert_non_null(mkdtemp(place.directory));
    (void)snprintf(place.path, sizeof(place.path), "%s/x.sock", place.directory);
    (void)snprintf(place.victim, sizeof(place.victim), "%s/victim", place.directory);
    assert_true(netaddr_from_path(&place.addr, place.path));
    make_file(place.victim);
    bind_place = &place;
    *state = &place;
    return 0;
}

static int remove_place(void **state)
{
    const struct place *place = *state;
    after_bind = NULL;
    (void)unlink(place->path);
    (void)unlink(place->victim);
    return rmdir(place->directory);
}

static struct listen_sockets *open_place(const struct place *place,
                                         const struct listen_options *options, struct errbuf *err)
{
    err->text[0] = '\0';
    return listen_sockets_open(&place->addr, 2, options, err);
}

static void put_link(const struct place *place)
{
    assert_return_code(unlink(place->path), errno);
    assert_return_code(symlink(place->victim, place->path), errno);
}

static void put_file(const struct place *place)
{
    assert_return_code(unlink(place->path), errno);
    make_file(place->path);
}

/* A socket of another user, renamed into the place of ours. */
static void put_socket_of_another(const struct place *place)
{
    assert_return_code(lchown(place->path, 65534, 65534), errno);
}

static void test_a_link_planted_at_the_start_changes_nothing(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    after_bind = put_link;
    struct listen_sockets *sockets = open_place(place, &open_to_all, &err);
    assert_int_equal(mode_of(place->victim), 0600);
    assert_null(sockets);
    assert_non_null(strstr(err.text, "another file in the place of the socket"));
}

static void test_a_file_planted_at_the_start_changes_nothing(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    after_bind = put_file;
    assert_null(open_place(place, &open_to_all, &err));
    assert_int_equal(mode_of(place->path), 0600);
    assert_int_equal(access(place->path, F_OK), 0); /* not ours to remove */
}

static void test_a_socket_of_another_user_is_not_given_away(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    struct listen_options owned = {.mode = 0600, .owner = 1234, .group = (gid_t)-1};
    if (geteuid() != 0) {
        skip();
    }
    after_bind = put_socket_of_another;
    assert_null(open_place(place, &owned, &err));
    assert_non_null(strstr(err.text, "another socket in the place of"));
    assert_int_equal(owner_of(place->path), 65534);
}

static void test_the_mode_is_there_from_the_first_moment(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    mode_t before = umask(0077);
    struct listen_sockets *sockets = open_place(place, &open_to_all, &err);
    mode_t after = umask(before);
    assert_non_null(sockets);
    assert_int_equal(after, 0077);
    assert_int_equal(mode_of(place->path), 0666);
    listen_sockets_close(sockets);
}

static void test_a_failed_bind_gives_the_umask_back(void **state)
{
    (void)state;
    struct netaddr addr;
    struct errbuf err;
    assert_true(netaddr_from_path(&addr, "/no/such/directory/x.sock"));
    mode_t before = umask(0027);
    assert_null(listen_sockets_open(&addr, 1, &open_to_all, &err));
    assert_int_equal(umask(before), 0027);
}

static void test_options_of_an_open_socket_change(void **state)
{
    const struct place *place = *state;
    struct errbuf err;
    struct listen_sockets *sockets = open_place(place, &private, &err);
    assert_non_null(sockets);
    assert_int_equal(listen_sockets_set_options(sockets, &open_to_all, &err), 0);
    assert_int_equal(mode_of(place->path), 0666);
    if (geteuid() == 0) {
        struct listen_options owned = {.mode = 0660, .owner = 1234, .group = 5678};
        assert_int_equal(listen_sockets_set_options(sockets, &owned, &err), 0);
        assert_int_equal(mode_of(place->path), 0660);
        assert_int_equal(owner_of(place->path), 1234);
    }
    listen_sockets_close(sockets);
    assert_int_equal(access(place->path, F_OK), -1);
}

static void refuse_options_after(const struct place *place, void (*change)(const struct place *))
{
    struct errbuf err;
    struct listen_sockets *sockets = open_place(place, &private, &err);
    assert_non_null(sockets);
    change(place);
    assert_int_equal(listen_sockets_set_options(sockets, &open_to_all, &err), -1);
    assert_non_null(strstr(err.text, "in the place of"));
    assert_int_equal(mode_of(place->victim), 0600);
    /* What was asked for before is no change, and needs no file. */
    assert_int_equal(listen_sockets_set_options(sockets, &private, &err), 0);
    listen_sockets_close(sockets);
    assert_int_equal(access(place->path, F_OK), 0);
}

static void test_options_are_not_given_to_a_link(void **state)
{
    refuse_options_after(*state, put_link);
}

static void test_options_are_not_given_to_a_file(void **state)
{
    refuse_options_after(*state, put_file);
    assert_int_equal(mode_of(((const struct place *)*state)->path), 0600);
}

static void put_successor(const struct place *place)
{
    assert_return_code(rename(place->path, place->victim), errno); /* so that its inode stays */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fd, errno);
    assert_return_code(fchmod(fd, 0600), errno);
    assert_return_code((int)syscall(SYS_bind, fd, &place->addr.u.sa, place->addr.len), errno);
    (void)close(fd);
}

static void test_options_are_not_given_to_a_successor(void **state)
{
    refuse_options_after(*state, put_successor);
    assert_int_equal(mode_of(((const struct place *)*state)->path) & 0077, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_link_planted_at_the_start_changes_nothing),
        TEST(test_a_file_planted_at_the_start_changes_nothing),
        TEST(test_a_socket_of_another_user_is_not_given_away),
        TEST(test_the_mode_is_there_from_the_first_moment),
        TEST(test_a_failed_bind_gives_the_umask_back),
        TEST(test_options_of_an_open_socket_change),
        TEST(test_options_are_not_given_to_a_link),
        TEST(test_options_are_not_given_to_a_file),
        TEST(test_options_are_not_given_to_a_successor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
