/*
 * drain: how the process ends.
 *
 *   RUNNING ─asked─► DELAYED (readiness fails; drain.delay, still accepting) ─► DRAINING (no more
 *           accepting, sessions end in their own time, drain.timeout at most) ─all idle─► STOPPING
 *
 * The first SIGTERM or SIGINT asks, and so does POST /drain. A second signal cuts what is open, at
 * any time; SIGQUIT does so at once. POST /drain is no signal: a hook that drains before the
 * platform sends its SIGTERM must not make that one the second. Control thread.
 */
#ifndef BULKHEAD_CONTROL_DRAIN_H
#define BULKHEAD_CONTROL_DRAIN_H

struct control;
struct http_call;

/* SIGTERM, SIGINT or SIGQUIT; name: for the log. */
void drain_on_signal(struct control *control, int signal_number, const char *name);
/* The delay is over, or the time for sessions. */
void drain_on_timer(struct control *control);
/* POST /drain: asks, and answers what has been begun. When it is under way nothing changes. */
void drain_answer(struct control *control, struct http_call *call);

#endif
