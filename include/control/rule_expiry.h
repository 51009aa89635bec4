/*
 * rule_expiry: says that rules with `expires` end: two weeks and two days before, and when they do.
 *
 * Each once for a rule's end as it is written, whatever is reloaded; at a start, and for a new
 * rule, the latest of what has passed. A rule that had ended before it was read is a warning of the
 * configuration instead. What becomes of sessions is proxy/expiry's matter. Control thread.
 */
#ifndef BULKHEAD_CONTROL_RULE_EXPIRY_H
#define BULKHEAD_CONTROL_RULE_EXPIRY_H

struct control;
struct rule_expiry;

/* NULL: memory is out. */
struct rule_expiry *rule_expiry_new(struct control *control);
void rule_expiry_free(struct rule_expiry *expiry); /* NULL is fine */
/* Other rules may be in force, or the clock was set. */
void rule_expiry_look(struct rule_expiry *expiry);

#endif
