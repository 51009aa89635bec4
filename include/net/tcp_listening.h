/*
 * tcp_listening: which TCP ports are listened on in our network namespace, and by which user:
 * /proc/self/net/tcp and tcp6. Any thread; reads two files of the kernel's memory, does not block.
 */
#ifndef BULKHEAD_NET_TCP_LISTENING_H
#define BULKHEAD_NET_TCP_LISTENING_H

#include "base/errbuf.h"
#include "base/netaddr.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tcp_listening {
    struct netaddr address; /* as bound; 0.0.0.0 and [::] are all of the host's */
    uid_t uid;              /* who opened it */
};

enum tcp_line { TCP_LINE_OTHER = 0, TCP_LINE_LISTENING, TCP_LINE_BROKEN };

/* One line of either file, without its newline. OTHER: the head, or a socket in another state. */
enum tcp_line tcp_listening_parse(const char *line, struct tcp_listening *out);

/* Of the kernel's text that is read of either file: some 7,000 sockets. */
enum { TCP_LISTENING_BYTES_MAX = 1024 * 1024 };

typedef void tcp_listening_fn(void *arg, const struct tcp_listening *socket);
/*
 * Calls fn for each. The kernel tells of listening sockets first: nothing is read behind the first
 * line of another state, however many connections there are. 0: those were all. -1 with err: a file
 * can't be read or understood, or there are more than that bound; fn was called for some.
 */
int tcp_listening_each(tcp_listening_fn *fn, void *arg, struct errbuf *err);

#endif
