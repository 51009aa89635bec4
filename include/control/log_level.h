/*
 * log_level: how much the process log tells. One level for all threads; what `ctl log-level` sets
 * holds until the next change of `log.level` in the configuration, or the end of the process.
 * Control thread.
 */
#ifndef BULKHEAD_CONTROL_LOG_LEVEL_H
#define BULKHEAD_CONTROL_LOG_LEVEL_H

struct control;
struct http_call;

/* The log writer is there, and control->log. */
void log_level_start(struct control *control);
/* Another configuration may be in force. */
void log_level_follow(struct control *control);
/* GET /log-level; POST /log-level?level=NAME. */
void log_level_answer(struct control *control, struct http_call *call);

#endif
