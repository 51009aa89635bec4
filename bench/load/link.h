/*
 * link: one connection, plain or TLS, that never blocks.
 *
 * Embedded in what uses it; in a poller from link_attach to link_close. Reads and writes change no
 * interest: who waits says for what with link_want. Why something failed stands in link_why()
 * until the next failure of any link.
 */
#ifndef BENCH_LOAD_LINK_H
#define BENCH_LOAD_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "load/poller.h"
#include "load/tls_side.h"

/* What a read or a write has to say when it moved no byte. */
enum {
    LINK_END = 0,     /* read: the peer ended, with close_notify or FIN */
    LINK_WAIT = -1,   /* nothing now */
    LINK_CUT = -2,    /* TLS: FIN without close_notify */
    LINK_RESET = -3,  /* RST, or a write after it */
    LINK_FAILED = -4, /* all else, an alert for one */
};

enum { LINK_PIECE = 65536 };

struct link {
    struct watch watch;
    struct poller *poller;
    SSL *ssl; /* NULL: plain */
    bool read_wants_write;
};

/* Takes the fd. A side makes it TLS, as client or server by the side. False: see link_why(); the fd
 * is closed then. */
bool link_attach(struct link *link, struct poller *poller, int fd, struct tls_side *side,
                 watch_fn *on_event, uint32_t interest);
/* 1 done; otherwise as above, LINK_WAIT with the right interest set. */
int link_handshake(struct link *link);
ssize_t link_read(struct link *link, void *out, size_t size);
/* May take less than all. */
ssize_t link_write(struct link *link, const void *bytes, size_t len);
/* Bytes may lie here that no event will tell of. */
bool link_has_more(const struct link *link);
/* EPOLLIN, EPOLLOUT or both. */
void link_want(struct link *link, uint32_t interest);
/* In order: close_notify before FIN. */
void link_close(struct link *link);
bool link_is_open(const struct link *link);

const char *link_why(void);

/* Sets what every socket of either side has. False with errno. */
bool link_set_socket(int fd, const char *congestion);

#endif
