/*
 * resolver: a cache of names in front of one c-ares channel.
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
 * c-ares calls back from inside its own functions; nothing of ours that may call it again (or free
 * the channel) runs there: callbacks to the askers wait for the end of the turn.
 */
#include "net/resolver.h"

#include <string.h>
#include <sys/queue.h>

#include <ares.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
    RESOLVER_MAGIC = 0x72736c76,
    MIN_TTL_MS = 1000,
    MAX_TTL_MS = 5 * 60 * 1000,
    FAILURE_TTL_MS = 1000,
    PATIENCE_MS = 1800,
    TRY_MS = 1000, /* c-ares doubles it each time round */
    TRIES = 3,
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

/* A socket of c-ares. */
struct dns_socket {
    struct dns_socket *next;
    struct resolver *resolver;
    int fd;
    struct io_watch *watch;
};

struct resolver {
    unsigned magic;
    struct loop *loop;
    ares_channel channel;
    struct timer *timer; /* when c-ares wants to be called without readiness */
    struct dns_socket *sockets;
    struct entry *buckets[BUCKETS];
    struct entry_list by_age;
    size_t entry_count;
    struct query_list ready;
    bool delivering; /* deliver() is deferred or running */
    bool freed;
    struct loop_deferred deferred;
};

/* ---- What c-ares needs of the loop ---- */

static void update_timer(struct resolver *resolver)
{
    struct timeval space;
    const struct timeval *left = ares_timeout(resolver->channel, NULL, &space);
    if (left == NULL) {
        timer_cancel(resolver->timer);
        return;
    }
    uint64_t ms = (uint64_t)left->tv_sec * 1000 + ((uint64_t)left->tv_usec + 999) / 1000;
    timer_set(resolver->timer, ms);
}

static void on_timer(void *arg)
{
    struct resolver *resolver = arg;
    CHECK_MAGIC(resolver, RESOLVER_MAGIC);
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    update_timer(resolver);
}

static void on_dns_socket(void *arg, unsigned events)
{
    /* ares_process_fd may close the socket, and on_socket_state then frees this struct. */
    const struct dns_socket *dns = arg;
    struct resolver *resolver = dns->resolver;
    int fd = dns->fd;
    ASSERT(resolver->magic == RESOLVER_MAGIC);
    ares_process_fd(resolver->channel, (events & IO_READ) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & IO_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
    update_timer(resolver);
}

static struct dns_socket *new_dns_socket(struct resolver *resolver, int fd)
{
    struct dns_socket *dns = mem_try_alloc(sizeof(*dns));
    if (dns == NULL) {
        return NULL;
    }
    dns->resolver = resolver;
    dns->fd = fd;
    dns->watch = io_watch_new(resolver->loop, fd, on_dns_socket, dns);
    if (dns->watch == NULL) {
        mem_free(dns);
        return NULL;
    }
    dns->next = resolver->sockets;
    resolver->sockets = dns;
    return dns;
}

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = data;
    struct dns_socket **hook = &resolver->sockets;
    while (*hook != NULL && (*hook)->fd != fd) {
        hook = &(*hook)->next;
    }
    struct dns_socket *dns = *hook;
    if (!readable && !writable) {
        if (dns != NULL) {
            *hook = dns->next;
            io_watch_free(dns->watch);
            mem_free(dns);
        }
        return;
    }
    if (dns == NULL) {
        dns = new_dns_socket(resolver, fd);
    }
    unsigned events = (readable ? IO_READ : 0U) | (writable ? IO_WRITE : 0U);
    if (dns != NULL && io_watch_set(dns->watch, events) != 0) {
        /* Out of memory, here or above: the answer is not seen, and the question runs into its
           timeout, which fails it. */
        return;
    }
}

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
        /* c-ares asks the next server after SERVFAIL, REFUSED, NOTIMP and ICMP errors alike. */
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

/* The answer is as good as the shortest-lived record on the way to it. */
static uint64_t ttl_ms_of(const struct ares_addrinfo *info)
{
    int ttl_s = info->nodes->ai_ttl;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        ttl_s = node->ai_ttl < ttl_s ? node->ai_ttl : ttl_s;
    }
    for (const struct ares_addrinfo_cname *cname = info->cnames; cname != NULL;
         cname = cname->next) {
        ttl_s = cname->ttl < ttl_s ? cname->ttl : ttl_s;
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
    if (resolver->freed) {
        ares_freeaddrinfo(info);
        return;
    }
    if (entry->patience != NULL) {
        timer_cancel(entry->patience);
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
    struct resolver *resolver = entry->resolver;
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};
    arm_patience(entry);
    entry->asking = true;
    /* May answer at once (hosts file, an IP address, an error). */
    ares_getaddrinfo(resolver->channel, entry->name, NULL, &hints, on_answer, entry);
    update_timer(resolver);
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

enum search { SEARCH_AS_CONFIGURED, SEARCH_NONE };

static int open_channel(struct resolver *resolver, enum search search)
{
    static char lookups[] = "fb"; /* the hosts file, then DNS */
    struct ares_options options = {.timeout = TRY_MS,
                                   .tries = TRIES,
                                   .lookups = lookups,
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = resolver};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
    if (search == SEARCH_NONE) {
        mask |= ARES_OPT_DOMAINS; /* an empty list */
    }
    /* ares_library_init does nothing but on Windows and Android, and is not safe to call from
       several threads. */
    return ares_init_options(&resolver->channel, &options, mask);
}

static struct resolver *new_resolver(struct loop *loop, enum search search, struct errbuf *err)
{
    struct resolver *resolver = mem_alloc(sizeof(*resolver));
    resolver->magic = RESOLVER_MAGIC;
    resolver->loop = loop;
    TAILQ_INIT(&resolver->by_age);
    TAILQ_INIT(&resolver->ready);
    int status = open_channel(resolver, search);
    if (status != ARES_SUCCESS) {
        errbuf_set(err, "cannot start the name resolver: %s", ares_strerror(status));
        mem_free(resolver);
        return NULL;
    }
    resolver->timer = timer_new(loop, on_timer, resolver);
    if (resolver->timer == NULL) {
        errbuf_set(err, "cannot start the name resolver: out of memory");
        ares_destroy(resolver->channel);
        mem_free(resolver);
        return NULL;
    }
    return resolver;
}

struct resolver *resolver_new(struct loop *loop, struct errbuf *err)
{
    return new_resolver(loop, SEARCH_AS_CONFIGURED, err);
}

struct resolver *resolver_new_with_servers(struct loop *loop, const char *servers,
                                           struct errbuf *err)
{
    struct resolver *resolver = new_resolver(loop, SEARCH_NONE, err);
    if (resolver == NULL) {
        return NULL;
    }
    int status = ares_set_servers_ports_csv(resolver->channel, servers);
    if (status != ARES_SUCCESS) {
        errbuf_set(err, "name servers \"%s\": %s", servers, ares_strerror(status));
        resolver_free(resolver);
        return NULL;
    }
    return resolver;
}

void resolver_free(struct resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    CHECK_MAGIC(resolver, RESOLVER_MAGIC);
    ASSERT(!resolver->freed);
    resolver->freed = true;
    ares_destroy(resolver->channel); /* ends every question through on_answer, closes the sockets */
    timer_free(resolver->timer);
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
