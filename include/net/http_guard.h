/*
 * http_guard: keeps web pages away from an administration server on the loopback. A browser on
 * this host sends there what any page tells it to; who may connect otherwise is not its business.
 *
 * - A page whose own name was made to lead to 127.0.0.1 (DNS rebinding) is its own origin and may
 *   read answers. It has its name in Host: only an address of the loopback or "localhost" (RFC 6761
 *   6.3: nobody else's name) passes, with any port, for a tunnel has another than ours.
 * - A page of another origin sends Origin (RFC 6454 7; on what is no plain GET), and Sec-Fetch-Site
 *   (W3C Fetch Metadata 2.3; always, and no script can set it): Origin never passes, for nothing
 *   here is a page; Sec-Fetch-Site only as "none" (typed by a person) and "same-origin". Another
 *   port of this host is "same-site", and refused.
 * - What changes something needs the header Bulkhead-Admin, with the value 1. A page can set it
 *   only after a preflight (Fetch 4.8, an OPTIONS request), which no method here answers.
 *
 * Pure; any thread.
 */
#ifndef BULKHEAD_NET_HTTP_GUARD_H
#define BULKHEAD_NET_HTTP_GUARD_H

#include "net/http_request.h"

#define HTTP_GUARD_HEADER "Bulkhead-Admin"
#define HTTP_GUARD_VALUE  "1"

/* Why the request is not let through, a constant sentence; NULL: it is. */
const char *http_guard_refuses(const struct http_request *request);

#endif
