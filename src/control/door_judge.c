/* See the header for what can be known. */
#include "control/door_judge.h"

#include <string.h>

static bool has_port(const struct tcp_listening *socket, const struct door_target *target)
{
    return netaddr_port(&socket->address) == target->port;
}

/* A wildcard of IPv4, mapped or not, does not take connections to [::1]. */
static bool serves(const struct tcp_listening *socket, const struct door_target *target)
{
    const struct netaddr *address = &socket->address;
    bool is_ipv6 =
        address->u.sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&address->u.in6.sin6_addr);
    return netaddr_is_any(address) && (target->family != DOOR_IPV6 || is_ipv6);
}

bool door_is_open(const struct door_target *target, const struct tcp_listening *sockets,
                  size_t count, size_t index)
{
    const struct tcp_listening *socket = &sockets[index];
    bool on_loopback = false;
    if (!has_port(socket, target) || netaddr_is_loopback(&socket->address)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (has_port(&sockets[i], target) && netaddr_is_loopback(&sockets[i].address)) {
            on_loopback = true;
            if (sockets[i].uid == socket->uid) {
                return true;
            }
        }
    }
    return !on_loopback && serves(socket, target);
}

void door_users_add(struct door_users *users, uid_t uid)
{
    if (uid == 0 || uid == users->own || users->count == DOOR_USERS_MAX) {
        return;
    }
    for (size_t i = 0; i < users->count; i++) {
        if (users->uids[i] == uid) {
            return;
        }
    }
    users->uids[users->count++] = uid;
}

bool door_users_share(const struct door_users *users)
{
    return users->count > DOOR_USERS_ALONE;
}
