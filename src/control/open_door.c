/*
 * A look: the kernel's list of listening sockets, without our own; then each listener by itself.
 *
 * What is known of who shares the loopback is who has sockets or processes here. In a container of
 * its own, or a pod, that is ourselves and the application; on a host it is more. Processes that we
 * may not see (hidepid) and users who are not logged in are not known, and no door is told of.
 */
#include "control/open_door.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "control/door_judge.h"
#include "control/sockets.h"
#include "control_private.h"
#include "net/listener.h"
#include "proxy/setup.h"
#include "proxy/snapshot.h"

enum { NAME_SIZE = 64, TEXT_SIZE = 384 };
enum { PROCESSES_MAX = 4096, SOCKETS_MAX = 512, PORTS = 65536, BITS = 64 };

struct door {
    char listener[NAME_SIZE];
    const char *at; /* the key: forward, accept */
    char address[NETADDR_TEXT_SIZE];
    char text[TEXT_SIZE];
};

struct listener_doors {
    char name[NAME_SIZE];
    size_t count;
};

/* What one look found. */
struct sight {
    bool known;
    struct errbuf why_not;
    struct door doors[OPEN_DOORS_MAX];
    size_t count;
    struct listener_doors *listeners;
    size_t listener_count;
};

struct open_doors {
    struct control *control;
    struct timer *timer;
    struct sight *now; /* never NULL */
};

/* --- what there is --------------------------------------------------------------------------- */

struct look {
    const struct control *control;
    struct sight *sight;
    uint64_t ports[PORTS / BITS];              /* that listeners forward to */
    struct tcp_listening sockets[SOCKETS_MAX]; /* on those ports, without ours */
    size_t socket_count;
    bool too_many;
    struct door_users users;
};

static const struct setup *setup_of(const struct control *control)
{
    return control->snapshot->setup;
}

/* A name is looked at when it is dialled, and then must lead to the loopback as well. */
static bool forwards_to_loopback(const struct setup_listener *listener)
{
    const struct config_listener *config = listener->config;
    if (config->forward.scheme != CONFIG_SCHEME_TCP) {
        return false;
    }
    return listener->forward.len != 0 ? netaddr_is_loopback(&listener->forward)
                                      : !config->unsafe_plaintext;
}

static bool accepts_on_loopback(const struct setup_listener *listener)
{
    return listener->config->accept.scheme == CONFIG_SCHEME_TCP &&
           netaddr_is_loopback(&listener->accept);
}

static struct door_target target_of(const struct setup_listener *listener)
{
    struct door_target target = {.port = listener->config->forward.port, .family = DOOR_ANY};
    if (listener->forward.len != 0) {
        target.family = listener->forward.u.sa.sa_family == AF_INET ? DOOR_IPV4 : DOOR_IPV6;
    }
    return target;
}

/* Without the zone of a link-local address, which the kernel's list does not have. */
static bool same_address(const struct netaddr *a, const struct netaddr *b)
{
    if (a->len == 0 || a->u.sa.sa_family != b->u.sa.sa_family ||
        netaddr_port(a) != netaddr_port(b)) {
        return false;
    }
    if (a->u.sa.sa_family == AF_INET) {
        return a->u.in.sin_addr.s_addr == b->u.in.sin_addr.s_addr;
    }
    return a->u.sa.sa_family == AF_INET6 &&
           memcmp(&a->u.in6.sin6_addr, &b->u.in6.sin6_addr, sizeof(a->u.in6.sin6_addr)) == 0;
}

static bool is_ours(const struct control *control, const struct netaddr *address)
{
    const struct setup *setup = setup_of(control);
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        const struct listen_sockets *sockets = socket_table_find(control->sockets, setup, i);
        if (sockets != NULL && same_address(listen_sockets_address(sockets), address)) {
            return true;
        }
    }
    return false;
}

static void on_socket(void *arg, const struct tcp_listening *socket)
{
    struct look *look = arg;
    uint16_t port = netaddr_port(&socket->address);
    door_users_add(&look->users, socket->uid);
    if ((look->ports[port / BITS] >> (port % BITS) & 1) == 0 ||
        is_ours(look->control, &socket->address)) {
        return;
    }
    if (look->socket_count == SOCKETS_MAX) {
        look->too_many = true;
        return;
    }
    look->sockets[look->socket_count++] = *socket;
}

