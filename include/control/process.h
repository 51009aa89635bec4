/*
 * process: what concerns the process as a whole: descriptors, CPUs, users, its own protection.
 * Control thread, at start.
 */
#ifndef BULKHEAD_CONTROL_PROCESS_H
#define BULKHEAD_CONTROL_PROCESS_H

#include "base/errbuf.h"
#include "config/config.h"
#include "net/listener.h"

#include <stddef.h>
#include <stdint.h>

/* Large blocks in pages of their own, standard descriptors open, SIGPIPE ignored, umask 077, no new
   privileges, no core files and no reading of our memory by others (it holds private keys). */
void process_prepare(void);
/*
 * Closes every descriptor but the standard three and as many behind them as `passed` says: sockets
 * that are ours (control/activation.h). Whoever started us may have left one open, and
 * it would stay open for as long as we run. After the first load, because a configuration may name
 * /dev/fd/N; before anything of ours is open.
 */
void process_close_inherited(size_t passed);
/* Raises RLIMIT_NOFILE to its hard limit; returns what is in force. */
uint64_t process_raise_descriptor_limit(void);
uint64_t process_open_descriptors(void);
/* The CPUs that this process may use: its affinity, and the quota of its control group (cgroup
   v2); at least 1. */
unsigned process_usable_cpus(void);
/* A Unix socket's mode, owner and group; -1 when a user or group does not exist. */
int process_socket_options(const struct config_socket *config, struct listen_options *options,
                           struct errbuf *err);

#endif
