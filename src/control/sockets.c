/*
 * Entries are few (listeners), so that a linear search does.
 */
#include "control/sockets.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/memory.h"
#include "control/activation.h"
#include "control/process.h"
#include "net/listener.h"
#include "proxy/setup.h"

enum { KEY_SIZE = NETADDR_TEXT_SIZE + 160 };

struct entry {
    TAILQ_ENTRY(entry) link;
    char key[KEY_SIZE];
    struct listen_sockets *sockets;
    bool fresh; /* opened since the last settling */
};

TAILQ_HEAD(entry_list, entry);

struct socket_table {
    size_t worker_count;
    bool held;
    struct activation *activation;
    struct entry_list entries;
};

/* A port of 0 is another one for each listener. */
static void make_key(const struct setup_listener *listener, char key[KEY_SIZE])
{
    char text[NETADDR_TEXT_SIZE];
    if (listener->config->accept.activation != NULL) {
        (void)snprintf(key, KEY_SIZE, "systemd %s", listener->config->accept.activation);
        return;
    }
    (void)netaddr_format(&listener->accept, text);
    bool any_port = !netaddr_is_unix(&listener->accept) && netaddr_port(&listener->accept) == 0;
    (void)snprintf(key, KEY_SIZE, "%s %s", text, any_port ? listener->config->name.text : "");
}

static struct entry *find(const struct socket_table *table, const struct setup_listener *listener)
{
    char key[KEY_SIZE];
    struct entry *entry = NULL;
    make_key(listener, key);
    TAILQ_FOREACH (entry, &table->entries, link) {
        if (strcmp(entry->key, key) == 0) {
            return entry;
        }
    }
    return NULL;
}

static void drop(struct socket_table *table, struct entry *entry)
{
    TAILQ_REMOVE(&table->entries, entry, link);
    listen_sockets_close(entry->sockets);
    mem_free(entry);
}

struct socket_table *socket_table_new(size_t worker_count, struct activation *activation)
{
    struct socket_table *table = mem_alloc(sizeof(*table));
    table->worker_count = worker_count;
    table->activation = activation;
    TAILQ_INIT(&table->entries);
    return table;
}

void socket_table_free(struct socket_table *table)
{
    if (table == NULL) {
        return;
    }
    struct entry *entry = NULL;
    while ((entry = TAILQ_FIRST(&table->entries)) != NULL) {
        drop(table, entry);
    }
    mem_free(table);
}

/* The scheme says what must be there: whatever else it is, it would be served as what it is not. */
static int check_passed(const struct listen_sockets *sockets,
                        const struct config_listener *listener, struct errbuf *err)
{
    const struct netaddr *addr = listen_sockets_address(sockets);
    enum config_scheme scheme = listener->accept.scheme;
    char text[NETADDR_TEXT_SIZE];
    if (netaddr_is_unix(addr) != config_scheme_is_unix(scheme)) {
        errbuf_set(err, "it is %s, and `accept` wants %s: \"%s\"", netaddr_format(addr, text),
                   config_scheme_is_unix(scheme) ? "a Unix socket" : "TCP",
                   listener->accept.text.text);
        return -1;
    }
    if (scheme == CONFIG_SCHEME_TCP && !listener->unsafe_plaintext && !netaddr_is_loopback(addr)) {
        errbuf_set(err,
                   "it is %s, plaintext off the loopback; have it listen on 127.0.0.1, [::1] or a "
                   "Unix socket, or allow it with unsafe_plaintext: true",
                   netaddr_format(addr, text));
        return -1;
    }
    return 0;
}

static struct listen_sockets *
take_passed(struct socket_table *table, const struct config_listener *listener, struct errbuf *err)
{
    const char *name = listener->accept.activation;
    if (table->activation == NULL) {
        errbuf_set(err, "no socket \"%s\" was passed to this process", name);
        return NULL;
    }
    int fd = activation_take(table->activation, name, err);
    if (fd < 0) {
        return NULL;
    }
    struct listen_sockets *sockets = listen_sockets_adopt(fd, table->worker_count, err);
    if (sockets == NULL || check_passed(sockets, listener, err) != 0) {
        errbuf_prefix(err, "the socket \"%s\" that was passed", name);
        listen_sockets_close(sockets);
        return NULL;
    }
    return sockets;
}

