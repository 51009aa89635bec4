/* listener: who gets an address, what becomes of socket files, and accepting under pressure. */
#include "unit/net/limiter.h"
#include "unit/net/net_test.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "net/listener.h"

static const struct listen_options options = {.mode = 0640, .owner = (uid_t)-1, .group = (gid_t)-1};

static int dial(const struct netaddr *addr)
{
    int fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fd, errno);
    assert_return_code(connect(fd, &addr->u.sa, addr->len), errno);
    return fd;
}

static struct listen_sockets *open_ip(const char *ip, uint16_t port, size_t count)
{
    struct netaddr addr;
    struct errbuf err;
    assert_true(netaddr_from_ip(&addr, ip, port));
    struct listen_sockets *sockets = listen_sockets_open(&addr, count, NULL, &err);
    if (sockets == NULL) {
        fail_msg("%s", err.text);
    }
    return sockets;
}

static void refuse(const struct netaddr *addr, size_t count, const char *message)
{
    struct errbuf err = {""};
    assert_null(listen_sockets_open(addr, count, &options, &err));
    if (strstr(err.text, message) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, message);
    }
}

static void test_port_0_is_chosen_once_for_all_sockets(void **state)
{
    (void)state;
    static const char *const ips[] = {"127.0.0.1", "::1"};
    for (size_t i = 0; i < 2; i++) {
        struct listen_sockets *sockets = open_ip(ips[i], 0, 4);
        uint16_t port = netaddr_port(listen_sockets_address(sockets));
        assert_true(port > 0);
        for (size_t j = 0; j < 4; j++) {
            struct netaddr addr = {0};
            socklen_t len = sizeof(addr.u);
            int fd = listen_sockets_fd(sockets, j);
            assert_return_code(getsockname(fd, &addr.u.sa, &len), errno);
            addr.len = len;
            assert_int_equal(netaddr_port(&addr), port);
            assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
            assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
            for (size_t k = 0; k < j; k++) {
                assert_int_not_equal(fd, listen_sockets_fd(sockets, k));
            }
        }
        listen_sockets_close(sockets);
    }
    listen_sockets_close(NULL);
}

/* The kernel spreads connections over all of the sockets: the first is a member too. */
static void test_every_socket_gets_connections(void **state)
{
    (void)state;
    enum { COUNT = 3, DIALS = 120 };
    struct listen_sockets *sockets = open_ip("127.0.0.1", 0, COUNT);
    int fds[DIALS];
    for (size_t i = 0; i < DIALS; i++) {
        fds[i] = dial(listen_sockets_address(sockets));
    }
    unsigned total = 0;
    for (size_t i = 0; i < COUNT; i++) {
        unsigned accepted = 0;
        int fd;
        while ((fd = accept(listen_sockets_fd(sockets, i), NULL, NULL)) >= 0) {
            accepted++;
            (void)close(fd);
        }
        assert_true(accepted > 0);
        total += accepted;
    }
    assert_int_equal(total, DIALS);
    for (size_t i = 0; i < DIALS; i++) {
        (void)close(fds[i]);
    }
    listen_sockets_close(sockets);
}

static void test_a_second_owner_of_an_address_is_refused(void **state)
{
    (void)state;
    static const char *const ips[] = {"127.0.0.1", "::1"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t count = 1; count <= 2; count++) {
            struct listen_sockets *sockets = open_ip(ips[i], 0, count);
            struct netaddr addr = *listen_sockets_address(sockets);
            refuse(&addr, 1, "another process listens on ");
            refuse(&addr, 2, "another process listens on ");
            char text[NETADDR_TEXT_SIZE];
            refuse(&addr, 2, netaddr_format(&addr, text));
            listen_sockets_close(sockets);
            /* and may have it afterwards */
            listen_sockets_close(open_ip(ips[i], netaddr_port(&addr), 3 - count));
        }
    }
}

static void test_connections_in_time_wait_are_no_owner(void **state)
{
    (void)state;
    struct listen_sockets *sockets = open_ip("127.0.0.1", 0, 2);
    uint16_t port = netaddr_port(listen_sockets_address(sockets));
    int client = dial(listen_sockets_address(sockets));
    int server = -1;
    for (size_t i = 0; i < 2 && server < 0; i++) {
        server = accept(listen_sockets_fd(sockets, i), NULL, NULL);
    }
    assert_return_code(server, errno);
    (void)close(server); /* closes first: TIME_WAIT is ours */
    wait_for(client, POLLIN);
    (void)close(client);
    listen_sockets_close(sockets);
    listen_sockets_close(open_ip("127.0.0.1", port, 2));
}

