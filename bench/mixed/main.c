/*
 * mixed: the load of the soak of that name. Clients and servers of one process, which so knows at
 * every moment what is on its way through bulkhead; one thread, independent of bulkhead's code.
 *
 * Prints a line of JSON for each thing that happens: listening (where bulkhead shall forward to),
 * pair (one that has ended as it should), stall (more than 250 ms, see stalls.h), wrong (a byte or
 * an end that is not as it should be), and at last end, with totals. Reads one line from stdin: the
 * ports of the terminate, the originate and the bridge listener, and the process id of bulkhead.
 */
#include "pair.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    NS_PER_MS = 1000000,
    EVENTS_MAX = 4096, /* all sockets: what epoll does not tell of is not ready */
    WAIT_MAX_MS = 10,
    SCAN_NS = NS_PER_MS,
    OPEN_EVERY_NS = 5 * NS_PER_MS,
    PAIRS_MAX = 1800,
    END_WITHIN_S = 60,
    FAILURES_MAX = 200
};

struct options {
    struct wire_tls client, server;
    uint64_t seconds, seed, pairs;
};

static const char usage[] =
    "usage: mixed --seconds S --seed N --pairs N --bundle FILE --expect SPIFFE-ID\n"
    "             --client-certificate FILE --client-key FILE\n"
    "             --server-certificate FILE --server-key FILE\n"
    "then on stdin: TERMINATE-PORT ORIGINATE-PORT BRIDGE-PORT BULKHEAD-PID\n"
    "\n"
    "Run by `make soak P=mixed`. Exit status: 0, 1 something was wrong or stalled, 2 usage.\n";

