/*
 * handshakes: the unfinished handshakes of one listener in one worker, and which of them may give
 * way to a newcomer.
 *
 * Each has a time of its own: until a whole ClientHello has come, which a good client sends at
 * once, or, when that was lost, again some 200 ms later, HANDSHAKES_HELLO_MS; from then on, for a
 * round trip and a signature, HANDSHAKES_ANSWER_MS. After that it is overdue, and the one that is
 * longest overdue gives way first. So clients that send nothing do not keep a place for long, and
 * those that send a hello and no more do not keep it either.
 *
 * Worker thread only. A session stands here while its state is SESSION_HELLO or SESSION_HANDSHAKE.
 */
#ifndef BULKHEAD_PROXY_HANDSHAKES_H
#define BULKHEAD_PROXY_HANDSHAKES_H

#include <stdint.h>
#include <sys/queue.h>

struct session;

enum { HANDSHAKES_HELLO_MS = 400, HANDSHAKES_ANSWER_MS = 1000 };

TAILQ_HEAD(handshake_list, session);
struct handshakes {
    struct handshake_list hello;    /* in the order in which they entered that state */
    struct handshake_list answered; /* likewise */
    uint64_t count;                 /* of both */
};

void handshakes_init(struct handshakes *handshakes);
/* By the state of the session, which it has entered now. */
void handshakes_add(struct handshakes *handshakes, struct session *session);
/* Before it leaves that state. */
void handshakes_remove(struct handshakes *handshakes, struct session *session);
/* The one that is longest overdue; NULL when none is. */
struct session *handshakes_overdue(const struct handshakes *handshakes, uint64_t now_ms);
/* Since when it is; of a session that is here. */
uint64_t handshakes_due_ms(const struct session *session);

#endif
