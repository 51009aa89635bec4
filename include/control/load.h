/*
 * load: from a configuration file to a snapshot: everything that a start checks, in one function,
 * so that `bulkhead check` says what `bulkhead run` would. Control thread and cli.
 */
#ifndef BULKHEAD_CONTROL_LOAD_H
#define BULKHEAD_CONTROL_LOAD_H

#include "config/diag.h"

#include <stdint.h>

struct crypto;
struct snapshot;

/*
 * Reads the file, compiles the policy, loads every credential and bundle, makes the TLS settings.
 * All errors and warnings go to diags, the files' troubles at the place where the file is named.
 * NULL when there is any error. Opens no socket.
 */
struct snapshot *snapshot_load(const char *path, const struct crypto *crypto, uint64_t generation,
                               struct diag_list *diags);

#endif
