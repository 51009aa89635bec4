/*
 * resolver: a cache of names in front of a c-ares channel.
 *
 *     resolver_start ─► entry ──┬─ fresh ────────────────────────────┐
 *                               ├─ failing, has addresses ───────────┼─► ready ─► deliver
 *                               └─ else: waiting ─► answer, failure  │            (end of turn)
 *                                                   or patience over ┘
 *
 * An entry asks at most one question at a time. Its addresses stay when a question fails, and serve
 * stale (RFC 8767): at first after the "client response timer" of 1.8 s (section 5), then, while
 * failing, at once, with a fresh question in the background at most once a second.
 *
 * A rebuild is a new channel (c-ares 1.18 can't read its configuration again). The former one goes
 * at once; what was asked of it and is still waited for is asked of the new one. Addresses stay as
 * stale ones.
 *
 * c-ares calls back from inside its own functions; nothing of ours that may call it again (or free
 * the channel) runs there: callbacks to the askers wait for the end of the turn.
 */
#include "net/resolver.h"

#include <limits.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include <ares.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "dns_channel.h"

enum {
    RESOLVER_MAGIC = 0x72736c76,
    MIN_TTL_MS = 1000,
    MAX_TTL_MS = 5 * 60 * 1000,
    FAILURE_TTL_MS = 1000,
    PATIENCE_MS = 1800,
    MAX_ENTRIES = 1024,
    BUCKETS = 256
};

TAILQ_HEAD(query_list, resolver_query);
TAILQ_HEAD(entry_list, entry);

/* One asker, in its entry's waiting list or in the resolver's ready list. */
struct resolver_query {
    TAILQ_ENTRY(resolver_query) link;
    struct query_list *list; /* the one it is in */
    struct resolver *resolver;
    struct entry *entry;
    uint16_t port;
    resolver_done_fn *done;
    void *arg;
};

struct entry {
    TAILQ_ENTRY(entry) age_link; /* least recently asked for first */
    struct entry *next_in_bucket;
    struct resolver *resolver;
    char *name;
    size_t users; /* queries, waiting or ready */
    struct query_list waiting;
    struct timer *patience; /* made when first needed */
    bool asking;            /* c-ares has a question of ours */
    bool failing;           /* the last question had no answer, or takes too long */
    uint64_t valid_until_ms;
    struct netaddr *addresses; /* without port; kept beyond valid_until_ms */
    size_t count;
    const char *failure; /* why there are none */
};

struct resolver {
    unsigned magic;
    struct loop *loop;
    char *servers;               /* NULL: the system's */
    struct dns_channel *channel; /* NULL while it is closed: what ends then is void */
    struct entry *buckets[BUCKETS];
    struct entry_list by_age;
    size_t entry_count;
    struct query_list ready;
    bool delivering; /* deliver() is deferred or running */
    bool freed;
    struct loop_deferred deferred;
};

/* ---- Entries ---- */

static bool is_fresh(const struct entry *entry)
{
    return loop_now_ms(entry->resolver->loop) < entry->valid_until_ms;
}

static struct entry **bucket_of(struct resolver *resolver, const char *name)
{
    /* Names come from the operators' file; nobody picks them to collide. */
    return &resolver->buckets[hash_bytes(name, strlen(name), 0) % BUCKETS];
}

static void free_entry(struct entry *entry)
{
    struct resolver *resolver = entry->resolver;
    struct entry **hook = bucket_of(resolver, entry->name);
    while (*hook != entry) {
        hook = &(*hook)->next_in_bucket;
    }
    *hook = entry->next_in_bucket;
    TAILQ_REMOVE(&resolver->by_age, entry, age_link);
    resolver->entry_count--;
    timer_free(entry->patience);
    mem_free(entry->addresses);
    mem_free(entry->name);
    mem_free(entry);
}

