/*
 * tls_error: the one place that touches OpenSSL's error queue, and the names of alerts.
 *
 * The queue is per thread and outlives the call that filled it: what one connection left there
 * must never decide another's fate, so it is cleared before each SSL call and drained after.
 */
#ifndef BULKHEAD_TLS_ERROR_H
#define BULKHEAD_TLS_ERROR_H

#include "base/reason.h"

#include <stdbool.h>

enum { TLS_ALERT_NONE = -1 };

struct tls_error {
    enum reason reason; /* TLS_PROTOCOL when nothing better is known */
    int alert;          /* the alert that the peer sent, or TLS_ALERT_NONE */
    bool too_large;     /* a handshake message over its bound */
    char detail[160];   /* libssl's words */
};

void tls_error_clear(void);
/* Drains the queue. The oldest entry that says something decides. */
void tls_error_take(struct tls_error *error);
/* "bad_certificate", as RFC 8446 6 writes it; a constant. */
const char *tls_error_alert_name(int alert);

#endif
