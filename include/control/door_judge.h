/*
 * door_judge: which sockets that somebody listens on are doors beside a loopback target. Pure.
 *
 * Known are address, port and user of each socket, and no more: not the program, and of a wildcard
 * socket of IPv6 not whether it takes IPv4. So a socket at another address with the target's port
 * is a door
 *
 *   when the user who serves the target on the loopback opened it as well, or
 *   when nobody listens on the loopback alone, and it is a wildcard that serves the target
 *
 * and another user's on the same port is none.
 */
#ifndef BULKHEAD_CONTROL_DOOR_JUDGE_H
#define BULKHEAD_CONTROL_DOOR_JUDGE_H

#include "net/tcp_listening.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum door_family { DOOR_ANY = 0, DOOR_IPV4, DOOR_IPV6 }; /* of the loopback address; ANY: a name */

struct door_target {
    uint16_t port;
    enum door_family family;
};

/* Is sockets[index] a door beside the target? Our own sockets are not among them. */
bool door_is_open(const struct door_target *target, const struct tcp_listening *sockets,
                  size_t count, size_t index);

/* Users other than root and ourselves, as far as anybody needs to know. */
enum { DOOR_USERS_MAX = 3, DOOR_USERS_ALONE = 1 };
struct door_users {
    uid_t own;
    uid_t uids[DOOR_USERS_MAX];
    size_t count;
};
void door_users_add(struct door_users *users, uid_t uid);
/* More than DOOR_USERS_ALONE: an application of its own user is who a sidecar is for. */
bool door_users_share(const struct door_users *users);

#endif