/* Makes room for one more, unless every entry is in use: then the sessions bound their number. */
static void evict_one(struct resolver *resolver)
{
    for (struct entry *entry = TAILQ_FIRST(&resolver->by_age); entry != NULL;
         entry = TAILQ_NEXT(entry, age_link)) {
        if (entry->users == 0 && !entry->asking) {
            free_entry(entry);
            return;
        }
    }
}

static struct entry *new_entry(struct resolver *resolver, const char *name)
{
    if (resolver->entry_count >= MAX_ENTRIES) {
        evict_one(resolver);
    }
    struct entry *entry = mem_try_alloc(sizeof(*entry));
    size_t size = strlen(name) + 1;
    char *copy = mem_try_alloc(size);
    if (entry == NULL || copy == NULL) {
        mem_free(copy);
        mem_free(entry);
        return NULL;
    }
    memcpy(copy, name, size);
    entry->resolver = resolver;
    entry->name = copy;
    entry->failure = "not resolved";
    TAILQ_INIT(&entry->waiting);
    struct entry **bucket = bucket_of(resolver, name);
    entry->next_in_bucket = *bucket;
    *bucket = entry;
    TAILQ_INSERT_TAIL(&resolver->by_age, entry, age_link);
    resolver->entry_count++;
    return entry;
}

/* NULL when memory is out. */
static struct entry *find_entry(struct resolver *resolver, const char *name)
{
    for (struct entry *entry = *bucket_of(resolver, name); entry != NULL;
         entry = entry->next_in_bucket) {
        if (strcmp(entry->name, name) == 0) {
            TAILQ_REMOVE(&resolver->by_age, entry, age_link);
            TAILQ_INSERT_TAIL(&resolver->by_age, entry, age_link);
            return entry;
        }
    }
    return new_entry(resolver, name);
}

/* ---- Delivery ---- */

static void put(struct resolver_query *query, struct query_list *list)
{
    query->list = list;
    TAILQ_INSERT_TAIL(list, query, link);
}

static void drop_query(struct resolver_query *query)
{
    TAILQ_REMOVE(query->list, query, link);
    query->entry->users--;
    mem_free(query);
}

/* Copied first: the callback may ask again, and a new answer replaces the entry's. */
static void deliver_one(struct resolver_query *query)
{
    const struct entry *entry = query->entry;
    resolver_done_fn *done = query->done;
    void *arg = query->arg;
    const char *failure = entry->count == 0 ? entry->failure : NULL;
    size_t count = entry->count;
    struct netaddr addresses[RESOLVER_MAX_ADDRESSES];
    for (size_t i = 0; i < count; i++) {
        addresses[i] = entry->addresses[i];
        netaddr_set_port(&addresses[i], query->port);
    }
    drop_query(query);
    done(arg, addresses, count, failure);
}

static void deliver(void *arg)
{
    struct resolver *resolver = arg;
    CHECK_MAGIC(resolver, RESOLVER_MAGIC);
    while (!resolver->freed && !TAILQ_EMPTY(&resolver->ready)) {
        deliver_one(TAILQ_FIRST(&resolver->ready));
    }
    resolver->delivering = false;
    if (resolver->freed) {
        resolver->magic = 0;
        mem_free(resolver);
    }
}

static void deliver_later(struct resolver *resolver)
{
    if (!resolver->delivering) {
        resolver->delivering = true;
        loop_defer(resolver->loop, &resolver->deferred, deliver, resolver);
    }
}

/* All who wait for this name get what it has now. */
static void answer_waiting(struct entry *entry)
{
    struct resolver *resolver = entry->resolver;
    struct resolver_query *query;
    while ((query = TAILQ_FIRST(&entry->waiting)) != NULL) {
        TAILQ_REMOVE(&entry->waiting, query, link);
        put(query, &resolver->ready);
        deliver_later(resolver);
    }
}

/* ---- Asking ---- */

