/*
 * http_url: where to ask by HTTP, from text:
 *
 *   http://127.0.0.1:8080/healthz?full   http://[::1]:8080   http://unix:/run/app.sock:/healthz
 *
 * An IP address and never a name, so that it is known before a question goes out whom it reaches.
 * Nothing is normalised: what could mean two things is refused. Pure; cold path.
 */
#ifndef BULKHEAD_CONFIG_HTTP_URL_H
#define BULKHEAD_CONFIG_HTTP_URL_H

#include "base/errbuf.h"
#include "base/netaddr.h"

#include <stdbool.h>

enum { HTTP_URL_TARGET_SIZE = 1024 };

struct http_url {
    struct netaddr addr;
    char target[HTTP_URL_TARGET_SIZE]; /* path and query as written; "" when there is none */
};

/* False with err, which says what would be right. */
bool http_url_parse(const char *text, struct http_url *out, struct errbuf *err);

#endif
