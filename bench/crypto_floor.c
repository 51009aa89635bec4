/*
 * crypto_floor: what the cryptography of a TLS 1.3 connection costs that nobody can leave out, with
 * the primitives alone: P-256 ECDSA sign and verify, X25519 key and shared secret, AES-128-GCM for
 * a record of 64 B, 4 KiB and 16 KiB with its header as additional data.
 *
 *     build/release/bench/crypto_floor [--rounds N]
 *
 * CPU time of the thread, the median of N rounds (9), in one JSON object; `make bench` adds a bare
 * relay's cost to it. Contexts are made once: no proxy on the same library can do with less.
 */
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 9, ROUNDS_MAX = 99, DIGEST = 32, SIGNATURE_MAX = 128, RECORD_MAX = 16384 };
enum { HEADER = 5, IV = 12, TAG = 16, ROUND_US = 4000 };

struct floor {
    EVP_PKEY *p256;
    EVP_PKEY_CTX *sign;
    EVP_PKEY_CTX *verify;
    EVP_PKEY_CTX *keygen;
    EVP_PKEY_CTX *derive;
    EVP_PKEY *x25519_peer;
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
    size_t record;
    size_t signature_size;
    unsigned char digest[DIGEST];
    unsigned char signature[SIGNATURE_MAX];
    unsigned char plain[RECORD_MAX];
    unsigned char sealed[RECORD_MAX + TAG];
};

