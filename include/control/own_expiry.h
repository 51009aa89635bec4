/*
 * own_expiry: says in the log, well before, that our own SVID expires and no successor has come:
 * once each when a half, a quarter and a tenth of its lifetime are left, and when it has expired.
 * Control thread.
 */
#ifndef BULKHEAD_CONTROL_OWN_EXPIRY_H
#define BULKHEAD_CONTROL_OWN_EXPIRY_H

struct control;
struct own_expiry;

/* NULL: out of memory. */
struct own_expiry *own_expiry_new(struct control *control);
void own_expiry_free(struct own_expiry *own); /* NULL is fine */
/* Another SVID may be in force, or the clock was set. */
void own_expiry_look(struct own_expiry *own);

#endif
