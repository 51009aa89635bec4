/*
 * handshake: what a full mutual handshake costs the accepting side, by where its cryptography comes
 * from, by whether the peer's chain is remembered, and by how many threads do it at once, with one
 * library context for all or one for each.
 *
 *     build/release/bench/handshake [--provider filtered|stock|system] [--memory on|off]
 *                                   [--threads N] [--context shared|own] [--version 1.2|1.3]
 *                                   [--rounds N] [--seconds S] [--json]
 *
 * Without any of the first four, all of them that there are, one after the other and once for each
 * round (5); the medians are printed. The server is our tls_conn with its loop, over a Unix socket;
 * the client is plain libssl in the same thread and in a library context of its own, and its time
 * is taken off. CPU is that of the thread; allocations are those between accept and close, and what
 * is held is what they leave behind when the handshake is done.
 *
 * --peers N handshakes with N different chains, one after the other (with --memory off two, and
 * room for one).
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "../tests/unit/spiffe/cert_builder.h"
#include "../tests/unit/spiffe/credentials_of.h"
#include "base/assert.h"
#include "base/memory.h"
#include "net/conn.h"
#include "net/loop.h"
#include "spiffe/credentials.h"
#include "spiffe/trust_bundle.h"
#include "tls/tls_conn.h"
#include "tls/tls_context.h"

enum { THREADS_MAX = 64, ROUNDS_MAX = 99, PEERS_MAX = 1024, WARM_UP = 50, FIGURES = 6 };
enum { CPU_US, RATE, ALLOCATIONS, ALLOCATED, HELD, CLIENT_US };

/* --- allocations ----------------------------------------------------------------------------- */

/* The C library's own, behind those that the whole process now uses. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

static _Thread_local struct {
    bool on;
    uint64_t calls;
    uint64_t bytes;
    int64_t held;
} count;

static void *counted(void *block)
{
    if (count.on && block != NULL) {
        size_t size = malloc_usable_size(block);
        count.calls++;
        count.bytes += size;
        count.held += (int64_t)size;
    }
    return block;
}

static void uncount(void *block)
{
    if (count.on && block != NULL) {
        count.held -= (int64_t)malloc_usable_size(block);
    }
}

void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

void *calloc(size_t number, size_t size)
{
    return counted(__libc_calloc(number, size));
}

void *realloc(void *block, size_t size)
{
    uncount(block);
    return counted(__libc_realloc(block, size));
}

void free(void *block)
{
    uncount(block);
    __libc_free(block);
}

/* --- what is measured ------------------------------------------------------------------------ */

struct variant {
    enum crypto_provider provider;
    bool remembers;
    bool own_context; /* each thread its own, or all one */
    unsigned threads;
};

struct options {
    int version; /* 0: any */
    unsigned rounds;
    unsigned peers;
    double seconds;
    bool json;
};

/* What must be in one library context. */
struct server {
    struct crypto *crypto;
    struct credentials *credentials;
    struct tls_context *context;
};

/* Certificates and keys as text, so that each library context can have its own. */
struct pki {
    char *bundle;
    char *chain;
    char *key;
    X509 *peers[PEERS_MAX];
    EVP_PKEY *peer_key;
};

struct result {
    uint64_t handshakes;
    uint64_t server_ns;
    uint64_t client_ns;
    uint64_t wall_ns;
    uint64_t allocations;
    uint64_t allocated;
    int64_t held;
};

struct thread {
    pthread_t id;
    unsigned index;
    const struct variant *variant;
    const struct options *options;
    const struct pki *pki;
    struct server *server;
    pthread_barrier_t *start;
    struct result result;

    struct loop *loop;
    struct tls_thread *tls;
    SSL_CTX *clients[PEERS_MAX];
    unsigned peers;
    SSL *client;
    int client_fd;
    int64_t held;
    uint64_t client_ns; /* of this handshake, inside the loop */
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
    ERR_print_errors_fp(stderr);
    fprintf(stderr, "handshake: %s\n", what);
    exit(1);
}

static void must(bool holds, const char *what)
{
    if (!holds) {
        die(what);
    }
}

/* --- certificates ---------------------------------------------------------------------------- */

