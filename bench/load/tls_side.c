#include "load/tls_side.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* One read from the kernel may bring several records. */
enum { READ_BUFFER = 65536 };

const char *tls_error_text(char *out, size_t size)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    const char *more = data && (flags & ERR_TXT_STRING) ? data : "";
    snprintf(out, size, "%s%s%s%s", reason ? reason : "no reason given", *more ? " (" : "", more,
             *more ? ")" : "");
    ERR_clear_error();
    return out;
}

struct tls_side *tls_side_of(const SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

/* X509-SVID 2: exactly one URI SAN. NULL when that is not so; otherwise names holds the text. */
static const ASN1_IA5STRING *only_uri(const GENERAL_NAMES *names)
{
    const ASN1_IA5STRING *uri = NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        if (uri) {
            return NULL;
        }
        uri = name->d.uniformResourceIdentifier;
    }
    return uri;
}

static bool is_expected(const struct tls_side *side, const char *id, size_t len)
{
    static const char SCHEME[] = "spiffe://";
    if (!side->expect) {
        return len > strlen(SCHEME) && memcmp(id, SCHEME, strlen(SCHEME)) == 0;
    }
    return len == strlen(side->expect) && memcmp(id, side->expect, len) == 0;
}

static bool has_expected_identity(struct tls_side *side, X509 *leaf)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    const ASN1_IA5STRING *uri = names ? only_uri(names) : NULL;
    bool ok = false;
    if (!uri) {
        snprintf(side->why, sizeof side->why, "the peer's certificate has not exactly one URI SAN");
    } else {
        const char *id = (const char *)ASN1_STRING_get0_data(uri);
        size_t len = (size_t)ASN1_STRING_length(uri);
        ok = is_expected(side, id, len);
        snprintf(side->why, sizeof side->why, "the peer is \"%.*s\", expected was \"%s\"", (int)len,
                 id, side->expect ? side->expect : "spiffe://…");
    }
    GENERAL_NAMES_free(names);
    return ok;
}

static bool is_known(const struct tls_side *side, const X509 *leaf)
{
    for (unsigned i = 0; i < side->known_count; i++) {
        if (X509_cmp(side->known[i], leaf) == 0) {
            return true;
        }
    }
    return false;
}

/* In place of X509_verify_cert: see the header. */
static int verify(X509_STORE_CTX *store, void *arg)
{
    struct tls_side *side = arg;
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    if (is_known(side, leaf)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    if (X509_verify_cert(store) != 1) {
        return 0;
    }
    if (!has_expected_identity(side, leaf)) {
        side->wrong_identity++;
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    if (side->known_count < TLS_KNOWN_MAX && X509_up_ref(leaf)) {
        side->known[side->known_count++] = leaf;
    }
    return 1;
}

static bool load_credentials(SSL_CTX *ctx, const struct options *o)
{
    char why[TLS_TEXT_SIZE];
    const char *file = NULL;
    if (SSL_CTX_use_certificate_chain_file(ctx, o->certificate) != 1) {
        file = o->certificate;
    } else if (SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1) {
        file = o->key;
    } else if (SSL_CTX_load_verify_file(ctx, o->bundle) != 1) {
        file = o->bundle;
    }
    if (file) {
        fprintf(stderr, "load: %s: %s\n", file, tls_error_text(why, sizeof why));
    }
    return file == NULL;
}

static bool set_groups(SSL_CTX *ctx, const struct options *o)
{
    char *groups = mem_strdup(o->groups); /* the macro's cast takes no const */
    bool ok = SSL_CTX_set1_groups_list(ctx, groups) == 1;
    mem_free(groups);
    if (!ok) {
        fprintf(stderr, "load: --groups \"%s\": no group that is known here, or not a list\n",
                o->groups);
    }
    return ok;
}

static bool set_algorithms(SSL_CTX *ctx, const struct options *o)
{
    int version = o->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    return SSL_CTX_set_min_proto_version(ctx, version) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, version) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") == 1 &&
           SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256") == 1 && set_groups(ctx, o);
}

/* Stateful tickets: a resumption costs this side least. */
static void set_server_sessions(SSL_CTX *ctx, unsigned tickets)
{
    static const unsigned char NAME[] = "load";
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, tickets);
    SSL_CTX_set_session_cache_mode(ctx, tickets > 0 ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_session_id_context(ctx, NAME, sizeof NAME - 1); /* short enough */
}

static bool configure(struct tls_side *side, const struct options *o)
{
    SSL_CTX_set_app_data(side->ctx, side);
    SSL_CTX_set_mode(side->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS |
                                    SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(side->ctx, 1);
    SSL_CTX_set_default_read_buffer_len(side->ctx, READ_BUFFER);
    SSL_CTX_set_verify(side->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(side->ctx, verify, side);
    if (o->verb == VERB_BACKEND) {
        set_server_sessions(side->ctx, o->tickets);
    } else {
        SSL_CTX_set_session_cache_mode(side->ctx,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    }
    return set_algorithms(side->ctx, o) && load_credentials(side->ctx, o);
}

struct tls_side *tls_side_new(const struct options *o)
{
    struct tls_side *side = mem_alloc(sizeof *side);
    side->expect = o->expect;
    side->ctx = SSL_CTX_new(o->verb == VERB_BACKEND ? TLS_server_method() : TLS_client_method());
    if (!side->ctx || !configure(side, o)) {
        tls_side_free(side);
        return NULL;
    }
    return side;
}

void tls_side_free(struct tls_side *side)
{
    if (!side) {
        return;
    }
    for (unsigned i = 0; i < side->known_count; i++) {
        X509_free(side->known[i]);
    }
    SSL_CTX_free(side->ctx);
    mem_free(side);
}
