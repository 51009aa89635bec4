/* Two schemes, and nothing in them that could be read in two ways. */
#include "identity/workload_address.h"

#include <stdint.h>
#include <string.h>

#include "base/strview.h"

static const char UNIX[] = "unix://";
static const char TCP[] = "tcp://";

static bool parse_unix(const char *path, struct netaddr *address, const char **why)
{
    if (path[0] != '/') {
        *why = "unix:// must be followed by an absolute path, as in unix:///run/agent.sock";
        return false;
    }
    if (strpbrk(path, "?#%") != NULL) {
        *why = "the path must be without \"?\", \"#\" and \"%\"";
        return false;
    }
    if (!netaddr_from_path(address, path)) {
        *why = "the path is too long for a Unix socket";
        return false;
    }
    return true;
}

static bool parse_port(const char *text, uint16_t *port)
{
    enum { TEN = 10 };
    uint32_t value = 0;
    if (text[0] < '1' || text[0] > '9') {
        return false;
    }
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (text[i] < '0' || text[i] > '9' || value > UINT16_MAX) {
            return false;
        }
        value = value * TEN + (uint32_t)(text[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* "1.2.3.4" or "[::1]", of len bytes. */
static bool parse_ip(const char *text, size_t len, uint16_t port, struct netaddr *address)
{
    enum { IP_SIZE = 64 };
    char ip[IP_SIZE];
    bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (bracketed) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof(ip)) {
        return false;
    }
    memcpy(ip, text, len);
    ip[len] = '\0';
    return bracketed == (strchr(ip, ':') != NULL) && netaddr_from_ip(address, ip, port);
}

static bool parse_tcp(const char *text, struct netaddr *address, const char **why)
{
    const char *colon = strrchr(text, ':');
    uint16_t port = 0;
    *why = "tcp:// must be followed by an IP address and a port, as in tcp://127.0.0.1:8081 or "
           "tcp://[::1]:8081";
    return colon != NULL && parse_port(colon + 1, &port) &&
           parse_ip(text, (size_t)(colon - text), port, address);
}

bool workload_address_parse(const char *text, struct netaddr *address, const char **why)
{
    struct strview view = strview_from(text);
    if (strview_starts_with(view, UNIX)) {
        return parse_unix(text + sizeof(UNIX) - 1, address, why);
    }
    if (strview_starts_with(view, TCP)) {
        return parse_tcp(text + sizeof(TCP) - 1, address, why);
    }
    *why = "must start with unix:// or tcp://";
    return false;
}
