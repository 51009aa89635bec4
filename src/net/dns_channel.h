/*
 * dns_channel: one c-ares channel, driven by a loop. Private to resolver; one thread.
 */
#ifndef BULKHEAD_NET_DNS_CHANNEL_H
#define BULKHEAD_NET_DNS_CHANNEL_H

#include <ares.h>

#include "base/errbuf.h"
#include "net/loop.h"

struct dns_channel;
/* By the system's configuration as it is now; or with these servers ("127.0.0.1:53,[::1]:53") and
   no search domains. NULL with err. */
struct dns_channel *dns_channel_open(struct loop *loop, const char *servers, struct errbuf *err);
/* Ends every question through its callback, with an error or half an answer. Not from inside a
   callback of its own. */
void dns_channel_close(struct dns_channel *channel);
/* Asks for the addresses of a name: both families. The callback runs once, perhaps at once (hosts
   file, an error); it owns the answer. It must not ask or close. */
void dns_channel_ask(struct dns_channel *channel, const char *name, ares_addrinfo_callback done,
                     void *arg);

#endif