static const char *failure_text(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
        return "no such name";
    case ARES_ENODATA:
        return "the name has no address";
    case ARES_ETIMEOUT:
        return "timeout: no name server answered";
    case ARES_ECONNREFUSED:
    case ARES_ESERVFAIL:
    case ARES_EREFUSED:
    case ARES_ENOTIMP:
        /* c-ares asks the next server after SERVFAIL, REFUSED, NOTIMP and ICMP errors alike; 1.18
           has one code for them, newer ones (1.34) have that of the last server. */
        return "every name server failed, refused or could not be reached";
    case ARES_EBADRESP:
        return "the name server's answer is malformed";
    case ARES_EBADNAME:
        return "the name is malformed";
    case ARES_ENOMEM:
        return "out of memory";
    default:
        return ares_strerror(status); /* a constant too */
    }
}

static uint64_t clamp_ttl_ms(int ttl_s)
{
    if (ttl_s <= MIN_TTL_MS / 1000) {
        return MIN_TTL_MS;
    }
    return ttl_s >= MAX_TTL_MS / 1000 ? MAX_TTL_MS : (uint64_t)ttl_s * 1000;
}

/* RFC 8767 4: with the high bit set it is still positive, and capped. Newer c-ares does that too.
 */
static int shorter_ttl_s(int one_s, int other_s)
{
    if (other_s < 0) {
        return one_s;
    }
    return one_s < other_s ? one_s : other_s;
}

/* The answer is as good as the shortest-lived record on the way to it. */
static uint64_t ttl_ms_of(const struct ares_addrinfo *info)
{
    int ttl_s = INT_MAX;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        ttl_s = shorter_ttl_s(ttl_s, node->ai_ttl);
    }
    for (const struct ares_addrinfo_cname *cname = info->cnames; cname != NULL;
         cname = cname->next) {
        ttl_s = shorter_ttl_s(ttl_s, cname->ttl);
    }
    return clamp_ttl_ms(ttl_s);
}

/* Takes addresses. */
static void replace_addresses(struct entry *entry, struct netaddr *addresses, size_t count)
{
    mem_free(entry->addresses);
    entry->addresses = addresses;
    entry->count = count;
}

static bool take_addresses(struct entry *entry, const struct ares_addrinfo *info)
{
    size_t count = 0;
    for (const struct ares_addrinfo_node *node = info->nodes;
         node != NULL && count < RESOLVER_MAX_ADDRESSES; node = node->ai_next) {
        count++;
    }
    struct netaddr *addresses = mem_try_alloc(count * sizeof(*addresses));
    if (addresses == NULL) {
        return false;
    }
    const struct ares_addrinfo_node *node = info->nodes;
    for (size_t i = 0; i < count; i++, node = node->ai_next) {
        netaddr_from_sockaddr(&addresses[i], node->ai_addr, node->ai_addrlen);
    }
    replace_addresses(entry, addresses, count);
    return true;
}

static void note_failure(struct entry *entry, int status)
{
    entry->failure = failure_text(status);
    entry->valid_until_ms = loop_now_ms(entry->resolver->loop) + FAILURE_TTL_MS;
    /* RFC 8767 4: that there is nothing is an answer; it replaces what we had. */
    bool is_answer = status == ARES_ENOTFOUND || status == ARES_ENODATA;
    entry->failing = !is_answer;
    if (is_answer) {
        replace_addresses(entry, NULL, 0);
    }
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct entry *entry = arg;
    struct resolver *resolver = entry->resolver;
    (void)timeouts;
    CHECK_MAGIC(resolver, RESOLVER_MAGIC);
    entry->asking = false;
    if (entry->patience != NULL) {
        timer_cancel(entry->patience);
    }
    if (resolver->channel == NULL) {
        ares_freeaddrinfo(info); /* whatever it says */
        return;
    }
    if (status == ARES_SUCCESS && (info == NULL || info->nodes == NULL)) {
        status = ARES_ENODATA;
    }
    if (status == ARES_SUCCESS && !take_addresses(entry, info)) {
        status = ARES_ENOMEM;
    }
    if (status == ARES_SUCCESS) {
        entry->failing = false;
        entry->valid_until_ms = loop_now_ms(resolver->loop) + ttl_ms_of(info);
    } else {
        note_failure(entry, status);
    }
    ares_freeaddrinfo(info);
    answer_waiting(entry);
}

