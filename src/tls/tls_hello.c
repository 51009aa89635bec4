/*
 * Server: the ClientHello callback runs before libssl has chosen anything, so a failed handshake
 * can be logged with the name that was asked for. The name decides nothing (one listener, one
 * policy). A client without ALPN never comes to libssl's ALPN callback, hence alpn_required is
 * checked here too.
 *
 * Client: not every libssl 3.0 checks that the server's choice was offered (RFC 7301 3.2), and none
 * demands a choice, so we do both.
 */
#include "tls_hello.h"

#include "base/assert.h"
#include "tls_bio.h"
#include "tls_conn_private.h"
#include "tls_context_private.h"
#include "tls_resumption.h"

#include <openssl/tls1.h>

#include <stdint.h>
#include <string.h>

enum { ALPN_NAME_MAX = 255, ALPN_LIST_MAX = 65535 };

/* The first host_name of the server_name extension (RFC 6066 3), as it came. */
static void keep_server_name(SSL *ssl, struct tls_failure *failure)
{
    enum { HEADER = 5 }; /* list length, type, name length */
    const unsigned char *data;
    size_t len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &len) != 1 || len < HEADER ||
        data[2] != TLSEXT_NAMETYPE_host_name) {
        return;
    }
    size_t name_len = (size_t)data[3] << 8 | data[4];
    if (name_len > len - HEADER || name_len >= sizeof(failure->sni)) {
        return; /* libssl refuses it */
    }
    memcpy(failure->sni, data + HEADER, name_len);
    failure->sni[name_len] = '\0';
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    struct tls_conn *tls = tls_bio_conn(ssl);
    ASSERT(tls->handshake != NULL);
    struct tls_failure *failure = &tls->handshake->failure;
    const struct tls_conn_callbacks *callbacks = tls->handshake->callbacks;
    if (!tls->handshake->hello_seen && callbacks->on_hello != NULL) {
        callbacks->on_hello(tls->handshake->arg); /* not for the second one after a retry request */
    }
    tls->handshake->hello_seen = true;
    keep_server_name(ssl, failure);
    tls_resumption_look_at_hello(tls);
    /* Sessions of credentials that were swapped since the conn was accepted are over. */
    if (!tls_resumption_bind(tls)) {
        failure->reason = REASON_INTERNAL;
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }

    const unsigned char *data;
    size_t len;
    if (tls->context->alpn_required &&
        SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &data,
                                  &len) != 1) {
        failure->reason = REASON_TLS_ALPN_REQUIRED;
        *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* Where `name` stands in a list of length-prefixed names, or NULL. */
static const unsigned char *find_in_list(const unsigned char *list, size_t list_len,
                                         const char *name)
{
    size_t name_len = strlen(name);
    size_t at = 0;
    while (at < list_len && list[at] <= list_len - at - 1) {
        if (list[at] == name_len && memcmp(list + at + 1, name, name_len) == 0) {
            return list + at;
        }
        at += (size_t)list[at] + 1;
    }
    return NULL;
}

static int on_alpn_offered(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *list, unsigned list_len, void *arg)
{
    (void)arg;
    struct tls_conn *tls = tls_bio_conn(ssl);
    ASSERT(tls->handshake != NULL);
    for (size_t i = 0; i < tls->context->alpn_count; i++) {
        const unsigned char *found = find_in_list(list, list_len, tls->context->alpn[i]);
        if (found != NULL) {
            *out = found + 1;
            *out_len = found[0];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    /* RFC 7301 3.2: "the server SHALL send a fatal no_application_protocol alert". */
    tls->handshake->failure.reason = REASON_TLS_ALPN_NO_OVERLAP;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Appends the length-prefixed name. */
static size_t put_name(unsigned char *list, size_t at, const char *name, size_t len)
{
    list[at] = (unsigned char)len;
    memcpy(list + at + 1, name, len);
    return at + 1 + len;
}

static int offer_list(struct tls_context *context, size_t total, struct errbuf *err)
{
    unsigned char *list = OPENSSL_malloc(total);
    size_t at = 0;
    for (size_t i = 0; list != NULL && i < context->alpn_count; i++) {
        at = put_name(list, at, context->alpn[i], strlen(context->alpn[i]));
    }
    /* Unlike its relatives this function returns 0 on success. */
    bool done =
        list != NULL && SSL_CTX_set_alpn_protos(context->ssl_ctx, list, (unsigned)total) == 0;
    OPENSSL_free(list);
    if (!done) {
        errbuf_set(err, "alpn: libssl refuses the list");
        return -1;
    }
    return 0;
}

int tls_hello_init(struct tls_context *context, struct errbuf *err)
{
    size_t total = 0;
    for (size_t i = 0; i < context->alpn_count; i++) {
        size_t len = strlen(context->alpn[i]);
        if (len == 0 || len > ALPN_NAME_MAX) {
            errbuf_set(err, "alpn \"%s\": a protocol's name has 1 to 255 bytes (RFC 7301 3.1)",
                       context->alpn[i]);
            return -1;
        }
        total += len + 1;
    }
    if (total > ALPN_LIST_MAX) {
        errbuf_set(err, "alpn: the list is longer than 65535 bytes (RFC 7301 3.1)");
        return -1;
    }
    if (!context->server) {
        return total > 0 ? offer_list(context, total, err) : 0;
    }
    SSL_CTX_set_client_hello_cb(context->ssl_ctx, on_client_hello, NULL);
    if (total > 0) {
        SSL_CTX_set_alpn_select_cb(context->ssl_ctx, on_alpn_offered, NULL);
    }
    return 0;
}

static bool set_server_name(SSL *ssl, const char *sni)
{
    char name[TLSEXT_MAXLEN_host_name + 1]; /* libssl's macro casts const away */
    size_t len = strlen(sni);
    if (len >= sizeof(name)) {
        return false;
    }
    memcpy(name, sni, len + 1);
    return SSL_set_tlsext_host_name(ssl, name) == 1;
}

bool tls_hello_offer(struct tls_conn *tls, const char *sni)
{
    if (sni != NULL && !set_server_name(tls->ssl, sni)) {
        return false;
    }
    if (tls->alpn == NULL) {
        return true; /* the context's */
    }
    size_t len = strlen(tls->alpn);
    if (len == 0) {
        return SSL_set_alpn_protos(tls->ssl, NULL, 0) == 0;
    }
    ASSERT(len <= ALPN_NAME_MAX);
    unsigned char list[ALPN_NAME_MAX + 1];
    size_t total = put_name(list, 0, tls->alpn, len);
    return SSL_set_alpn_protos(tls->ssl, list, (unsigned)total) == 0;
}

static bool is_name(const char *name, const unsigned char *selected, size_t len)
{
    return strlen(name) == len && memcmp(name, selected, len) == 0;
}

const char *tls_hello_selected(const struct tls_conn *tls)
{
    const struct tls_context *context = tls->context;
    const unsigned char *selected = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(tls->ssl, &selected, &len);
    bool offered = tls->alpn != NULL ? tls->alpn[0] != '\0' : context->alpn_count > 0;
    if (len == 0) {
        return context->server || !offered ? "" : NULL;
    }
    if (tls->alpn != NULL) {
        return is_name(tls->alpn, selected, len) ? tls->alpn : NULL;
    }
    for (size_t i = 0; i < context->alpn_count; i++) {
        if (is_name(context->alpn[i], selected, len)) {
            return context->alpn[i];
        }
    }
    return NULL;
}
