/*
 * systemd: what the service manager is told (sd_notify(3)): READY, RELOADING with MONOTONIC_USEC,
 * STOPPING, STATUS, EXTEND_TIMEOUT_USEC, and WATCHDOG at half of its time while every worker's loop
 * goes round.
 *
 * Without NOTIFY_SOCKET in the environment nothing is told to nobody. What can't be told is one
 * warning, and stops nothing. Control thread.
 */
#ifndef BULKHEAD_CONTROL_SYSTEMD_H
#define BULKHEAD_CONTROL_SYSTEMD_H

#include <stdint.h>

struct control;
struct systemd;

/*
 * Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment. Before there are
 * threads. Opens nothing yet.
 */
struct systemd *systemd_new(void);
void systemd_free(struct systemd *systemd); /* NULL is fine */
/* From here on it can be told: there is a log and a loop. */
void systemd_open(struct systemd *systemd, struct control *control);
/* The start waits for its first identity, and tells again within next_ms; why, or "": any bytes.
   The manager's own limit for a start (TimeoutStartSec) is put off for so long. */
void systemd_waiting(struct systemd *systemd, const char *why, uint64_t next_ms);
/* It serves: READY=1, and the watchdog begins. */
void systemd_ready(struct systemd *systemd);
/* The configuration is being read anew: RELOADING=1. Each time counts from that moment. */
void systemd_reloading(struct systemd *systemd);
/* No reload is under way or waits: READY=1. why: of a refusal, "" when there was none. */
void systemd_reloaded(struct systemd *systemd, const char *why);
/* STOPPING=1; nothing but the watchdog comes after it. */
void systemd_stopping(struct systemd *systemd);
/* STATUS, for a start that failed. */
void systemd_not_started(struct systemd *systemd, const char *error);

#endif
