/*
 * The lists are cut down to what the library context has: without a hybrid key exchange before
 * OpenSSL 3.5, without X25519 and ChaCha20 in some FIPS modules. What is left out is known to both
 * sides of a handshake, so it fails there or agrees on the next.
 */
#include "tls_algorithms.h"

#include "base/errbuf.h"
#include "spiffe/crypto.h"
#include "tls_error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { SECURITY_LEVEL = 2 };

static const char CIPHER_LIST[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                  "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                  "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char CIPHER_SUITES[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/* In the order in which they are offered and taken. With "*" a client sends a key share of it in
   its first message (OpenSSL 3.5 and later, which alone has the hybrid): a server that lacks the
   hybrid then needs no second one. */
static const char *const GROUPS[] = {"*X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"};
enum { GROUP_COUNT = sizeof(GROUPS) / sizeof(GROUPS[0]), GROUPS_SIZE = 128 };

/* What we settle for. */
struct terms {
    int min_version;
    int max_version; /* 0: the highest that libssl has */
    int level;
    char ciphers[sizeof(CIPHER_LIST)];  /* of TLS 1.2 */
    char suites[sizeof(CIPHER_SUITES)]; /* of TLS 1.3 */
};

static int fail(struct errbuf *err, const char *what)
{
    struct tls_error error;
    tls_error_take(&error);
    errbuf_set(err, "libssl: %s: %s", what,
               error.detail[0] != '\0' ? error.detail : "unknown error");
    return -1;
}

static bool has_cipher(const SSL_CTX *ssl_ctx, const char *name, size_t len)
{
    STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(ssl_ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        const char *other = SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i));
        if (strlen(other) == len && memcmp(other, name, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Those of the list that the SSL_CTX has. */
static void cut_list(const SSL_CTX *ssl_ctx, const char *list, char *out)
{
    char *end = out;
    while (*list != '\0') {
        size_t len = strcspn(list, ":");
        if (has_cipher(ssl_ctx, list, len)) {
            if (end != out) {
                *end++ = ':';
            }
            memcpy(end, list, len);
            end += len;
        }
        list += len + (list[len] == ':' ? 1 : 0);
    }
    *end = '\0';
}

static void our_terms(struct terms *terms)
{
    terms->min_version = TLS1_2_VERSION;
    terms->max_version = 0;
    terms->level = SECURITY_LEVEL;
    memcpy(terms->ciphers, CIPHER_LIST, sizeof(CIPHER_LIST));
    memcpy(terms->suites, CIPHER_SUITES, sizeof(CIPHER_SUITES));
}

/* SSL_CTX_new_ex has applied the host's configuration. */
static int narrow_terms(SSL_CTX *ssl_ctx, struct terms *terms, struct errbuf *err)
{
    int min = (int)SSL_CTX_get_min_proto_version(ssl_ctx);
    int level = SSL_CTX_get_security_level(ssl_ctx);
    terms->min_version = min > terms->min_version ? min : terms->min_version;
    terms->max_version = (int)SSL_CTX_get_max_proto_version(ssl_ctx);
    terms->level = level > terms->level ? level : terms->level;
    cut_list(ssl_ctx, CIPHER_LIST, terms->ciphers);
    cut_list(ssl_ctx, CIPHER_SUITES, terms->suites);
    if (terms->ciphers[0] == '\0') {
        terms->min_version = TLS1_3_VERSION;
    }
    if (terms->suites[0] == '\0' &&
        (terms->max_version == 0 || terms->max_version > TLS1_2_VERSION)) {
        terms->max_version = TLS1_2_VERSION;
    }
    if (terms->max_version != 0 && terms->max_version < terms->min_version) {
        errbuf_set(err, "the host's OpenSSL configuration leaves no version of TLS with a cipher "
                        "suite that bulkhead offers");
        return -1;
    }
    return 0;
}

static int set_ciphers(SSL_CTX *ssl_ctx, const struct terms *terms, struct errbuf *err)
{
    /* An empty list of TLS 1.2 is refused; those that are there belong to no version in use. */
    if ((terms->ciphers[0] != '\0' && SSL_CTX_set_cipher_list(ssl_ctx, terms->ciphers) != 1) ||
        SSL_CTX_set_ciphersuites(ssl_ctx, terms->suites) != 1) {
        return fail(err, "cipher suites");
    }
    return 0;
}

static int set_groups(SSL_CTX *ssl_ctx, struct errbuf *err)
{
    char groups[GROUPS_SIZE] = "";
    size_t used = 0;
    bool shares = false; /* which key shares are sent is said */
    ERR_set_mark();
    for (size_t i = 0; i < GROUP_COUNT; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%s%s", shares && i == 1 ? "*" : "", GROUPS[i]);
        if (SSL_CTX_set1_groups_list(ssl_ctx, name) == 1) {
            /* After "/" come those for which a server asks for no other share. */
            const char *parted = used == 0 ? "" : shares && i == 1 ? "/" : ":";
            int len = snprintf(groups + used, sizeof(groups) - used, "%s%s", parted, name);
            used += (size_t)len;
            shares = shares || name[0] == '*';
        }
    }
    (void)ERR_pop_to_mark();
    if (SSL_CTX_set1_groups_list(ssl_ctx, groups) != 1) {
        return fail(err, "groups");
    }
    return 0;
}

int tls_algorithms_set(SSL_CTX *ssl_ctx, const struct crypto *crypto, struct errbuf *err)
{
    /* Not const: libssl's macros cast it away. */
    char signature_algorithms[] =
        "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:"
        "rsa_pss_rsae_sha512:RSA+SHA256:RSA+SHA384:RSA+SHA512";
    struct terms terms;
    our_terms(&terms);
    if (crypto_provider(crypto) == CRYPTO_SYSTEM && narrow_terms(ssl_ctx, &terms, err) != 0) {
        return -1;
    }
    SSL_CTX_set_security_level(ssl_ctx, terms.level);
    if (SSL_CTX_set_min_proto_version(ssl_ctx, terms.min_version) != 1 ||
        SSL_CTX_set_max_proto_version(ssl_ctx, terms.max_version) != 1) {
        return fail(err, "versions");
    }
    if (set_ciphers(ssl_ctx, &terms, err) != 0 || set_groups(ssl_ctx, err) != 0) {
        return -1;
    }
    if (SSL_CTX_set1_sigalgs_list(ssl_ctx, signature_algorithms) != 1 ||
        SSL_CTX_set1_client_sigalgs_list(ssl_ctx, signature_algorithms) != 1) {
        return fail(err, "signature algorithms");
    }
    return 0;
}