static struct listen_sockets *open_one(struct socket_table *table,
                                       const struct setup_listener *listener, struct errbuf *err)
{
    struct listen_options options;
    struct entry *entry = find(table, listener);
    if (process_socket_options(&listener->config->socket, &options, err) != 0) {
        return NULL;
    }
    bool passed = listener->config->accept.activation != NULL;
    if (entry != NULL && passed && check_passed(entry->sockets, listener->config, err) != 0) {
        return NULL;
    }
    if (entry != NULL) {
        return entry->sockets; /* a setup that is only looked at changes nothing of it */
    }
    struct listen_sockets *sockets =
        passed ? take_passed(table, listener->config, err)
               : listen_sockets_open(&listener->accept, table->worker_count, &options, err);
    if (sockets == NULL) {
        return NULL;
    }
    entry = mem_alloc(sizeof(*entry));
    make_key(listener, entry->key);
    entry->sockets = sockets;
    entry->fresh = true;
    TAILQ_INSERT_TAIL(&table->entries, entry, link);
    return sockets;
}

void socket_table_hold(struct socket_table *table)
{
    table->held = true;
}

void socket_table_release(struct socket_table *table)
{
    table->held = false;
}

bool socket_table_is_held(const struct socket_table *table)
{
    return table->held;
}

struct listen_sockets **socket_table_open(struct socket_table *table, const struct setup *setup,
                                          struct errbuf *err)
{
    size_t count = setup->config->listener_count;
    struct listen_sockets **array = mem_alloc_array(count, sizeof(struct listen_sockets *));
    for (size_t i = 0; i < count && !table->held; i++) {
        array[i] = open_one(table, &setup->listeners[i], err);
        if (array[i] == NULL) {
            errbuf_prefix(err, "listener \"%s\"", setup->listeners[i].config->name.text);
            socket_table_abandon(table);
            mem_free(array);
            return NULL;
        }
    }
    return array;
}

int socket_table_apply_options(struct socket_table *table, const struct setup *setup,
                               struct errbuf *err)
{
    int result = 0;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        const struct setup_listener *listener = &setup->listeners[i];
        struct entry *entry = find(table, listener);
        struct listen_options options;
        struct errbuf why;
        if (entry == NULL) {
            continue; /* held */
        }
        if (process_socket_options(&listener->config->socket, &options, &why) == 0 &&
            listen_sockets_set_options(entry->sockets, &options, &why) == 0) {
            continue;
        }
        if (result == 0) {
            errbuf_set(err, "listener \"%s\": %s", listener->config->name.text, why.text);
        }
        result = -1;
    }
    return result;
}

void socket_table_abandon(struct socket_table *table)
{
    struct entry *next = NULL;
    for (struct entry *entry = TAILQ_FIRST(&table->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry->fresh) {
            drop(table, entry);
        }
    }
}

static bool uses(const struct setup *setup, const struct entry *entry)
{
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        char key[KEY_SIZE];
        make_key(&setup->listeners[i], key);
        if (strcmp(key, entry->key) == 0) {
            return true;
        }
    }
    return false;
}

void socket_table_settle(struct socket_table *table, const struct setup *setup)
{
    struct entry *next = NULL;
    for (struct entry *entry = TAILQ_FIRST(&table->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        entry->fresh = false;
        if (!uses(setup, entry)) {
            drop(table, entry);
        }
    }
}

size_t socket_table_descriptors(const struct socket_table *table)
{
    size_t count = 0;
    const struct entry *entry = NULL;
    TAILQ_FOREACH (entry, &table->entries, link) {
        count += listen_sockets_descriptors(entry->sockets);
    }
    return count;
}

const struct listen_sockets *socket_table_find(const struct socket_table *table,
                                               const struct setup *setup, size_t index)
{
    const struct entry *entry = find(table, &setup->listeners[index]);
    return entry == NULL ? NULL : entry->sockets;
}

bool socket_table_is_fresh(const struct socket_table *table, const struct setup *setup,
                           size_t index)
{
    const struct entry *entry = find(table, &setup->listeners[index]);
    return entry != NULL && entry->fresh;
}
