#include "tls_thread.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "tls_linger.h"

static void dispose(struct tls_thread *thread)
{
    credentials_unref(thread->credentials);
    if (thread->chains != NULL) {
        peer_chain_table_free(thread->chains);
    }
    BIO_free(thread->bio);
    BIO_meth_free(thread->bio_method);
    mem_free(thread);
}

struct tls_thread *tls_thread_new(const struct crypto *crypto, size_t max_peer_chains,
                                  _Atomic uint64_t *lingering)
{
    ASSERT(lingering != NULL);
    struct tls_thread *thread = mem_try_alloc(sizeof(*thread));
    if (thread == NULL) {
        return NULL;
    }
    thread->magic = TLS_THREAD_MAGIC;
    thread->linger_count = lingering;
    thread->rekey_records = TLS_REKEY_RECORDS;
    thread->chains = peer_chain_table_new(crypto, max_peer_chains);
    thread->bio_method = tls_bio_method_new();
    if (thread->bio_method != NULL) {
        thread->bio = tls_bio_new(thread->bio_method, thread);
    }
    if (thread->chains == NULL || thread->bio == NULL) {
        dispose(thread);
        return NULL;
    }
    return thread;
}

void tls_thread_free(struct tls_thread *thread)
{
    if (thread == NULL) {
        return;
    }
    CHECK_MAGIC(thread, (unsigned)TLS_THREAD_MAGIC);
    ASSERT(!thread->freed);
    tls_linger_close_all(thread);
    credentials_unref(thread->credentials);
    thread->credentials = NULL;
    thread->freed = true;
    if (thread->conns == 0) {
        dispose(thread);
    }
}

void tls_thread_set_credentials(struct tls_thread *thread, struct credentials *credentials)
{
    CHECK_MAGIC(thread, (unsigned)TLS_THREAD_MAGIC);
    struct credentials *former = thread->credentials;
    thread->credentials = credentials != NULL ? credentials_ref(credentials) : NULL;
    credentials_unref(former);
}

uint64_t tls_thread_generation(const struct tls_thread *thread)
{
    CHECK_MAGIC(thread, (unsigned)TLS_THREAD_MAGIC);
    return thread->credentials != NULL ? credentials_generation(thread->credentials) : 0;
}

void tls_thread_hold(struct tls_thread *thread)
{
    thread->conns++;
}

void tls_thread_release(struct tls_thread *thread)
{
    ASSERT(thread->conns > 0);
    thread->conns--;
    if (thread->freed && thread->conns == 0) {
        dispose(thread);
    }
}

enum reason tls_thread_recheck(struct tls_thread *thread, const struct credentials *credentials,
                               struct peer_chain *chain, struct svid_failure *failure)
{
    return peer_chain_recheck(thread->chains, credentials, chain, clock_wall_s(), failure);
}

void tls_thread_forget_stale(struct tls_thread *thread, size_t *left)
{
    peer_chain_table_forget_stale(thread->chains, thread->credentials, left);
}