static void test_both_families_may_have_the_same_port(void **state)
{
    (void)state;
    struct listen_sockets *v6 = open_ip("::", 0, 2);
    uint16_t port = netaddr_port(listen_sockets_address(v6));
    struct netaddr addr;
    struct errbuf err = {""};
    assert_true(netaddr_from_ip(&addr, "0.0.0.0", port));
    struct listen_sockets *v4 = listen_sockets_open(&addr, 2, NULL, &err);
    /* Someone else on this machine may have that IPv4 port; it must not be our IPv6 socket. */
    assert_true(v4 != NULL || strstr(err.text, "0.0.0.0") != NULL);
    int on = 0;
    socklen_t size = sizeof(on);
    assert_return_code(getsockopt(listen_sockets_fd(v6, 0), IPPROTO_IPV6, IPV6_V6ONLY, &on, &size),
                       errno);
    assert_int_equal(on, 1);
    listen_sockets_close(v4);
    listen_sockets_close(v6);
}

static void test_errors_say_what_would_be_right(void **state)
{
    (void)state;
    struct netaddr addr;
    assert_true(netaddr_from_ip(&addr, "192.0.2.1", 0)); /* RFC 5737: nobody's */
    refuse(&addr, 1, "no interface of this host has that address");
    assert_true(netaddr_from_path(&addr, "/no/such/directory/x.sock"));
    refuse(&addr, 1, "its directory does not exist");
}

static void test_a_low_port_names_the_capability(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    pid_t child = fork();
    assert_return_code(child, errno);
    if (child == 0) {
        struct netaddr addr;
        struct errbuf err = {""};
        (void)netaddr_from_ip(&addr, "127.0.0.1", 1);
        bool ok = setuid(65534) == 0 && listen_sockets_open(&addr, 1, NULL, &err) == NULL &&
                  strstr(err.text, "CAP_NET_BIND_SERVICE") != NULL;
        /* Some containers let everybody bind low ports: then port 1 opened. */
        _exit(ok || err.text[0] == '\0' ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- Unix sockets ---- */

struct place {
    char directory[64];
    char path[96];
    struct netaddr addr;
};

static void make_place(struct place *place)
{
    (void)snprintf(place->directory, sizeof(place->directory), "/tmp/bulkhead-net-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    (void)snprintf(place->path, sizeof(place->path), "%s/x.sock", place->directory);
    assert_true(netaddr_from_path(&place->addr, place->path));
}

static void remove_place(const struct place *place)
{
    (void)unlink(place->path);
    assert_return_code(rmdir(place->directory), errno);
}

static struct listen_sockets *open_place(const struct place *place, size_t count)
{
    struct errbuf err;
    struct listen_sockets *sockets = listen_sockets_open(&place->addr, count, &options, &err);
    if (sockets == NULL) {
        fail_msg("%s", err.text);
    }
    return sockets;
}

static void test_unix_is_one_socket_with_its_mode_and_goes_with_it(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    mode_t umask_before = umask(0077); /* must not narrow what was asked for */
    struct listen_sockets *sockets = open_place(&place, 3);
    (void)umask(umask_before);
    assert_int_equal(listen_sockets_fd(sockets, 0), listen_sockets_fd(sockets, 2));
    struct stat info;
    assert_return_code(lstat(place.path, &info), errno);
    assert_true(S_ISSOCK(info.st_mode));
    assert_int_equal(info.st_mode & 07777, 0640);
    int fd = dial(&place.addr);
    (void)close(fd);
    listen_sockets_close(sockets);
    assert_int_equal(lstat(place.path, &info), -1);
    remove_place(&place);
}

static void test_unix_owner_and_group_are_set(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    struct place place;
    make_place(&place);
    struct errbuf err;
    struct listen_options owned = {.mode = 0660, .owner = 1234, .group = 5678};
    struct listen_sockets *sockets = listen_sockets_open(&place.addr, 1, &owned, &err);
    assert_non_null(sockets);
    struct stat info;
    assert_return_code(lstat(place.path, &info), errno);
    assert_int_equal(info.st_uid, 1234);
    assert_int_equal(info.st_gid, 5678);
    assert_int_equal(info.st_mode & 07777, 0660);
    listen_sockets_close(sockets);
    remove_place(&place);
}

static void test_unix_stale_file_is_replaced(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, &place.addr.u.sa, place.addr.len), errno);
    assert_return_code(listen(fd, 1), errno);
    (void)close(fd); /* the file stays behind */
    struct listen_sockets *sockets = open_place(&place, 1);
    fd = dial(&place.addr);
    (void)close(fd);
    listen_sockets_close(sockets);
    remove_place(&place);
}

static void test_unix_live_socket_is_refused_and_stays(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    struct listen_sockets *sockets = open_place(&place, 1);
    refuse(&place.addr, 1, "another process listens on unix:");
    refuse(&place.addr, 1, place.path);
    int fd = dial(&place.addr);
    (void)close(fd);
    listen_sockets_close(sockets);
    remove_place(&place);
}

static void test_unix_live_socket_with_a_full_queue_is_refused(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(listener, &place.addr.u.sa, place.addr.len), errno);
    assert_return_code(listen(listener, 0), errno);
    int client = dial(&place.addr);
    refuse(&place.addr, 1, "another process listens on unix:");
    (void)close(client);
    (void)close(listener);
    remove_place(&place);
}

static void test_unix_path_of_another_kind_is_refused_and_stays(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    int fd = open(place.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_return_code(fd, errno);
    (void)close(fd);
    refuse(&place.addr, 1, "not a socket");
    assert_return_code(access(place.path, F_OK), errno);
    assert_return_code(unlink(place.path), errno);
    /* A link is not followed, even to a socket that could be replaced. */
    assert_return_code(symlink("/no/such/socket", place.path), errno);
    refuse(&place.addr, 1, "not a socket");
    remove_place(&place);
}

static void test_unix_datagram_socket_is_refused_and_stays(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, &place.addr.u.sa, place.addr.len), errno);
    refuse(&place.addr, 1, "cannot tell whether");
    assert_return_code(access(place.path, F_OK), errno);
    (void)close(fd);
    remove_place(&place);
}

