#include "net/notify_socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/memory.h"

enum { SEND_MAX_US = 200 * 1000 };

struct notify_socket {
    int fd;
    struct sockaddr_un addr;
    socklen_t len;
};

/* unix(7): the name of an abstract socket begins with a NUL, and its length counts. */
static int take_place(struct notify_socket *notify, const char *place, struct errbuf *err)
{
    size_t len = strlen(place);
    if ((place[0] != '/' && place[0] != '@') || len < 2 || len >= sizeof(notify->addr.sun_path)) {
        errbuf_set(err,
                   "NOTIFY_SOCKET=\"%s\": must be an absolute path or an abstract name (@NAME) of "
                   "2 to 107 bytes",
                   place);
        return -1;
    }
    notify->addr.sun_family = AF_UNIX;
    memcpy(notify->addr.sun_path, place, len);
    if (place[0] == '@') {
        notify->addr.sun_path[0] = '\0';
    }
    notify->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return 0;
}

struct notify_socket *notify_socket_open(const char *place, struct errbuf *err)
{
    const struct timeval most = {.tv_usec = SEND_MAX_US};
    struct notify_socket *notify = mem_alloc(sizeof(*notify));
    notify->fd = -1;
    if (take_place(notify, place, err) != 0) {
        notify_socket_close(notify);
        return NULL;
    }
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify->fd < 0 ||
        setsockopt(notify->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) != 0) {
        errbuf_set_errno(err, "cannot make a socket for NOTIFY_SOCKET");
        notify_socket_close(notify);
        return NULL;
    }
    return notify;
}

void notify_socket_close(struct notify_socket *notify)
{
    if (notify != NULL) {
        if (notify->fd >= 0) {
            (void)close(notify->fd);
        }
        mem_free(notify);
    }
}

int notify_socket_send(const struct notify_socket *notify, const char *text, struct errbuf *err)
{
    ssize_t sent = 0;
    do {
        sent = sendto(notify->fd, text, strlen(text), MSG_NOSIGNAL,
                      (const struct sockaddr *)&notify->addr, notify->len);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        errbuf_set_errno(err, "cannot send to NOTIFY_SOCKET");
        return -1;
    }
    return 0;
}