static struct cert_spec valid_now(struct cert_spec spec)
{
    spec.not_before = time(NULL) - 3600;
    spec.not_after = time(NULL) + 3600;
    return spec;
}

static void make_pki(struct pki *pki, struct crypto *crypto)
{
    EVP_PKEY *ca_key = cert_ec_key(crypto, "P-256");
    EVP_PKEY *key = cert_ec_key(crypto, "P-256");
    struct cert_spec spec = valid_now(cert_ca("root"));
    X509 *root = cert_build(crypto, &spec, ca_key, NULL, NULL);
    spec = valid_now(cert_leaf("spiffe://prod.example/ns/shop/sa/orders"));
    X509 *own = cert_build(crypto, &spec, key, root, ca_key);
    pki->bundle = cert_pem_one(root);
    pki->chain = cert_pem_one(own);
    pki->key = cert_key_pem(key, NULL);
    pki->peer_key = cert_ec_key(crypto, "P-256");
    spec = valid_now(cert_leaf("spiffe://prod.example/ns/shop/sa/web"));
    for (size_t i = 0; i < PEERS_MAX; i++) {
        pki->peers[i] = cert_build(crypto, &spec, pki->peer_key, root, ca_key);
    }
    X509_free(own);
    X509_free(root);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
}

static void free_pki(struct pki *pki)
{
    for (size_t i = 0; i < PEERS_MAX; i++) {
        X509_free(pki->peers[i]);
    }
    EVP_PKEY_free(pki->peer_key);
    free(pki->bundle);
    free(pki->chain);
    free(pki->key);
}

/* --- the two sides --------------------------------------------------------------------------- */

static void server_init(struct server *server, enum crypto_provider provider, const struct pki *pki)
{
    struct errbuf err;
    server->crypto = crypto_new(provider, &err);
    must(server->crypto != NULL, err.text);
    struct trust_bundle *bundle = trust_bundle_from_pem(server->crypto, "prod.example", pki->bundle,
                                                        strlen(pki->bundle), &err);
    must(bundle != NULL, err.text);
    struct x509_svid *own = x509_svid_from_pem(server->crypto, pki->chain, strlen(pki->chain),
                                               pki->key, strlen(pki->key), &err);
    must(own != NULL, err.text);
    server->credentials = credentials_of(own, &bundle, 1, 1, &err);
    must(server->credentials != NULL, err.text);
    x509_svid_unref(own);
    trust_bundle_unref(bundle);
    const struct tls_settings settings = {.server = true, .name = "orders"};
    server->context = tls_context_new(server->crypto, &settings, &err);
    must(server->context != NULL, err.text);
}

static void server_fini(struct server *server)
{
    tls_context_unref(server->context);
    credentials_unref(server->credentials);
    crypto_free(server->crypto);
}

static SSL_CTX *make_client(OSSL_LIB_CTX *libctx, const struct thread *thread, X509 *certificate)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(libctx, NULL, TLS_client_method());
    must(ctx != NULL, "client");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
    must(SSL_CTX_use_certificate(ctx, certificate) == 1 &&
             SSL_CTX_use_PrivateKey(ctx, thread->pki->peer_key) == 1,
         "client certificate");
    if (thread->options->version != 0) {
        must(SSL_CTX_set_max_proto_version(ctx, thread->options->version) == 1, "version");
    }
    return ctx;
}

/* Its time, and its allocations, are not the server's. */
static void client_step(struct thread *thread)
{
    uint64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
    bool counting = count.on;
    count.on = false;
    ERR_clear_error();
    int result = SSL_do_handshake(thread->client);
    must(result == 1 || SSL_get_error(thread->client, result) == SSL_ERROR_WANT_READ,
         "the client's handshake");
    count.on = counting;
    thread->client_ns += now_ns(CLOCK_THREAD_CPUTIME_ID) - before;
}