static void test_unix_file_of_a_successor_is_left_alone(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    struct listen_sockets *old = open_place(&place, 1);
    assert_return_code(unlink(place.path), errno);
    struct listen_sockets *new = open_place(&place, 1);
    listen_sockets_close(old);
    int fd = dial(&place.addr);
    (void)close(fd);
    listen_sockets_close(new);
    remove_place(&place);
}

static void test_unix_failure_after_bind_leaves_no_file(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    struct place place;
    make_place(&place);
    assert_return_code(chmod(place.directory, 0777), errno);
    pid_t child = fork();
    assert_return_code(child, errno);
    if (child == 0) {
        struct listen_options owned = {.mode = 0600, .owner = 0, .group = (gid_t)-1};
        struct errbuf err = {""};
        bool ok = setuid(65534) == 0 && listen_sockets_open(&place.addr, 1, &owned, &err) == NULL &&
                  strstr(err.text, "cannot set the owner of") != NULL;
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(access(place.path, F_OK), -1);
    remove_place(&place);
}

/* ---- Accepting ---- */

enum { MAX_TAKEN = 64 };

struct taker {
    struct loop *loop;
    struct acceptor *acceptor;
    struct listen_sockets *sockets;
    int fds[MAX_TAKEN];
    unsigned taken;
    unsigned exhausted;
    int error;
    unsigned pause_at; /* after this many; 0: never */
    unsigned free_at;
    unsigned stop_at;
    bool free_when_exhausted;
    unsigned room; /* how many may be accepted yet; only with the callbacks that ask */
    unsigned reserved;
    unsigned cancelled;
};

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
    struct taker *taker = arg;
    assert_true(taker->taken < MAX_TAKEN);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true(netaddr_is_loopback(peer));
    taker->fds[taker->taken++] = fd;
    if (taker->taken == taker->pause_at) {
        acceptor_pause(taker->acceptor);
        loop_stop(taker->loop);
    }
    if (taker->taken == taker->free_at) {
        acceptor_free(taker->acceptor);
        taker->acceptor = NULL;
        loop_stop(taker->loop);
    }
    if (taker->taken == taker->stop_at) {
        loop_stop(taker->loop);
    }
}

static void on_exhausted(void *arg, int error)
{
    struct taker *taker = arg;
    taker->exhausted++;
    taker->error = error;
    if (taker->free_when_exhausted) {
        acceptor_free(taker->acceptor);
        taker->acceptor = NULL;
    }
    loop_stop(taker->loop);
}

static const struct acceptor_callbacks callbacks = {.on_accept = on_accept,
                                                    .on_exhausted = on_exhausted};