static void parse(int argc, char **argv, struct options *options)
{
    const char *texts[9] = {0};
    static const struct option rows[] = {
        {"seconds", required_argument, NULL, 0},
        {"seed", required_argument, NULL, 1},
        {"pairs", required_argument, NULL, 2},
        {"bundle", required_argument, NULL, 3},
        {"expect", required_argument, NULL, 4},
        {"client-certificate", required_argument, NULL, 5},
        {"client-key", required_argument, NULL, 6},
        {"server-certificate", required_argument, NULL, 7},
        {"server-key", required_argument, NULL, 8},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int which;
    while ((which = getopt_long(argc, argv, "", rows, NULL)) >= 0) {
        if (which == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        if (which > 8) {
            break;
        }
        texts[which] = optarg;
    }
    for (int i = 0; i < 9; i++) {
        if (texts[i] == NULL || which > 8 || optind < argc) {
            fputs(usage, stderr);
            exit(2);
        }
    }
    *options = (struct options){
        .seconds = strtoull(texts[0], NULL, 10),
        .seed = strtoull(texts[1], NULL, 10),
        .pairs = strtoull(texts[2], NULL, 10),
        .client = {texts[5], texts[6], texts[3], texts[4]},
        .server = {texts[7], texts[8], texts[3], texts[4]},
    };
    if (options->seconds == 0 || options->pairs == 0 || options->pairs > PAIRS_MAX) {
        fprintf(stderr, "mixed: --seconds 1 or more, --pairs 1 to %d\n", PAIRS_MAX);
        exit(2);
    }
}

static void add_listener(struct load *load, int which, uint16_t *port)
{
    load->listeners[which] = wire_listen(port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &load->listeners[which]};
    (void)epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->listeners[which], &event);
}

static void start(struct load *load, const struct options *options)
{
    *load = (struct load){
        .epoll = epoll_create1(EPOLL_CLOEXEC),
        .seed = options->seed,
        .client = wire_context(&options->client, false),
        .server = wire_context(&options->server, true),
        .slots = options->pairs,
        .pairs = calloc(options->pairs, sizeof(struct pair *)),
        .serial = 1,
        .going = true,
    };
    if (load->epoll < 0 || load->pairs == NULL) {
        perror("mixed");
        exit(1);
    }
    SSL_CTX_set_session_cache_mode(load->client,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(load->client, pair_keep_session);
    uint16_t plain, tls;
    add_listener(load, 0, &plain);
    add_listener(load, 1, &tls);
    printf("{\"event\": \"listening\", \"plain\": %u, \"tls\": %u}\n", plain, tls);
}

static void read_where(struct load *load)
{
    unsigned ports[KIND_COUNT];
    int pid;
    if (scanf("%u %u %u %d", &ports[0], &ports[1], &ports[2], &pid) != KIND_COUNT + 1) {
        fputs("mixed: stdin holds no three ports and a process id\n", stderr);
        exit(2);
    }
    for (int i = 0; i < KIND_COUNT; i++) {
        load->ports[i] = (uint16_t)ports[i];
    }
    kernel_open(pid);
    stalls_open();
}

static void accept_all(struct load *load, const int *listener)
{
    int fd;
    while ((fd = accept4(*listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        pair_accept(load, fd, listener == &load->listeners[1]);
    }
}

static void dispatch(struct load *load, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        void *what = events[i].data.ptr;
        if (what == &load->listeners[0] || what == &load->listeners[1]) {
            accept_all(load, what);
        } else {
            pair_on_events(what, events[i].events);
        }
    }
}

/* Looks at every pair; opens one where there is none. When the next look is due. */
static uint64_t scan(struct load *load, uint64_t now_ns, uint64_t *open_ns)
{
    uint64_t due_ns = now_ns + (uint64_t)WAIT_MAX_MS * NS_PER_MS;
    for (uint64_t slot = 0; slot < load->slots; slot++) {
        if (load->pairs[slot] != NULL) {
            uint64_t due = pair_turn(load->pairs[slot], now_ns);
            due_ns = due < due_ns ? due : due_ns;
        } else if (load->going && now_ns >= *open_ns) {
            pair_open(load, slot);
            *open_ns = now_ns + OPEN_EVERY_NS;
        }
    }
    return due_ns;
}

static int wait_ms(uint64_t due_ns, uint64_t now_ns)
{
    return due_ns > now_ns ? (int)((due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS) : 0;
}

static void run(struct load *load, uint64_t seconds)
{
    static struct epoll_event events[EVENTS_MAX];
    uint64_t began_ns = kernel_now_ns();
    uint64_t stop_ns = began_ns + seconds * 1000 * NS_PER_MS;
    uint64_t end_ns = stop_ns + (uint64_t)END_WITHIN_S * 1000 * NS_PER_MS;
    uint64_t due_ns = 0, scan_ns = 0, open_ns = 0;
    load->call_ns = began_ns;
    while (load->going || load->live > 0) {
        load->former_call_ns = load->call_ns;
        load->call_ns = kernel_now_ns();
        int count = epoll_wait(load->epoll, events, EVENTS_MAX, wait_ms(due_ns, load->call_ns));
        uint64_t now_ns = kernel_now_ns();
        load->turn++;
        dispatch(load, events, count);
        due_ns = scan_ns + SCAN_NS;
        if (now_ns >= due_ns) {
            due_ns = scan(load, now_ns, &open_ns);
            scan_ns = now_ns;
        }
        pair_sweep(load);
        stalls_sample(now_ns);
        load->going = load->going && now_ns < stop_ns && load->totals.failures < FAILURES_MAX;
        if (now_ns > end_ns) {
            break;
        }
        load->busy_ns += kernel_now_ns() - now_ns;
    }
}

static void give_up(struct load *load)
{
    for (uint64_t slot = 0; slot < load->slots; slot++) {
        if (load->pairs[slot] != NULL) {
            pair_give_up(load->pairs[slot]);
        }
    }
}

static void print_totals(const struct load *load)
{
    const struct totals *t = &load->totals;
    const struct stall_totals *s = stalls_totals();
#define N(name, value) printf(", \"%s\": %llu", name, (unsigned long long)(value))
    printf("{\"event\": \"end\", \"longest_ms\": %.1f, \"longest_left_ms\": %.1f", s->longest_ms,
           s->longest_left_ms);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        N(pair_kind_name((enum kind)kind), t->pairs[kind]);
    }
    N("bytes", t->bytes);
    N("handshakes", t->handshakes);
    N("resumed", t->resumed);
    N("offered", t->offered);
    N("tls12", t->tls12);
    N("key_updates", t->key_updates);
    N("half_closed_by_client", t->half_closed_by[CLIENT]);
    N("half_closed_by_server", t->half_closed_by[SERVER]);
    N("closed_by_client", t->closed_by[CLIENT]);
    N("closed_by_server", t->closed_by[SERVER]);
    N("read_pauses", t->read_pauses);
    N("blocked", t->blocked);
    N("failures", t->failures);
    N("over_100_ms", s->over_100_ms);
    N("stalls_kernel", s->by_kernel);
    N("stalls_cpu", s->by_cpu);
    N("stalls_unexplained", s->unexplained);
    printf("}\n");
#undef N
}

int main(int argc, char **argv)
{
    struct options options;
    static struct load load;
    parse(argc, argv, &options);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    start(&load, &options);
    read_where(&load);
    run(&load, options.seconds);
    give_up(&load);
    print_totals(&load);
    return load.totals.failures > 0 || stalls_totals()->unexplained > 0;
}