__attribute__((noinline)) static void on_client(void *arg, unsigned events)
{
    struct thread *thread = arg;
    (void)events;
    if (SSL_is_init_finished(thread->client)) {
        char byte; /* TLS 1.2: nothing comes any more; 1.3: no ticket is asked for */
        (void)recv(thread->client_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return;
    }
    client_step(thread);
}

static void on_handshake(void *arg, const struct tls_failure *failure)
{
    struct thread *thread = arg;
    must(failure == NULL, failure != NULL ? reason_label(failure->reason) : "");
    loop_stop(thread->loop);
}

/* The server's side, and nothing else once on_client is taken out. By name for a profiler:
   valgrind --tool=callgrind '--toggle-collect=serve.*' '--toggle-collect=on_client*'. */
__attribute__((noinline)) static uint64_t serve(struct thread *thread, int fd)
{
    static const struct tls_conn_callbacks callbacks = {.on_handshake = on_handshake};
    memset(&count, 0, sizeof(count));
    count.on = true;
    uint64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
    struct conn *conn = tls_conn_accept(thread->tls, thread->loop, thread->server->context, fd,
                                        true, &callbacks, thread);
    must(conn != NULL, "accept");
    loop_run(thread->loop);
    thread->held = count.held;
    conn_close(conn);
    loop_run_deferred(thread->loop);
    uint64_t spent = now_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    count.on = false;
    return spent;
}

static void one_handshake(struct thread *thread, unsigned peer, struct result *result)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0,
         "socketpair");
    thread->client_fd = fds[1];
    thread->client = SSL_new(thread->clients[peer]);
    must(thread->client != NULL && SSL_set_fd(thread->client, fds[1]) == 1, "client");
    SSL_set_connect_state(thread->client);
    struct io_watch *watch = io_watch_new(thread->loop, fds[1], on_client, thread);
    must(watch != NULL && io_watch_set(watch, IO_READ) == 0, "watch");
    thread->client_ns = 0;
    client_step(thread);
    result->client_ns += thread->client_ns;
    thread->client_ns = 0;

    uint64_t spent = serve(thread, fds[0]);
    result->held += thread->held;
    result->handshakes++;
    result->server_ns += spent - thread->client_ns;
    result->client_ns += thread->client_ns;
    result->allocations += count.calls;
    result->allocated += count.bytes;
    io_watch_free(watch);
    SSL_free(thread->client);
    (void)close(fds[1]);
}

static void *run_thread(void *arg)
{
    struct thread *thread = arg;
    struct errbuf err;
    struct server own;
    struct crypto *client_crypto = crypto_new(CRYPTO_FILTERED, &err);
    _Atomic uint64_t lingering = 0;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(thread->index % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &cpus);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
    must(client_crypto != NULL, err.text);
    if (thread->variant->own_context) {
        server_init(&own, thread->variant->provider, thread->pki);
        thread->server = &own;
    }
    for (unsigned i = 0; i < thread->peers; i++) {
        thread->clients[i] =
            make_client(crypto_libctx(client_crypto), thread, thread->pki->peers[i]);
    }
    thread->loop = loop_new(&err);
    must(thread->loop != NULL, err.text);
    thread->tls = tls_thread_new(thread->server->crypto, thread->variant->remembers ? PEERS_MAX : 1,
                                 &lingering);
    must(thread->tls != NULL, "thread");
    tls_thread_set_credentials(thread->tls, thread->server->credentials);

    struct result warm = {0};
    for (unsigned i = 0; i < WARM_UP; i++) {
        one_handshake(thread, i % thread->peers, &warm);
    }
    (void)pthread_barrier_wait(thread->start);
    uint64_t from = now_ns(CLOCK_MONOTONIC);
    uint64_t until = from + (uint64_t)(thread->options->seconds * 1e9);
    for (unsigned i = 0; now_ns(CLOCK_MONOTONIC) < until; i++) {
        one_handshake(thread, i % thread->peers, &thread->result);
    }
    thread->result.wall_ns = now_ns(CLOCK_MONOTONIC) - from;
    (void)pthread_barrier_wait(thread->start);

    tls_thread_free(thread->tls);
    loop_free(thread->loop);
    for (unsigned i = 0; i < thread->peers; i++) {
        SSL_CTX_free(thread->clients[i]);
    }
    if (thread->variant->own_context) {
        server_fini(&own);
    }
    crypto_free(client_crypto);
    return NULL;
}