static void must(bool done, const char *what)
{
    if (!done) {
        fprintf(stderr, "crypto_floor: %s failed\n", what);
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

static void floor_sign(struct floor *floor)
{
    floor->signature_size = sizeof(floor->signature);
    must(EVP_PKEY_sign(floor->sign, floor->signature, &floor->signature_size, floor->digest,
                       DIGEST) == 1,
         "sign");
}

static void floor_verify(struct floor *floor)
{
    must(EVP_PKEY_verify(floor->verify, floor->signature, floor->signature_size, floor->digest,
                         DIGEST) == 1,
         "verify");
}

static void floor_keygen(struct floor *floor)
{
    EVP_PKEY *key = NULL;
    must(EVP_PKEY_keygen(floor->keygen, &key) == 1, "keygen");
    EVP_PKEY_free(key);
}

static void floor_derive(struct floor *floor)
{
    unsigned char secret[DIGEST];
    size_t size = sizeof(secret);
    must(EVP_PKEY_derive_set_peer(floor->derive, floor->x25519_peer) == 1, "set_peer");
    must(EVP_PKEY_derive(floor->derive, secret, &size) == 1, "derive");
}

static void floor_seal(struct floor *floor)
{
    static const unsigned char header[HEADER] = {23, 3, 3, 0, 0};
    static const unsigned char iv[IV];
    int size;
    must(EVP_EncryptInit_ex(floor->seal, NULL, NULL, NULL, iv) == 1, "seal");
    must(EVP_EncryptUpdate(floor->seal, NULL, &size, header, HEADER) == 1, "seal");
    must(EVP_EncryptUpdate(floor->seal, floor->sealed, &size, floor->plain, (int)floor->record) ==
             1,
         "seal");
    must(EVP_EncryptFinal_ex(floor->seal, floor->sealed + floor->record, &size) == 1, "seal");
    must(EVP_CIPHER_CTX_ctrl(floor->seal, EVP_CTRL_AEAD_GET_TAG, TAG,
                             floor->sealed + floor->record) == 1,
         "seal");
}

static void floor_open(struct floor *floor)
{
    static const unsigned char header[HEADER] = {23, 3, 3, 0, 0};
    static const unsigned char iv[IV];
    int size;
    must(EVP_DecryptInit_ex(floor->open, NULL, NULL, NULL, iv) == 1, "open");
    must(EVP_CIPHER_CTX_ctrl(floor->open, EVP_CTRL_AEAD_SET_TAG, TAG,
                             floor->sealed + floor->record) == 1,
         "open");
    must(EVP_DecryptUpdate(floor->open, NULL, &size, header, HEADER) == 1, "open");
    must(EVP_DecryptUpdate(floor->open, floor->plain, &size, floor->sealed, (int)floor->record) ==
             1,
         "open");
    must(EVP_DecryptFinal_ex(floor->open, floor->plain + floor->record, &size) == 1, "open");
}

static const struct row {
    const char *name;
    size_t record; /* 0: none */
    void (*run)(struct floor *floor);
} rows[] = {
    {"sign_ns", 0, floor_sign},
    {"verify_ns", 0, floor_verify},
    {"keygen_ns", 0, floor_keygen},
    {"derive_ns", 0, floor_derive},
    {"seal_64_ns", 64, floor_seal},
    {"open_64_ns", 64, floor_open},
    {"seal_4096_ns", 4096, floor_seal},
    {"open_4096_ns", 4096, floor_open},
    {"seal_16384_ns", RECORD_MAX, floor_seal},
    {"open_16384_ns", RECORD_MAX, floor_open},
};

static void floor_init(struct floor *floor)
{
    static const unsigned char key[16] = {1};
    memset(floor->digest, 0xb5, sizeof(floor->digest));
    floor->p256 = EVP_EC_gen("P-256");
    must(floor->p256 != NULL, "P-256 key");
    floor->sign = EVP_PKEY_CTX_new(floor->p256, NULL);
    floor->verify = EVP_PKEY_CTX_new(floor->p256, NULL);
    must(EVP_PKEY_sign_init(floor->sign) == 1 && EVP_PKEY_verify_init(floor->verify) == 1, "ECDSA");
    floor->keygen = EVP_PKEY_CTX_new_from_name(NULL, "X25519", NULL);
    must(EVP_PKEY_keygen_init(floor->keygen) == 1, "X25519");
    EVP_PKEY *own = NULL;
    must(EVP_PKEY_keygen(floor->keygen, &own) == 1, "X25519 key");
    must(EVP_PKEY_keygen(floor->keygen, &floor->x25519_peer) == 1, "X25519 key");
    floor->derive = EVP_PKEY_CTX_new(own, NULL);
    must(EVP_PKEY_derive_init(floor->derive) == 1, "X25519 secret");
    EVP_PKEY_free(own); /* the context holds it */
    floor->seal = EVP_CIPHER_CTX_new();
    floor->open = EVP_CIPHER_CTX_new();
    must(EVP_EncryptInit_ex(floor->seal, EVP_aes_128_gcm(), NULL, key, NULL) == 1, "AES-128-GCM");
    must(EVP_DecryptInit_ex(floor->open, EVP_aes_128_gcm(), NULL, key, NULL) == 1, "AES-128-GCM");
}

static void floor_fini(struct floor *floor)
{
    EVP_CIPHER_CTX_free(floor->open);
    EVP_CIPHER_CTX_free(floor->seal);
    EVP_PKEY_CTX_free(floor->derive);
    EVP_PKEY_free(floor->x25519_peer);
    EVP_PKEY_CTX_free(floor->keygen);
    EVP_PKEY_CTX_free(floor->verify);
    EVP_PKEY_CTX_free(floor->sign);
    EVP_PKEY_free(floor->p256);
}

static double cpu_ns(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0, "clock_gettime");
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

static double one_round(const struct row *row, struct floor *floor)
{
    double from = cpu_ns();
    double spent = 0;
    unsigned count = 0;
    floor->record = row->record;
    while (spent < 1e3 * ROUND_US) {
        for (int i = 0; i < 16; i++) {
            row->run(floor);
        }
        count += 16;
        spent = cpu_ns() - from;
    }
    return spent / count;
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    static struct floor floor;
    double values[ROUNDS_MAX];
    unsigned rounds = ROUNDS;
    if (argc == 3 && strcmp(argv[1], "--rounds") == 0) {
        rounds = (unsigned)strtoul(argv[2], NULL, 10);
    }
    if ((argc != 1 && argc != 3) || rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: crypto_floor [--rounds 1...%d]\n", (int)ROUNDS_MAX);
        return 2;
    }
    floor_init(&floor);
    printf("{\"library\": \"%s\"", OpenSSL_version(OPENSSL_VERSION));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        for (unsigned round = 0; round < rounds; round++) {
            values[round] = one_round(&rows[i], &floor);
        }
        qsort(values, rounds, sizeof(*values), by_value);
        printf(", \"%s\": %.1f", rows[i].name, values[rounds / 2]);
    }
    puts("}");
    floor_fini(&floor);
    return 0;
}
