/*
 * mailbox: messages from any thread to the one that runs a loop; the only way between threads.
 *
 * mailbox_post: any thread, never blocks for long (a short mutex, an eventfd). The handler runs on
 * the loop's thread, in order of posting, between events. A message is the caller's struct with
 * the node first; ownership passes to the handler.
 */
#ifndef BULKHEAD_NET_MAILBOX_H
#define BULKHEAD_NET_MAILBOX_H

#include "base/errbuf.h"
#include "net/loop.h"

struct mailbox;
struct mailbox_message {
    struct mailbox_message *next;
    int kind; /* the owner's enum */
};
typedef void mailbox_fn(void *arg, struct mailbox_message *message);

struct mailbox *mailbox_new(struct loop *loop, mailbox_fn *fn, void *arg, struct errbuf *err);
/* On the loop's thread, when no other posts any more, not from the handler. Messages left are
   handed to the handler. NULL is fine. */
void mailbox_free(struct mailbox *mailbox);
void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message);

#endif
