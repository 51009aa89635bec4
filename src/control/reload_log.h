/*
 * reload_log: a reload's lines in the process log: one for each problem of a source, one for the
 * outcome, one for what is not enforced. Control thread.
 */
#ifndef BULKHEAD_CONTROL_RELOAD_LOG_H
#define BULKHEAD_CONTROL_RELOAD_LOG_H

#include "control/reload.h"

struct log;

void reload_log_diags(struct log *log, const struct diag_list *diags, enum reload_kind kind);
/* Loud, at a start and each time that the configuration is read: which listeners let through what no
   rule matched. */
void reload_log_audit(struct log *log, const struct config *config);
void reload_log_outcome(struct log *log, const struct reload_outcome *outcome, const char *trigger);

#endif
