/*
 * changes: what a new material has that another has not, in the words of the configuration.
 * Control thread.
 */
#ifndef BULKHEAD_CONTROL_CHANGES_H
#define BULKHEAD_CONTROL_CHANGES_H

#include <stddef.h>

struct material;

enum change_kind {
    CHANGE_RULE = 0,
    CHANGE_GROUP,
    CHANGE_LISTENER,
    CHANGE_IDENTITY,
    CHANGE_BUNDLE,
    CHANGE_CRL,
    CHANGE_QUARANTINE,
    CHANGE_KINDS
};
enum change_what { CHANGE_ADDED = 0, CHANGE_REMOVED, CHANGE_CHANGED, CHANGE_WHATS };

/* name: of the rule, group, listener or trust domain, the new SPIFFE ID, or the quarantine's entry;
   good during the call. */
typedef void change_fn(void *arg, enum change_kind kind, enum change_what what, const char *name);
void changes_each(const struct material *from, const struct material *to, change_fn *fn, void *arg);
const char *change_kind_name(enum change_kind kind); /* "rule", … */
const char *change_what_name(enum change_what what); /* "added", … */

struct change_counts {
    size_t of[CHANGE_KINDS][CHANGE_WHATS];
};
void changes_count(const struct material *from, const struct material *to,
                   struct change_counts *counts);

#endif
