#include "load/link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"

static char why[TLS_TEXT_SIZE + 256];

const char *link_why(void)
{
    return why;
}

static int failed_with(int error)
{
    snprintf(why, sizeof why, "%s", strerror(error));
    return error == ECONNRESET || error == EPIPE ? LINK_RESET : LINK_FAILED;
}

bool link_set_socket(int fd, const char *congestion)
{
    int on = 1;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           (!congestion || setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion,
                                      (socklen_t)strlen(congestion)) == 0);
}

bool link_attach(struct link *link, struct poller *poller, int fd, struct tls_side *side,
                 watch_fn *on_event, uint32_t interest)
{
    *link = (struct link){.poller = poller, .watch = {.fd = fd, .on_event = on_event}};
    if (side) {
        link->ssl = SSL_new(side->ctx);
        if (!link->ssl || SSL_set_fd(link->ssl, fd) != 1) {
            char text[TLS_TEXT_SIZE];
            snprintf(why, sizeof why, "%s", tls_error_text(text, sizeof text));
            link_close(link);
            return false;
        }
        if (SSL_is_server(link->ssl)) {
            SSL_set_accept_state(link->ssl);
        } else {
            SSL_set_connect_state(link->ssl);
        }
    }
    if (!poller_add(poller, &link->watch, interest)) {
        (void)failed_with(errno);
        link_close(link);
        return false;
    }
    return true;
}

/* An identity refused says more than the alert that it led to. */
static int ssl_failed(SSL *ssl)
{
    char text[TLS_TEXT_SIZE];
    tls_error_text(text, sizeof text);
    long verdict = SSL_get_verify_result(ssl);
    if (verdict == X509_V_ERR_APPLICATION_VERIFICATION) {
        snprintf(why, sizeof why, "%s", tls_side_of(ssl)->why);
    } else if (verdict != X509_V_OK) {
        snprintf(why, sizeof why, "%s: %s", text, X509_verify_cert_error_string(verdict));
    } else {
        snprintf(why, sizeof why, "%s", text);
    }
    return LINK_FAILED;
}

static bool is_cut(void)
{
    return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
}

/* What an SSL_* call that returned `result` means. */
static int ssl_outcome(struct link *link, int result, int error)
{
    link->read_wants_write = false;
    switch (SSL_get_error(link->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return LINK_WAIT;
    case SSL_ERROR_WANT_WRITE:
        link->read_wants_write = true;
        return LINK_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        snprintf(why, sizeof why, "the peer ended the stream");
        return LINK_END;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        return failed_with(error != 0 ? error : ECONNRESET);
    default:
        break;
    }
    if (is_cut()) {
        ERR_clear_error();
        snprintf(why, sizeof why, "the peer cut the stream without close_notify");
        return LINK_CUT;
    }
    return ssl_failed(link->ssl);
}

int link_handshake(struct link *link)
{
    if (!link->ssl) {
        return 1;
    }
    errno = 0;
    int result = SSL_do_handshake(link->ssl);
    if (result == 1) {
        return 1;
    }
    int outcome = ssl_outcome(link, result, errno);
    if (outcome == LINK_WAIT) {
        poller_want(link->poller, &link->watch, link->read_wants_write ? EPOLLOUT : EPOLLIN);
    }
    return outcome;
}

static ssize_t plain_outcome(ssize_t moved)
{
    if (moved > 0) {
        return moved;
    }
    if (moved == 0) {
        snprintf(why, sizeof why, "the peer ended the stream");
        return LINK_END;
    }
    return errno == EAGAIN || errno == EINTR ? LINK_WAIT : failed_with(errno);
}

ssize_t link_read(struct link *link, void *out, size_t size)
{
    if (!link->ssl) {
        return plain_outcome(recv(link->watch.fd, out, size, 0));
    }
    errno = 0;
    int got = SSL_read(link->ssl, out, size > INT32_MAX ? INT32_MAX : (int)size);
    return got > 0 ? got : ssl_outcome(link, got, errno);
}

ssize_t link_write(struct link *link, const void *bytes, size_t len)
{
    ASSERT(len > 0);
    if (!link->ssl) {
        return plain_outcome(send(link->watch.fd, bytes, len, MSG_NOSIGNAL));
    }
    errno = 0;
    int sent = SSL_write(link->ssl, bytes, len > INT32_MAX ? INT32_MAX : (int)len);
    return sent > 0 ? sent : ssl_outcome(link, sent, errno);
}

bool link_has_more(const struct link *link)
{
    return link->ssl && SSL_has_pending(link->ssl);
}

void link_want(struct link *link, uint32_t interest)
{
    poller_want(link->poller, &link->watch,
                link->read_wants_write ? interest | EPOLLOUT : interest);
}

/* Without a sent close_notify libssl would take the session for a bad one and drop it; a peer that
 * ends by FIN alone is not a reason for that here. */
void link_close(struct link *link)
{
    if (link->watch.fd < 0) {
        return;
    }
    if (link->ssl) {
        if (!SSL_in_init(link->ssl)) {
            (void)SSL_shutdown(link->ssl);
            SSL_set_shutdown(link->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        }
        SSL_free(link->ssl);
        ERR_clear_error();
        link->ssl = NULL;
    }
    poller_remove(link->poller, &link->watch);
    close(link->watch.fd);
    link->watch.fd = -1;
}

bool link_is_open(const struct link *link)
{
    return link->watch.fd >= 0;
}