static bool on_reserve(void *arg)
{
    struct taker *taker = arg;
    if (taker->reserved - taker->cancelled == taker->room) {
        loop_stop(taker->loop);
        return false;
    }
    taker->reserved++;
    return true;
}

static void on_cancel(void *arg)
{
    struct taker *taker = arg;
    taker->cancelled++;
    loop_stop(taker->loop);
}

static const struct acceptor_callbacks asking_callbacks = {.reserve = on_reserve,
                                                           .cancel = on_cancel,
                                                           .on_accept = on_accept,
                                                           .on_exhausted = on_exhausted};

static void open_taker_with(struct taker *taker, unsigned per_turn,
                            const struct acceptor_callbacks *with)
{
    *taker = (struct taker){.loop = new_loop(), .sockets = open_ip("127.0.0.1", 0, 1)};
    taker->acceptor =
        acceptor_new(taker->loop, listen_sockets_fd(taker->sockets, 0), per_turn, with, taker);
    assert_non_null(taker->acceptor);
}

static void open_taker(struct taker *taker, unsigned per_turn)
{
    open_taker_with(taker, per_turn, &callbacks);
}

static void close_taker(struct taker *taker)
{
    acceptor_free(taker->acceptor);
    for (unsigned i = 0; i < taker->taken; i++) {
        (void)close(taker->fds[i]);
    }
    listen_sockets_close(taker->sockets);
    loop_free(taker->loop);
}

static void dial_many(const struct taker *taker, int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fds[i] = dial(listen_sockets_address(taker->sockets));
    }
}

static void close_many(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)close(fds[i]);
    }
}

static void test_accepts_all_that_come(void **state)
{
    (void)state;
    struct taker taker;
    open_taker(&taker, 4);
    int fds[10];
    dial_many(&taker, fds, 10);
    taker.stop_at = 10;
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 10);
    assert_int_equal(taker.exhausted, 0);
    close_many(fds, 10);
    close_taker(&taker);
}

static void test_one_turn_accepts_no_more_than_allowed(void **state)
{
    (void)state;
    struct taker taker;
    open_taker(&taker, 3);
    int fds[10];
    dial_many(&taker, fds, 10);
    taker.stop_at = 1; /* ends the loop after the turn */
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 3);
    close_many(fds, 10);
    close_taker(&taker);
}

static void test_pause_stops_the_batch_and_resume_goes_on(void **state)
{
    (void)state;
    struct taker taker;
    open_taker(&taker, 100);
    int fds[5];
    dial_many(&taker, fds, 5);
    taker.pause_at = 2;
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 2);
    run_loop_ms(taker.loop, 20);
    assert_int_equal(taker.taken, 2);
    taker.stop_at = 5;
    acceptor_resume(taker.acceptor);
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 5);
    close_many(fds, 5);
    close_taker(&taker);
}

static void test_drain_ignores_pause_and_takes_the_queue(void **state)
{
    (void)state;
    struct taker taker;
    open_taker(&taker, 2);
    int fds[7];
    dial_many(&taker, fds, 7);
    acceptor_pause(taker.acceptor);
    run_loop_ms(taker.loop, 10);
    assert_int_equal(taker.taken, 0);
    acceptor_drain(taker.acceptor);
    assert_int_equal(taker.taken, 7);
    acceptor_drain(taker.acceptor); /* of an empty queue */
    assert_int_equal(taker.taken, 7);
    assert_int_equal(taker.exhausted, 0);
    close_many(fds, 7);
    close_taker(&taker);
}

/* Nothing is accepted that was not reserved, and what was reserved in vain is given back. */
static void test_reserve_goes_before_accept(void **state)
{
    (void)state;
    struct taker taker;
    open_taker_with(&taker, 100, &asking_callbacks);
    assert_false(acceptor_has_newcomer(taker.acceptor));
    int fds[5];
    dial_many(&taker, fds, 5);
    assert_true(acceptor_has_newcomer(taker.acceptor));
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 0);
    taker.room = 2;
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 2);
    assert_int_equal(taker.cancelled, 0);
    assert_true(acceptor_has_newcomer(taker.acceptor));
    taker.room = 10;
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 5);
    assert_int_equal(taker.cancelled, 1); /* asked for a sixth, who did not come */
    assert_int_equal(taker.reserved, 6);
    assert_false(acceptor_has_newcomer(taker.acceptor));
    close_many(fds, 5);
    close_taker(&taker);
}