static void on_patience_over(void *arg)
{
    struct entry *entry = arg;
    CHECK_MAGIC(entry->resolver, RESOLVER_MAGIC);
    entry->failing = true;
    answer_waiting(entry);
}

/* With stale addresses at hand, nobody waits for long. */
static void arm_patience(struct entry *entry)
{
    if (entry->count == 0 || entry->failing) {
        return;
    }
    if (entry->patience == NULL) {
        entry->patience = timer_new(entry->resolver->loop, on_patience_over, entry);
    }
    if (entry->patience != NULL) {
        timer_set(entry->patience, PATIENCE_MS);
    }
    /* Without memory for it the askers wait for the question's own end. */
}

/* RFC 6761 6.3: "localhost." and names that end in ".localhost." are the loopback's, always: no
   server is asked, and no hosts file is needed (a minimal container has none). */
static bool is_localhost(const char *name)
{
    static const char localhost[] = "localhost";
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.') {
        len--;
    }
    size_t tail = sizeof(localhost) - 1;
    return len >= tail && strncasecmp(name + len - tail, localhost, tail) == 0 &&
           (len == tail || name[len - tail - 1] == '.');
}

static bool answer_localhost(struct entry *entry)
{
    struct netaddr *addresses =
        is_localhost(entry->name) ? mem_try_alloc(2 * sizeof(*addresses)) : NULL;
    if (addresses == NULL) {
        return false; /* without memory the question goes its usual way, and fails there */
    }
    bool known =
        netaddr_from_ip(&addresses[0], "127.0.0.1", 0) && netaddr_from_ip(&addresses[1], "::1", 0);
    ASSERT(known);
    replace_addresses(entry, addresses, 2);
    entry->valid_until_ms = loop_now_ms(entry->resolver->loop) + MAX_TTL_MS;
    return true;
}

/* c-ares would ask its servers for the addresses of "127.0.0.1", and for those of the root. */
static bool answer_without_asking(struct entry *entry)
{
    uint64_t now = loop_now_ms(entry->resolver->loop);
    struct netaddr *addr = mem_try_alloc(sizeof(*addr));
    if (addr != NULL && netaddr_from_ip(addr, entry->name, 0)) {
        replace_addresses(entry, addr, 1);
        entry->valid_until_ms = now + MAX_TTL_MS;
        return true;
    }
    mem_free(addr);
    if (answer_localhost(entry)) {
        return true;
    }
    if (entry->name[0] == '\0' || strcmp(entry->name, ".") == 0) {
        note_failure(entry, ARES_EBADNAME);
        return true;
    }
    return false;
}

static void ask(struct entry *entry)
{
    if (answer_without_asking(entry)) {
        return;
    }
    arm_patience(entry);
    entry->asking = true;
    /* May answer at once (hosts file, an IP address, an error). */
    dns_channel_ask(entry->resolver->channel, entry->name, on_answer, entry);
}

struct resolver_query *resolver_start(struct resolver *resolver, const char *name, uint16_t port,
                                      resolver_done_fn *done, void *arg)
{
    CHECK_MAGIC(resolver, RESOLVER_MAGIC);
    ASSERT(!resolver->freed && done != NULL);
    struct entry *entry = find_entry(resolver, name);
    struct resolver_query *query = mem_try_alloc(sizeof(*query));
    if (entry == NULL || query == NULL) {
        mem_free(query);
        return NULL;
    }
    query->resolver = resolver;
    query->entry = entry;
    query->port = port;
    query->done = done;
    query->arg = arg;
    entry->users++;
    put(query, &entry->waiting);
    if (!is_fresh(entry) && !entry->asking) {
        ask(entry);
    }
    if (is_fresh(entry) || (entry->failing && entry->count > 0)) {
        answer_waiting(entry);
    }
    return query;
}

