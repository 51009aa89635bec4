/*
 * relay: the floor that `make bench` measures proxies against. Plain TCP in, plain TCP out; one
 * thread, level-triggered epoll, a read and a send for each piece, no timeouts, no limits.
 *
 *     build/release/bench/relay 127.0.0.1:9000 127.0.0.1:8000
 *
 * Listens on the first address and forwards to the second. Ends by SIGTERM. What it costs is what
 * the kernel takes for two sockets; what a proxy costs above that is the proxy's own.
 *
 *     end 0 (the client's)  --read-->  buffer  --send-->  end 1 (the backend's), and the reverse
 *
 * An end whose peer can't take a piece at once is not read until the rest of it has gone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, EVENTS = 256, BACKLOG = 4096 };

struct end {
    struct pair *pair;
    struct end *other;
    int fd;
    uint32_t interest;
    bool ended;          /* the peer's FIN was read and passed on */
    unsigned char *rest; /* of what was read at the other end, and not yet written here */
    size_t rest_from;
    size_t rest_to;
};

struct pair {
    struct end ends[2];
    bool dead;
    struct pair *next; /* in the list of the dead, freed when no event can name them any more */
};

struct relay {
    int epoll;
    int listener;
    struct sockaddr_in backend;
    struct pair *dead;
    unsigned char piece[PIECE];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Without interest it is not in the set at all: epoll would tell of a hang-up again and again. */
static void end_want(struct relay *relay, struct end *end, uint32_t interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = end};
    int change = end->interest == 0 ? EPOLL_CTL_ADD : interest == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (end->interest == interest) {
        return;
    }
    end->interest = interest;
    if (epoll_ctl(relay->epoll, change, end->fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static void pair_close(struct relay *relay, struct pair *pair)
{
    if (pair->dead) {
        return;
    }
    pair->dead = true;
    (void)close(pair->ends[0].fd);
    (void)close(pair->ends[1].fd);
    pair->next = relay->dead;
    relay->dead = pair;
}

static void free_dead(struct relay *relay)
{
    while (relay->dead != NULL) {
        struct pair *pair = relay->dead;
        relay->dead = pair->next;
        free(pair->ends[0].rest);
        free(pair->ends[1].rest);
        free(pair);
    }
}

static void keep_rest(struct relay *relay, struct end *to, const unsigned char *data, size_t size)
{
    to->rest = malloc(size);
    if (to->rest == NULL) {
        die("malloc");
    }
    memcpy(to->rest, data, size);
    to->rest_from = 0;
    to->rest_to = size;
    end_want(relay, to, to->interest | EPOLLOUT);
    end_want(relay, to->other, to->other->interest & ~(uint32_t)EPOLLIN);
}

static void on_readable(struct relay *relay, struct end *from)
{
    struct end *to = from->other;
    ssize_t got = read(from->fd, relay->piece, sizeof(relay->piece));
    if (got < 0) {
        if (errno != EAGAIN) {
            pair_close(relay, from->pair);
        }
        return;
    }
    if (got == 0) {
        from->ended = true;
        if (to->ended || shutdown(to->fd, SHUT_WR) != 0) {
            pair_close(relay, from->pair);
            return;
        }
        end_want(relay, from, from->interest & ~(uint32_t)EPOLLIN);
        return;
    }
    ssize_t put = send(to->fd, relay->piece, (size_t)got, MSG_NOSIGNAL);
    if (put < 0 && errno != EAGAIN) {
        pair_close(relay, from->pair);
    } else if (put < got) {
        size_t done = put < 0 ? 0 : (size_t)put;
        keep_rest(relay, to, relay->piece + done, (size_t)got - done);
    }
}

/* The first time, it is the backend that has answered the dial. */
static void on_writable(struct relay *relay, struct end *end)
{
    if (end->rest != NULL) {
        ssize_t put =
            send(end->fd, end->rest + end->rest_from, end->rest_to - end->rest_from, MSG_NOSIGNAL);
        if (put < 0) {
            if (errno != EAGAIN) {
                pair_close(relay, end->pair);
            }
            return;
        }
        end->rest_from += (size_t)put;
        if (end->rest_from < end->rest_to) {
            return;
        }
        free(end->rest);
        end->rest = NULL;
    }
    end_want(relay, end, end->ended || end->other->rest != NULL ? 0 : EPOLLIN);
    end_want(relay, end->other, end->other->interest | (end->other->ended ? 0 : EPOLLIN));
}

static void on_event(struct relay *relay, struct end *end, uint32_t events)
{
    /* EPOLLERR and EPOLLHUP come unasked: what read or send says of them is the answer. */
    if ((events & EPOLLOUT) != 0 && (end->interest & EPOLLOUT) != 0) {
        on_writable(relay, end);
    }
    if (end->pair->dead) {
        return;
    }
    if ((events & EPOLLIN) != 0 && (end->interest & EPOLLIN) != 0) {
        on_readable(relay, end);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        pair_close(relay, end->pair);
    }
}

static void end_open(struct relay *relay, struct pair *pair, int which, int fd, uint32_t interest)
{
    const int on = 1;
    struct end *end = &pair->ends[which];
    *end = (struct end){.pair = pair, .other = &pair->ends[1 - which], .fd = fd};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    end_want(relay, end, interest);
}

static void on_accept(struct relay *relay)
{
    int downstream = accept4(relay->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (downstream < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED) {
            die("accept");
        }
        return;
    }
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (upstream < 0) {
        die("socket");
    }
    if (connect(upstream, (struct sockaddr *)&relay->backend, sizeof(relay->backend)) != 0 &&
        errno != EINPROGRESS) {
        die("connect");
    }
    struct pair *pair = calloc(1, sizeof(*pair));
    if (pair == NULL) {
        die("calloc");
    }
    end_open(relay, pair, 0, downstream, 0);
    end_open(relay, pair, 1, upstream, EPOLLOUT);
}

static struct sockaddr_in parse_address(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN];
    unsigned port = 0;
    char more;
    if (sscanf(text, "%15[0-9.]:%5u%c", host, &port, &more) != 2 || port == 0 || port > 65535 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "relay: \"%s\" is no IPv4 address with a port, such as 127.0.0.1:9000\n",
                text);
        exit(2);
    }
    address.sin_port = htons((uint16_t)port);
    return address;
}

static void relay_listen(struct relay *relay, struct sockaddr_in address)
{
    const int on = 1;
    struct epoll_event event = {.events = EPOLLIN};
    relay->epoll = epoll_create1(EPOLL_CLOEXEC);
    relay->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (relay->epoll < 0 || relay->listener < 0) {
        die("relay");
    }
    (void)setsockopt(relay->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(relay->listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(relay->listener, BACKLOG) != 0 ||
        epoll_ctl(relay->epoll, EPOLL_CTL_ADD, relay->listener, &event) != 0) {
        die("listen");
    }
}

int main(int argc, char **argv)
{
    static struct relay relay;
    struct epoll_event events[EVENTS];
    if (argc != 3) {
        fprintf(stderr, "usage: relay LISTEN FORWARD, each an IPv4 address with a port\n");
        return 2;
    }
    relay.backend = parse_address(argv[2]);
    relay_listen(&relay, parse_address(argv[1]));
    for (;;) {
        int count = epoll_wait(relay.epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < count; i++) {
            struct end *end = events[i].data.ptr;
            if (end == NULL) {
                on_accept(&relay);
            } else if (!end->pair->dead) {
                on_event(&relay, end, events[i].events);
            }
        }
        free_dead(&relay);
    }
}
