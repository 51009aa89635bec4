#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SMALL_BUFFER = 16384, SMALL_SEGMENT = 1448, BACKLOG = 1024 };

static char last_error[256];

const char *wire_error(void)
{
    return last_error;
}

static enum wire_result broken(const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    snprintf(last_error, sizeof(last_error), "%s: %s", what, text != NULL ? text : strerror(errno));
    ERR_clear_error();
    return WIRE_BROKEN;
}

static void fatal(const char *what)
{
    broken(what);
    fprintf(stderr, "mixed: %s\n", last_error);
    exit(1);
}

/* The chain stands by then; what is left is who it is. */
static int check_identity(int ok, X509_STORE_CTX *store)
{
    if (ok != 1 || X509_STORE_CTX_get_error_depth(store) != 0) {
        return ok;
    }
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const char *expect = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    GENERAL_NAMES *names =
        X509_get_ext_d2i(X509_STORE_CTX_get_current_cert(store), NID_subject_alt_name, NULL, NULL);
    bool same = false;
    if (names != NULL && sk_GENERAL_NAME_num(names) == 1) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);
        same = name->type == GEN_URI &&
               (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier) == strlen(expect) &&
               memcmp(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier), expect,
                      strlen(expect)) == 0;
    }
    GENERAL_NAMES_free(names);
    if (!same) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    }
    return same;
}

SSL_CTX *wire_context(const struct wire_tls *tls, bool server)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    static const unsigned char id[] = "mixed";
    if (ctx == NULL || SSL_CTX_use_certificate_chain_file(ctx, tls->certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, tls->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(ctx, tls->bundle, NULL) != 1 ||
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_session_id_context(ctx, id, sizeof(id)) != 1) {
        fatal(tls->certificate);
    }
    SSL_CTX_set_app_data(ctx, (void *)(uintptr_t)tls->expect);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, check_identity);
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    return ctx;
}

static void set_option(int fd, int level, int name, int value)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)) != 0) {
        fatal("setsockopt");
    }
}

static bool make_ssl(struct wire *wire, SSL_CTX *ctx)
{
    if (ctx == NULL) {
        return true;
    }
    wire->ssl = SSL_new(ctx);
    return wire->ssl != NULL && SSL_set_fd(wire->ssl, wire->fd) == 1;
}

static void note_addresses(struct wire *wire)
{
    socklen_t size = sizeof(wire->local);
    (void)getsockname(wire->fd, (struct sockaddr *)&wire->local, &size);
    size = sizeof(wire->remote);
    (void)getpeername(wire->fd, (struct sockaddr *)&wire->remote, &size);
}

bool wire_dial(struct wire *wire, uint16_t port, SSL_CTX *ctx, bool small)
{
    *wire = (struct wire){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (wire->fd < 0) {
        fatal("socket");
    }
    if (small) {
        set_option(wire->fd, SOL_SOCKET, SO_RCVBUF, SMALL_BUFFER);
        set_option(wire->fd, SOL_SOCKET, SO_SNDBUF, SMALL_BUFFER);
        set_option(wire->fd, IPPROTO_TCP, TCP_MAXSEG, SMALL_SEGMENT);
    }
    set_option(wire->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (connect(wire->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) {
        broken("connect");
        return false;
    }
    note_addresses(wire);
    wire->remote = to;
    wire->wants_write = true;
    if (!make_ssl(wire, ctx)) {
        broken("SSL_new");
        return false;
    }
    if (wire->ssl != NULL) {
        SSL_set_connect_state(wire->ssl);
    }
    return true;
}

bool wire_accepted(struct wire *wire, int fd, SSL_CTX *ctx)
{
    *wire = (struct wire){.fd = fd};
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    note_addresses(wire);
    if (!make_ssl(wire, ctx)) {
        broken("SSL_new");
        return false;
    }
    if (wire->ssl != NULL) {
        SSL_set_accept_state(wire->ssl);
    }
    return true;
}

int wire_listen(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0) {
        fatal("listen");
    }
    *port = ntohs(at.sin_port);
    return fd;
}

/* After an SSL_* call that did not succeed. */
static enum wire_result judge(struct wire *wire, int result, const char *what)
{
    switch (SSL_get_error(wire->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return WIRE_WAIT;
    case SSL_ERROR_WANT_WRITE:
        wire->wants_write = true;
        return WIRE_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        return WIRE_END;
    default:
        return broken(what);
    }
}

enum wire_result wire_proceed(struct wire *wire)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        errno = error;
        return broken("connect");
    }
    wire->wants_write = false;
    if (wire->ssl != NULL) {
        ERR_clear_error();
        int result = SSL_do_handshake(wire->ssl);
        if (result != 1) {
            return judge(wire, result, "handshake");
        }
    }
    wire->open = true;
    return WIRE_OK;
}

enum wire_result wire_read(struct wire *wire, uint8_t *out, size_t size, size_t *got)
{
    *got = 0;
    if (wire->ssl != NULL) {
        ERR_clear_error();
        int result = SSL_read_ex(wire->ssl, out, size, got);
        return result == 1 ? WIRE_OK : judge(wire, result, "read");
    }
    ssize_t n = recv(wire->fd, out, size, 0);
    if (n > 0) {
        *got = (size_t)n;
        return WIRE_OK;
    }
    if (n == 0) {
        return WIRE_END;
    }
    return errno == EAGAIN || errno == EINTR ? WIRE_WAIT : broken("recv");
}

enum wire_result wire_write(struct wire *wire, const uint8_t *data, size_t len, size_t *put)
{
    *put = 0;
    wire->wants_write = false;
    if (wire->ssl != NULL) {
        ERR_clear_error();
        int result = SSL_write_ex(wire->ssl, data, len, put);
        return result == 1 ? WIRE_OK : judge(wire, result, "write");
    }
    ssize_t n = send(wire->fd, data, len, MSG_NOSIGNAL);
    if (n > 0) {
        *put = (size_t)n;
        return WIRE_OK;
    }
    if (errno == EAGAIN || errno == EINTR) {
        wire->wants_write = true;
        return WIRE_WAIT;
    }
    return broken("send");
}

enum wire_result wire_end(struct wire *wire, bool fin)
{
    wire->wants_write = false;
    if (wire->ssl != NULL && !wire->said_end) {
        ERR_clear_error();
        int result = SSL_shutdown(wire->ssl);
        if (result < 0) {
            return judge(wire, result, "close_notify"); /* it may wait for room */
        }
        wire->said_end = true;
    }
    if ((fin || wire->ssl == NULL) && shutdown(wire->fd, SHUT_WR) != 0) {
        return broken("shutdown");
    }
    return WIRE_OK;
}

bool wire_has_pending(const struct wire *wire)
{
    return wire->ssl != NULL && SSL_pending(wire->ssl) > 0;
}

void wire_close(struct wire *wire)
{
    SSL_free(wire->ssl);
    (void)close(wire->fd);
    wire->ssl = NULL;
    wire->fd = -1;
    wire->open = wire->wants_write = false; /* the addresses stay */
}