/* Until it is known that the loopback is shared. */
static void look_at_processes(struct door_users *users)
{
    DIR *directory = opendir("/proc");
    if (directory == NULL) {
        return;
    }
    const struct dirent *entry;
    for (int i = 0; i < PROCESSES_MAX && !door_users_share(users); i++) {
        struct stat about;
        entry = readdir(directory);
        if (entry == NULL) {
            break;
        }
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            fstatat(dirfd(directory), entry->d_name, &about, 0) == 0) {
            door_users_add(users, about.st_uid);
        }
    }
    (void)closedir(directory);
}

/* --- what it means --------------------------------------------------------------------------- */

static struct door *add_door(struct sight *sight, size_t listener, const char *at,
                             const struct netaddr *address)
{
    char text[NETADDR_TEXT_SIZE];
    const char *name = sight->listeners[listener].name;
    (void)netaddr_format(address, text);
    for (size_t i = 0; i < sight->count; i++) {
        const struct door *door = &sight->doors[i];
        if (strcmp(door->listener, name) == 0 && strcmp(door->address, text) == 0) {
            return NULL; /* several sockets with SO_REUSEPORT are one door */
        }
    }
    sight->listeners[listener].count++;
    if (sight->count == OPEN_DOORS_MAX) {
        return NULL;
    }
    struct door *door = &sight->doors[sight->count++];
    (void)snprintf(door->listener, sizeof(door->listener), "%s", name);
    memcpy(door->address, text, sizeof(door->address));
    door->at = at;
    return door;
}

static void look_at_forward(struct look *look, size_t index)
{
    const struct setup_listener *listener = &setup_of(look->control)->listeners[index];
    const struct door_target target = target_of(listener);
    for (size_t i = 0; i < look->socket_count; i++) {
        if (!door_is_open(&target, look->sockets, look->socket_count, i)) {
            continue;
        }
        struct door *door = add_door(look->sight, index, "forward", &look->sockets[i].address);
        if (door != NULL) {
            (void)snprintf(door->text, sizeof(door->text),
                           "%s: port %u, which it forwards to, is also listened on at %s (by uid "
                           "%u): who reaches that passes by all rules; let the application listen "
                           "on the loopback or a Unix socket alone",
                           door->listener, (unsigned)target.port, door->address,
                           (unsigned)look->sockets[i].uid);
        }
    }
}

static void look_at_accept(struct look *look, size_t index)
{
    const struct setup *setup = setup_of(look->control);
    const struct listen_sockets *sockets = socket_table_find(look->control->sockets, setup, index);
    if (sockets == NULL || !door_users_share(&look->users)) {
        return;
    }
    struct door *door = add_door(look->sight, index, "accept", listen_sockets_address(sockets));
    if (door != NULL) {
        (void)snprintf(door->text, sizeof(door->text),
                       "%s: others share this host (uid %u, uid %u), and each of them may call out "
                       "as us through %s; accept on a Unix socket whose `socket` says who may "
                       "connect",
                       door->listener, (unsigned)look->users.uids[0], (unsigned)look->users.uids[1],
                       door->address);
    }
}

/* False: there is nothing to look at. */
static bool mark_ports(struct look *look, bool *has_accept)
{
    const struct setup *setup = setup_of(look->control);
    bool any = false;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        const struct setup_listener *listener = &setup->listeners[i];
        if (forwards_to_loopback(listener)) {
            uint16_t port = listener->config->forward.port;
            look->ports[port / BITS] |= UINT64_C(1) << (port % BITS);
            any = true;
        }
        *has_accept = *has_accept || accepts_on_loopback(listener);
    }
    return any || *has_accept;
}

static bool name_listeners(struct sight *sight, const struct setup *setup)
{
    sight->listener_count = setup->config->listener_count;
    sight->listeners = mem_try_alloc(sight->listener_count * sizeof(*sight->listeners));
    for (size_t i = 0; sight->listeners != NULL && i < sight->listener_count; i++) {
        (void)snprintf(sight->listeners[i].name, NAME_SIZE, "%s",
                       setup->config->listeners[i].name.text);
    }
    return sight->listeners != NULL;
}

static void judge(struct look *look)
{
    const struct setup *setup = setup_of(look->control);
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        if (forwards_to_loopback(&setup->listeners[i])) {
            look_at_forward(look, i);
        }
        if (accepts_on_loopback(&setup->listeners[i])) {
            look_at_accept(look, i);
        }
    }
}

static void sight_free(struct sight *sight)
{
    if (sight != NULL) {
        mem_free(sight->listeners);
        mem_free(sight);
    }
}