static void measure(const struct variant *variant, const struct options *options,
                    const struct pki *pki, double figures[FIGURES])
{
    struct server shared;
    struct thread *threads = mem_alloc_array(variant->threads, sizeof(*threads));
    pthread_barrier_t start;
    must(pthread_barrier_init(&start, NULL, variant->threads) == 0, "barrier");
    if (!variant->own_context) {
        server_init(&shared, variant->provider, pki);
    }
    for (unsigned i = 0; i < variant->threads; i++) {
        threads[i] = (struct thread){.index = i,
                                     .variant = variant,
                                     .options = options,
                                     .pki = pki,
                                     .server = &shared,
                                     .start = &start,
                                     .peers = variant->remembers ? options->peers : 2};
        must(pthread_create(&threads[i].id, NULL, run_thread, &threads[i]) == 0, "thread");
    }
    struct result sum = {0};
    double rate = 0;
    for (unsigned i = 0; i < variant->threads; i++) {
        (void)pthread_join(threads[i].id, NULL);
        const struct result *result = &threads[i].result;
        sum.handshakes += result->handshakes;
        sum.server_ns += result->server_ns;
        sum.client_ns += result->client_ns;
        sum.allocations += result->allocations;
        sum.allocated += result->allocated;
        sum.held += result->held;
        rate += (double)result->handshakes / ((double)result->wall_ns / 1e9);
    }
    double each = (double)sum.handshakes;
    figures[CPU_US] = (double)sum.server_ns / each / 1e3;
    figures[CLIENT_US] = (double)sum.client_ns / each / 1e3;
    figures[RATE] = rate;
    figures[ALLOCATIONS] = (double)sum.allocations / each;
    figures[ALLOCATED] = (double)sum.allocated / each;
    figures[HELD] = (double)sum.held / each;
    if (!variant->own_context) {
        server_fini(&shared);
    }
    (void)pthread_barrier_destroy(&start);
    mem_free(threads);
}

/* --- the tables ------------------------------------------------------------------------------ */

static const char *const PROVIDERS[] = {"filtered", "stock", "system"};

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static void print_variant(const struct variant *variant, double samples[FIGURES][ROUNDS_MAX],
                          const struct options *options, bool first)
{
    double median[FIGURES];
    for (size_t i = 0; i < FIGURES; i++) {
        qsort(samples[i], options->rounds, sizeof(double), compare);
        median[i] = samples[i][options->rounds / 2];
    }
    const char *context = variant->own_context ? "own" : "shared";
    if (options->json) {
        printf("%s\n{\"provider\":\"%s\",\"memory\":%s,\"threads\":%u,\"context\":\"%s\","
               "\"server_us\":%.1f,\"server_least_us\":%.1f,\"client_us\":%.1f,"
               "\"handshakes_s\":%.0f,\"allocations\":%.1f,\"allocated\":%.0f,\"held\":%.0f}",
               first ? "" : ",", PROVIDERS[variant->provider],
               variant->remembers ? "true" : "false", variant->threads, context, median[CPU_US],
               samples[CPU_US][0], median[CLIENT_US], median[RATE], median[ALLOCATIONS],
               median[ALLOCATED], median[HELD]);
    } else {
        printf("| %s | %s | %u | %s | %.1f (%.1f) | %.1f | %.0f | %.0f | %.0f | %.0f |\n",
               PROVIDERS[variant->provider], variant->remembers ? "on" : "off", variant->threads,
               context, median[CPU_US], samples[CPU_US][0], median[CLIENT_US], median[RATE],
               median[ALLOCATIONS], median[ALLOCATED], median[HELD]);
    }
    (void)fflush(stdout);
}

enum { VARIANTS_MAX = 16 };

/* What the command line leaves open is gone through; -1: open. */
struct choice {
    int provider;
    int remembers;
    int own_context;
    int threads;
};