static void test_drain_takes_no_more_than_reserved(void **state)
{
    (void)state;
    struct taker taker;
    open_taker_with(&taker, 100, &asking_callbacks);
    int fds[5];
    dial_many(&taker, fds, 5);
    taker.room = 3;
    acceptor_drain(taker.acceptor);
    assert_int_equal(taker.taken, 3);
    assert_int_equal(taker.reserved, 3);
    assert_int_equal(taker.cancelled, 0);
    close_many(fds, 5);
    close_taker(&taker);
}

static void test_freeing_inside_on_accept(void **state)
{
    (void)state;
    for (int drain = 0; drain < 2; drain++) {
        struct taker taker;
        open_taker(&taker, 100);
        int fds[5];
        dial_many(&taker, fds, 5);
        taker.free_at = 2;
        if (drain) {
            acceptor_drain(taker.acceptor);
            loop_run_deferred(taker.loop);
        } else {
            run_loop(taker.loop);
        }
        assert_int_equal(taker.taken, 2);
        assert_null(taker.acceptor);
        close_many(fds, 5);
        close_taker(&taker);
    }
}

/* What runs in the child: no descriptor is left, then there is one again. */
static void exhaust_and_recover(void)
{
    struct taker taker;
    struct limiter limiter;
    limiter_start(&limiter);
    open_taker(&taker, 10);
    int fds[2];
    dial_many(&taker, fds, 2);
    struct rlimit before;
    assert_return_code(getrlimit(RLIMIT_NOFILE, &before), errno);
    limiter_set(&limiter, (rlim_t)fds[1] + 1);
    uint64_t start = loop_now_ms(taker.loop);
    for (unsigned i = 1; i <= 2; i++) { /* once per pause, and the pause is one */
        run_loop(taker.loop);
        assert_int_equal(taker.exhausted, i);
        assert_int_equal(taker.error, EMFILE);
    }
    assert_true(loop_now_ms(taker.loop) - start >= 100);
    assert_int_equal(taker.taken, 0);
    limiter_set(&limiter, before.rlim_cur);
    taker.stop_at = 2;
    run_loop(taker.loop); /* by itself */
    assert_int_equal(taker.taken, 2);
    /* Paused by its owner too, it does not come back by itself. */
    int third = dial(listen_sockets_address(taker.sockets));
    limiter_set(&limiter, (rlim_t)third + 1);
    run_loop(taker.loop);
    assert_int_equal(taker.exhausted, 3);
    acceptor_pause(taker.acceptor);
    limiter_set(&limiter, before.rlim_cur);
    run_loop_ms(taker.loop, 150);
    assert_int_equal(taker.taken, 2);
    acceptor_resume(taker.acceptor);
    taker.stop_at = 3;
    run_loop(taker.loop);
    assert_int_equal(taker.taken, 3);
    (void)close(third);
    close_many(fds, 2);
    close_taker(&taker);
    limiter_stop(&limiter);
}

static void free_when_exhausted(void)
{
    struct taker taker;
    struct limiter limiter;
    limiter_start(&limiter);
    open_taker(&taker, 10);
    int fd = dial(listen_sockets_address(taker.sockets));
    limiter_set(&limiter, (rlim_t)fd + 1);
    taker.free_when_exhausted = true;
    run_loop(taker.loop);
    assert_null(taker.acceptor);
    (void)close(fd);
    close_taker(&taker);
    limiter_stop(&limiter);
}