void resolver_cancel(struct resolver_query *query)
{
    if (query != NULL) {
        CHECK_MAGIC(query->resolver, RESOLVER_MAGIC);
        drop_query(query);
    }
}

/* ---- Life ---- */

static void close_channel(struct resolver *resolver)
{
    struct dns_channel *channel = resolver->channel;
    resolver->channel = NULL;
    dns_channel_close(channel);
}

static struct resolver *new_resolver(struct loop *loop, const char *servers, struct errbuf *err)
{
    struct resolver *resolver = mem_alloc(sizeof(*resolver));
    resolver->magic = RESOLVER_MAGIC;
    resolver->loop = loop;
    TAILQ_INIT(&resolver->by_age);
    TAILQ_INIT(&resolver->ready);
    resolver->channel = dns_channel_open(loop, servers, err);
    if (resolver->channel == NULL) {
        mem_free(resolver);
        return NULL;
    }
    resolver->servers = servers != NULL ? mem_strdup(servers) : NULL;
    return resolver;
}

struct resolver *resolver_new(struct loop *loop, struct errbuf *err)
{
    return new_resolver(loop, NULL, err);
}

struct resolver *resolver_new_with_servers(struct loop *loop, const char *servers,
                                           struct errbuf *err)
{
    return new_resolver(loop, servers, err);
}

/* What was learnt by the former configuration is stale, failures included. */
static void ask_anew(struct resolver *resolver)
{
    struct entry *entry;
    TAILQ_FOREACH (entry, &resolver->by_age, age_link) {
        entry->valid_until_ms = 0;
        entry->failing = false;
    }
    /* Asking neither adds nor removes an entry. */
    TAILQ_FOREACH (entry, &resolver->by_age, age_link) {
        if (TAILQ_EMPTY(&entry->waiting)) {
            continue;
        }
        ask(entry);
        if (is_fresh(entry)) {
            answer_waiting(entry);
        }
    }
}

static int replace_channel(struct resolver *resolver, const char *servers, struct errbuf *err)
{
    CHECK_MAGIC(resolver, RESOLVER_MAGIC);
    ASSERT(!resolver->freed);
    struct dns_channel *channel = dns_channel_open(resolver->loop, servers, err);
    if (channel == NULL) {
        return -1;
    }
    close_channel(resolver);
    resolver->channel = channel;
    ask_anew(resolver);
    return 0;
}

int resolver_rebuild(struct resolver *resolver, struct errbuf *err)
{
    return replace_channel(resolver, resolver->servers, err);
}

int resolver_rebuild_with_servers(struct resolver *resolver, const char *servers,
                                  struct errbuf *err)
{
    if (replace_channel(resolver, servers, err) != 0) {
        return -1;
    }
    mem_free(resolver->servers);
    resolver->servers = mem_strdup(servers);
    return 0;
}

void resolver_free(struct resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    CHECK_MAGIC(resolver, RESOLVER_MAGIC);
    ASSERT(!resolver->freed);
    resolver->freed = true;
    close_channel(resolver);
    mem_free(resolver->servers);
    struct resolver_query *query;
    while ((query = TAILQ_FIRST(&resolver->ready)) != NULL) {
        drop_query(query);
    }
    struct entry *entry;
    while ((entry = TAILQ_FIRST(&resolver->by_age)) != NULL) {
        while ((query = TAILQ_FIRST(&entry->waiting)) != NULL) {
            drop_query(query);
        }
        free_entry(entry);
    }
    if (!resolver->delivering) {
        resolver->magic = 0;
        mem_free(resolver);
    }
    /* Otherwise deliver() frees it. */
}

const char *resolver_build_version(void)
{
    return ARES_VERSION_STR;
}

const char *resolver_run_version(void)
{
    return ares_version(NULL);
}