static size_t list_variants(const struct choice *choice, struct variant out[VARIANTS_MAX])
{
    static const struct variant ALL[] = {
        {CRYPTO_FILTERED, true, false, 1}, {CRYPTO_FILTERED, true, false, 2},
        {CRYPTO_FILTERED, true, true, 2},  {CRYPTO_FILTERED, false, false, 1},
        {CRYPTO_STOCK, true, false, 1},    {CRYPTO_STOCK, true, false, 2},
        {CRYPTO_STOCK, true, true, 2},     {CRYPTO_STOCK, false, false, 1},
    };
    if (choice->provider < 0 && choice->remembers < 0 && choice->own_context < 0 &&
        choice->threads < 0) {
        memcpy(out, ALL, sizeof(ALL));
        return sizeof(ALL) / sizeof(ALL[0]);
    }
    out[0] = (struct variant){
        .provider = choice->provider < 0 ? CRYPTO_FILTERED : (enum crypto_provider)choice->provider,
        .remembers = choice->remembers != 0,
        .own_context = choice->own_context > 0,
        .threads = choice->threads < 0 ? 1 : (unsigned)choice->threads,
    };
    return 1;
}

static void run(const struct choice *choice, const struct options *options, const struct pki *pki)
{
    static double samples[VARIANTS_MAX][FIGURES][ROUNDS_MAX];
    struct variant variants[VARIANTS_MAX];
    size_t variant_count = list_variants(choice, variants);
    for (unsigned round = 0; round < options->rounds; round++) {
        for (size_t i = 0; i < variant_count; i++) {
            double figures[FIGURES];
            measure(&variants[i], options, pki, figures);
            for (size_t j = 0; j < FIGURES; j++) {
                samples[i][j][round] = figures[j];
            }
        }
    }
    if (options->json) {
        printf("{\"openssl\":\"%s\",\"rows\":[", crypto_run_version());
    } else {
        printf(
            "%s\n\n| provider | memory | threads | context | server, CPU us (least) | client, CPU "
            "us | handshakes/s | allocations | bytes | held "
            "|\n|---|---|---|---|---|---|---|---|---|"
            "---|\n",
            crypto_run_version());
    }
    for (size_t i = 0; i < variant_count; i++) {
        print_variant(&variants[i], samples[i], options, i == 0);
    }
    if (options->json) {
        puts("\n]}");
    }
}

static int word(const char *value, const char *const *words, int word_count)
{
    for (int i = 0; i < word_count; i++) {
        if (strcmp(value, words[i]) == 0) {
            return i;
        }
    }
    fprintf(stderr, "handshake: \"%s\"?\n", value);
    exit(2);
}

static unsigned number(const char *value, unsigned most)
{
    long n = strtol(value, NULL, 10);
    if (n < 1 || n > (long)most) {
        fprintf(stderr, "handshake: \"%s\" is not from 1 to %u\n", value, most);
        exit(2);
    }
    return (unsigned)n;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"provider", required_argument, NULL, 'p'}, {"memory", required_argument, NULL, 'm'},
        {"threads", required_argument, NULL, 't'},  {"context", required_argument, NULL, 'c'},
        {"version", required_argument, NULL, 'v'},  {"rounds", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},  {"peers", required_argument, NULL, 'n'},
        {"json", no_argument, NULL, 'j'},           {NULL, 0, NULL, 0},
    };
    static const char *const SWITCH[] = {"off", "on"};
    static const char *const CONTEXTS[] = {"shared", "own"};
    static const char *const VERSIONS[] = {"1.2", "1.3"};
    struct choice choice = {-1, -1, -1, -1};
    struct options options = {.rounds = 5, .peers = 1, .seconds = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'p':
            choice.provider = word(optarg, PROVIDERS, 3);
            break;
        case 'm':
            choice.remembers = word(optarg, SWITCH, 2);
            break;
        case 't':
            choice.threads = (int)number(optarg, THREADS_MAX);
            break;
        case 'c':
            choice.own_context = word(optarg, CONTEXTS, 2);
            break;
        case 'v':
            options.version = word(optarg, VERSIONS, 2) == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
            break;
        case 'r':
            options.rounds = number(optarg, ROUNDS_MAX);
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'n':
            options.peers = number(optarg, PEERS_MAX);
            break;
        case 'j':
            options.json = true;
            break;
        default:
            fputs("usage: see the head of bench/handshake.c\n", stderr);
            return 2;
        }
    }
    struct errbuf err;
    struct pki pki;
    struct crypto *crypto = crypto_new(CRYPTO_STOCK, &err);
    must(crypto != NULL, err.text);
    make_pki(&pki, crypto);
    run(&choice, &options, &pki);
    free_pki(&pki);
    crypto_free(crypto);
    return 0;
}
