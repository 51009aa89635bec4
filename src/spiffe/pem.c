/*
 * Lines first, then blocks. The reader walks line by line; only "-----BEGIN x-----" and
 * "-----END x-----" mean something outside a block, and the body is given to libcrypto's
 * base64 decoder as one slice.
 */
#include "pem.h"

#include "spiffe/crypto.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static const char DASHES[] = "-----";
enum { DASHES_LEN = 5 };

/* The next line without its end; false at the end of the text. */
static bool next_line(struct pem_reader *reader, struct strview *line)
{
    if (reader->offset >= reader->pem.len) {
        return false;
    }
    const char *from = reader->pem.ptr + reader->offset;
    size_t left = reader->pem.len - reader->offset;
    const char *end = memchr(from, '\n', left);
    size_t len = end != NULL ? (size_t)(end - from) : left;
    reader->offset += end != NULL ? len + 1 : len;
    reader->line++;
    while (len > 0 && (from[len - 1] == '\r' || from[len - 1] == ' ' || from[len - 1] == '\t')) {
        len--;
    }
    line->ptr = from;
    line->len = len;
    return true;
}

/* The x of "-----<word> x-----". */
static bool boundary(struct strview line, const char *word, struct strview *label)
{
    size_t word_len = strlen(word);
    size_t prefix = DASHES_LEN + word_len + 1;
    if (line.len < prefix + DASHES_LEN || memcmp(line.ptr, DASHES, DASHES_LEN) != 0 ||
        memcmp(line.ptr + DASHES_LEN, word, word_len) != 0 || line.ptr[prefix - 1] != ' ' ||
        memcmp(line.ptr + line.len - DASHES_LEN, DASHES, DASHES_LEN) != 0) {
        return false;
    }
    label->ptr = line.ptr + prefix;
    label->len = line.len - prefix - DASHES_LEN;
    return true;
}

static bool has_dashes(struct strview line)
{
    return memmem(line.ptr, line.len, DASHES, DASHES_LEN) != NULL;
}

/* Text, not a DER file or a half-written page of zeros. */
static bool is_text(struct strview line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        if ((c < 0x20 && c != '\t' && c != '\r' && c != '\f') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Finds BEGIN. 1 found, 0 end of text, -1 broken. */
static int find_begin(struct pem_reader *reader, struct pem_block *block, struct errbuf *err)
{
    struct strview line;
    while (next_line(reader, &line)) {
        struct strview label;
        if (boundary(line, "BEGIN", &label)) {
            block->label = label;
            block->text.ptr = line.ptr;
            block->line = reader->line;
            return 1;
        }
        if (boundary(line, "END", &label)) {
            errbuf_set(err, "line %zu: an END line without its BEGIN", reader->line);
            return -1;
        }
        if (!is_text(line)) {
            errbuf_set(err, "line %zu: binary bytes; this is no PEM text", reader->line);
            return -1;
        }
        if (has_dashes(line) && memmem(line.ptr, line.len, "BEGIN", 5) != NULL) {
            errbuf_set(err, "line %zu: a broken BEGIN line", reader->line);
            return -1;
        }
    }
    return 0;
}

int pem_next(struct pem_reader *reader, struct pem_block *block, struct errbuf *err)
{
    int found = find_begin(reader, block, err);
    if (found != 1) {
        return found;
    }
    struct strview line;
    while (next_line(reader, &line)) {
        struct strview label;
        if (boundary(line, "END", &label) && strview_equal(label, block->label)) {
            block->text.len = (size_t)(line.ptr + line.len - block->text.ptr);
            return 1;
        }
        if (has_dashes(line)) {
            break;
        }
        if (!is_text(line)) {
            errbuf_set(err, "line %zu: binary bytes inside a PEM block", reader->line);
            return -1;
        }
    }
    errbuf_set(err, "line %zu: a BEGIN line without its END; the file is cut or damaged",
               block->line);
    return -1;
}

int pem_is_private_key(const struct pem_block *block)
{
    static const char SUFFIX[] = "PRIVATE KEY";
    size_t len = sizeof(SUFFIX) - 1;
    return block->label.len >= len &&
           memcmp(block->label.ptr + block->label.len - len, SUFFIX, len) == 0;
}

X509 *pem_parse_der(const struct crypto *crypto, const void *der, size_t len)
{
    X509 *certificate = X509_new_ex(crypto_libctx(crypto), NULL);
    const unsigned char *end = der;
    if (certificate == NULL || len > LONG_MAX) {
        X509_free(certificate);
        return NULL;
    }
    ERR_set_mark();
    /*
     * Not d2i_X509: it refuses what has a malformed extension, without saying which. The item
     * decoder parses the same ASN.1, and x509_svid's checks name what is wrong. On failure it
     * frees the object and sets the pointer to NULL.
     */
    ASN1_VALUE *value = (ASN1_VALUE *)certificate;
    if (ASN1_item_d2i(&value, &end, (long)len, ASN1_ITEM_rptr(X509)) == NULL) {
        certificate = NULL;
    } else if (end != (const unsigned char *)der + len) {
        X509_free(certificate);
        certificate = NULL;
    }
    (void)ERR_pop_to_mark();
    return certificate;
}

int pem_decode(const struct pem_block *block, unsigned char **der, size_t *len, struct errbuf *err)
{
    char *name = NULL;
    char *header = NULL;
    long der_len = 0;
    int status = -1;

    *der = NULL;
    ERR_set_mark();
    BIO *bio =
        block->text.len <= INT_MAX ? BIO_new_mem_buf(block->text.ptr, (int)block->text.len) : NULL;
    if (bio == NULL || PEM_read_bio(bio, &name, &header, der, &der_len) != 1) {
        errbuf_set(err, "line %zu: the PEM block can't be decoded (base64)", block->line);
    } else {
        *len = (size_t)der_len;
        status = 0;
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    BIO_free(bio);
    (void)ERR_pop_to_mark();
    return status;
}

X509 *pem_certificate(const struct crypto *crypto, const struct pem_block *block,
                      struct errbuf *err)
{
    unsigned char *der = NULL;
    size_t len = 0;
    if (pem_decode(block, &der, &len, err) < 0) {
        return NULL;
    }
    X509 *certificate = pem_parse_der(crypto, der, len);
    OPENSSL_free(der);
    if (certificate == NULL) {
        errbuf_set(err, "line %zu: the block holds no X.509 certificate", block->line);
    }
    return certificate;
}
