/*
 * address: where a listener accepts and where it forwards to, from text.
 *
 *   tcp://HOST:PORT   mtls://HOST:PORT   unix:///PATH   mtls+unix:///PATH
 *
 * and, to accept, with systemd:NAME in the place of HOST:PORT or of the path.
 *
 * Pure; cold path.
 */
#ifndef BULKHEAD_CONFIG_ADDRESS_H
#define BULKHEAD_CONFIG_ADDRESS_H

#include "base/errbuf.h"
#include "base/netaddr.h"
#include "config/config.h"

#include <stdbool.h>

enum address_role {
    ADDRESS_ACCEPT, /* an IP address; port 0 lets the kernel choose */
    ADDRESS_FORWARD /* an IP address or a DNS name */
};

/*
 * Fills scheme, host, host_is_ip, port, path and activation of *out, which own their memory; text
 * and its place stay as they are. False with err, which says what would be right; *out is then
 * unchanged.
 */
bool address_parse(const char *text, enum address_role role, struct config_address *out,
                   struct errbuf *err);
/* Frees what address_parse allocated. */
void address_release(struct config_address *address);
/* A DNS name: labels of letters, digits, "-" and "_", 1 to 63 characters each and 253 in all; no
 * IP address in any notation. False with what would be right, to follow the name. */
bool address_check_dns_name(const char *name, const char **why);
/* The socket address. False for a DNS name, for a socket that is passed, and for an address that
   was not parsed. */
bool address_to_netaddr(const struct config_address *address, struct netaddr *out);

#endif
