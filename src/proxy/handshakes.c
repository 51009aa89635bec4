/*
 * Each list is in the order of its sessions' due times, because all in it have the same time: the
 * two heads are all that has to be compared.
 */
#include "proxy/handshakes.h"

#include <stddef.h>

#include "base/assert.h"
#include "proxy/session.h"

static struct handshake_list *list_of(struct handshakes *handshakes, const struct session *session)
{
    ASSERT(session->state == SESSION_HELLO || session->state == SESSION_HANDSHAKE);
    return session->state == SESSION_HELLO ? &handshakes->hello : &handshakes->answered;
}

void handshakes_init(struct handshakes *handshakes)
{
    TAILQ_INIT(&handshakes->hello);
    TAILQ_INIT(&handshakes->answered);
    handshakes->count = 0;
}

void handshakes_add(struct handshakes *handshakes, struct session *session)
{
    handshakes->count++;
    TAILQ_INSERT_TAIL(list_of(handshakes, session), session, handshake_link);
}

void handshakes_remove(struct handshakes *handshakes, struct session *session)
{
    ASSERT(handshakes->count > 0);
    handshakes->count--;
    TAILQ_REMOVE(list_of(handshakes, session), session, handshake_link);
}

uint64_t handshakes_due_ms(const struct session *session)
{
    return session->entered_ms +
           (session->state == SESSION_HELLO ? HANDSHAKES_HELLO_MS : HANDSHAKES_ANSWER_MS);
}

struct session *handshakes_overdue(const struct handshakes *handshakes, uint64_t now_ms)
{
    struct session *first = TAILQ_FIRST(&handshakes->hello);
    struct session *answered = TAILQ_FIRST(&handshakes->answered);
    if (first == NULL ||
        (answered != NULL && handshakes_due_ms(answered) < handshakes_due_ms(first))) {
        first = answered;
    }
    return first != NULL && handshakes_due_ms(first) <= now_ms ? first : NULL;
}
