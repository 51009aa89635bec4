/*
 * admin_rules: the answer of the admin socket to /rules, a page at a time, so that a hundred
 * thousand rules hold up neither control nor its memory. Control thread.
 */
#ifndef BULKHEAD_CONTROL_ADMIN_RULES_H
#define BULKHEAD_CONTROL_ADMIN_RULES_H

#include <stddef.h>
#include <stdint.h>

struct rule_totals;

enum { ADMIN_RULES_PAGE = 1000 };

/* The rules from index `from` on, and where the next page begins; the listeners with the first.
   Memory of the caller's (mem_free); NULL: memory is out. */
char *admin_rules_json(const struct rule_totals *totals, size_t from, size_t *len);

#endif