/* False: there is nothing that could be a door. */
static bool look_around(struct look *look)
{
    struct sight *sight = look->sight;
    bool has_accept = false;
    bool wanted = mark_ports(look, &has_accept);
    sight->known = !wanted || tcp_listening_each(on_socket, look, &sight->why_not) == 0;
    if (sight->known && look->too_many) {
        sight->known = false;
        errbuf_set(&sight->why_not,
                   "more than %d sockets listen on the ports that listeners "
                   "forward to",
                   SOCKETS_MAX);
    }
    if (has_accept) {
        look_at_processes(&look->users);
    }
    judge(look);
    return wanted;
}

/* --- what is said of it ---------------------------------------------------------------------- */

static bool has_door(const struct sight *sight, const struct door *wanted)
{
    for (size_t i = 0; i < sight->count; i++) {
        if (strcmp(sight->doors[i].text, wanted->text) == 0) {
            return true;
        }
    }
    return false;
}

static void log_where(struct log *log, const struct door *door)
{
    log_str(log, "listener", door->listener);
    log_str(log, "at", door->at);
    log_str(log, "addr", door->address);
}

static void log_open(struct log *log, const struct door *door)
{
    log_begin(log, LOG_WARN, "open_door");
    log_where(log, door);
    log_str(log, "error", door->text);
    log_end(log);
}

static void log_closed(struct log *log, const struct door *door)
{
    log_begin(log, LOG_INFO, "open_door_closed");
    log_where(log, door);
    log_end(log);
}

static void log_differences(struct log *log, const struct sight *former, const struct sight *now,
                            bool anew)
{
    for (size_t i = 0; i < now->count; i++) {
        if (anew || !has_door(former, &now->doors[i])) {
            log_open(log, &now->doors[i]);
        }
    }
    for (size_t i = 0; now->known && i < former->count; i++) {
        if (!has_door(now, &former->doors[i])) {
            log_closed(log, &former->doors[i]);
        }
    }
    if (!now->known && (anew || former->known)) {
        log_begin(log, LOG_WARN, "open_door_unknown");
        log_str(log, "error", now->why_not.text);
        log_end(log);
    }
}

/* NULL: memory is out. */
static struct look *look_new(const struct control *control)
{
    struct look *look = mem_try_alloc(sizeof(*look));
    struct sight *sight = mem_try_alloc(sizeof(*sight));
    if (look == NULL || sight == NULL || !name_listeners(sight, setup_of(control))) {
        mem_free(look);
        sight_free(sight);
        return NULL;
    }
    look->control = control;
    look->sight = sight;
    look->users.own = geteuid();
    return look;
}

/* Without memory what was seen last stays, until the next look. */
static void look_again(struct open_doors *doors, bool anew)
{
    struct look *look = look_new(doors->control);
    bool wanted = look == NULL || look_around(look);
    if (look != NULL) {
        log_differences(&doors->control->log, doors->now, look->sight, anew);
        sight_free(doors->now);
        doors->now = look->sight;
        mem_free(look);
    }
    if (wanted) {
        timer_set(doors->timer, OPEN_DOOR_LOOK_MS);
    } else {
        timer_cancel(doors->timer);
    }
}

static void on_timer(void *arg)
{
    look_again(arg, false);
}

struct open_doors *open_doors_new(struct control *control)
{
    struct open_doors *doors = mem_alloc(sizeof(*doors));
    doors->control = control;
    doors->now = mem_alloc(sizeof(*doors->now));
    doors->now->known = true;
    doors->timer = timer_new(control->loop, on_timer, doors);
    if (doors->timer == NULL) {
        open_doors_free(doors);
        return NULL;
    }
    return doors;
}

void open_doors_free(struct open_doors *doors)
{
    if (doors != NULL) {
        timer_free(doors->timer);
        sight_free(doors->now);
        mem_free(doors);
    }
}

void open_doors_look(struct open_doors *doors)
{
    look_again(doors, true);
}

size_t open_doors_count(const struct open_doors *doors)
{
    return doors->now->count;
}

const char *open_doors_text(const struct open_doors *doors, size_t index)
{
    return doors->now->doors[index].text;
}

bool open_doors_of(const struct open_doors *doors, const char *listener, size_t *count)
{
    const struct sight *sight = doors->now;
    for (size_t i = 0; i < sight->listener_count; i++) {
        if (strcmp(sight->listeners[i].name, listener) == 0) {
            *count = sight->listeners[i].count;
            return sight->known || *count > 0;
        }
    }
    return false;
}
