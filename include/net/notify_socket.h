/*
 * notify_socket: the datagram socket on which a service manager hears how its service is
 * (sd_notify(3)). Any one thread.
 */
#ifndef BULKHEAD_NET_NOTIFY_SOCKET_H
#define BULKHEAD_NET_NOTIFY_SOCKET_H

#include "base/errbuf.h"

struct notify_socket;

/* place: as in $NOTIFY_SOCKET, an absolute path, or "@" and an abstract name. NULL with err. */
struct notify_socket *notify_socket_open(const char *place, struct errbuf *err);
void notify_socket_close(struct notify_socket *notify); /* NULL is fine */
/* One datagram of "KEY=value" lines. Waits for a fifth of a second at most. -1 with err. */
int notify_socket_send(const struct notify_socket *notify, const char *text, struct errbuf *err);

#endif
