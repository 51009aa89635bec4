/*
 * watching: which files of the material in force are watched, and what their changes cause.
 *
 * Credentials, bundles, CRLs and the quarantine file are read anew when they were replaced as a
 * whole, or were written in place and have been still for a moment. The configuration is read anew
 * only when it was replaced as a whole (and reload.watch is `atomic`): a prefix of a list is a
 * valid list, so a file that is being written may mean less than its author does.
 *
 * Control thread.
 */
#ifndef BULKHEAD_CONTROL_WATCHING_H
#define BULKHEAD_CONTROL_WATCHING_H

#include "base/errbuf.h"

struct control;
struct watching;

struct watching *watching_new(struct control *control, struct errbuf *err);
void watching_free(struct watching *watching); /* NULL is fine */
/* The material in force names other files now. */
void watching_update(struct watching *watching);

#endif