/* In a child, because the limit is the process's. */
static void run_in_child(void (*test)(void))
{
    pid_t child = fork();
    assert_return_code(child, errno);
    if (child == 0) {
        test(); /* a failed assertion aborts: CMOCKA_TEST_ABORT */
        exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_running_out_of_descriptors_pauses_and_recovers(void **state)
{
    (void)state;
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    run_in_child(exhaust_and_recover);
    run_in_child(free_when_exhausted);
    (void)unsetenv("CMOCKA_TEST_ABORT");
}

static void refuse_adoption(int fd, const char *message)
{
    struct errbuf err = {""};
    assert_null(listen_sockets_adopt(fd, 2, &err));
    if (strstr(err.text, message) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, message);
    }
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken over */
}

static void test_only_a_listening_stream_is_adopted(void **state)
{
    (void)state;
    int pair[2];
    refuse_adoption(open("/dev/null", O_RDONLY | O_CLOEXEC), "is no socket");
    refuse_adoption(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "no stream socket");
    refuse_adoption(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "no stream socket");
    refuse_adoption(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "does not listen");
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
    refuse_adoption(pair[0], "does not listen");
    assert_return_code(close(pair[1]), errno);
}

/* Who passed it keeps it: what waits in its queue outlives us, and its file is not ours. */
static void test_an_adopted_socket_is_shared_and_left(void **state)
{
    (void)state;
    char path[64];
    struct netaddr addr;
    struct errbuf err;
    (void)snprintf(path, sizeof(path), "/tmp/bulkhead-adopt-%d.sock", (int)getpid());
    for (int is_unix = 0; is_unix <= 1; is_unix++) {
        assert_true(is_unix ? netaddr_from_path(&addr, path)
                            : netaddr_from_ip(&addr, "127.0.0.1", 0));
        struct listen_sockets *theirs = listen_sockets_open(&addr, 1, &options, &err);
        assert_non_null(theirs);
        int passed = fcntl(listen_sockets_fd(theirs, 0), F_DUPFD, 100);
        assert_return_code(passed, errno);
        struct listen_sockets *ours = listen_sockets_adopt(passed, 3, &err);
        assert_non_null(ours);
        assert_true(listen_sockets_outlive(ours));
        assert_false(listen_sockets_outlive(theirs));
        assert_int_equal(listen_sockets_descriptors(ours), 1);
        assert_true((fcntl(passed, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(passed, F_GETFD) & FD_CLOEXEC) != 0);
        addr = *listen_sockets_address(ours);
        const struct listen_options others = {.mode = 0600, .owner = (uid_t)-1, .group = (gid_t)-1};
        assert_int_equal(listen_sockets_set_options(ours, &others, &err), 0);
        int waiting = dial(&addr);
        listen_sockets_withdraw(ours);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(listen_sockets_fd(ours, i), passed);
            assert_int_equal(fcntl(passed, F_GETFD) >= 0, 1);
            listen_sockets_close_one(ours, i);
        }
        assert_int_equal(fcntl(passed, F_GETFD), -1);
        listen_sockets_close(ours);
        int accepted = accept(listen_sockets_fd(theirs, 0), NULL, NULL);
        assert_return_code(accepted, errno);
        assert_return_code(close(accepted), errno);
        assert_return_code(close(waiting), errno);
        if (is_unix) {
            struct stat info;
            assert_return_code(lstat(path, &info), errno);
            assert_int_equal(info.st_mode & 0777, 0640);
        }
        listen_sockets_close(theirs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_port_0_is_chosen_once_for_all_sockets),
        cmocka_unit_test(test_every_socket_gets_connections),
        cmocka_unit_test(test_a_second_owner_of_an_address_is_refused),
        cmocka_unit_test(test_connections_in_time_wait_are_no_owner),
        cmocka_unit_test(test_both_families_may_have_the_same_port),
        cmocka_unit_test(test_errors_say_what_would_be_right),
        cmocka_unit_test(test_a_low_port_names_the_capability),
        cmocka_unit_test(test_unix_is_one_socket_with_its_mode_and_goes_with_it),
        cmocka_unit_test(test_unix_owner_and_group_are_set),
        cmocka_unit_test(test_unix_stale_file_is_replaced),
        cmocka_unit_test(test_unix_live_socket_is_refused_and_stays),
        cmocka_unit_test(test_unix_live_socket_with_a_full_queue_is_refused),
        cmocka_unit_test(test_unix_path_of_another_kind_is_refused_and_stays),
        cmocka_unit_test(test_unix_datagram_socket_is_refused_and_stays),
        cmocka_unit_test(test_unix_file_of_a_successor_is_left_alone),
        cmocka_unit_test(test_unix_failure_after_bind_leaves_no_file),
        cmocka_unit_test(test_accepts_all_that_come),
        cmocka_unit_test(test_one_turn_accepts_no_more_than_allowed),
        cmocka_unit_test(test_pause_stops_the_batch_and_resume_goes_on),
        cmocka_unit_test(test_drain_ignores_pause_and_takes_the_queue),
        cmocka_unit_test(test_reserve_goes_before_accept),
        cmocka_unit_test(test_drain_takes_no_more_than_reserved),
        cmocka_unit_test(test_freeing_inside_on_accept),
        cmocka_unit_test(test_running_out_of_descriptors_pauses_and_recovers),
        cmocka_unit_test(test_only_a_listening_stream_is_adopted),
        cmocka_unit_test(test_an_adopted_socket_is_shared_and_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
