/*
 * app_probes: what `probes.app` names: the application's own health, asked for by us, so that it
 * need not listen off the loopback.
 *
 * The question is the configuration's, whoever asks: no byte of the caller goes to the
 * application, and of its answer nothing but the status comes back. One question is under way for
 * each probe, whose answer goes to all who ask meanwhile, and for APP_PROBE_FRESH_MS afterwards:
 * callers can't be many enough to trouble the application. Control thread.
 */
#ifndef BULKHEAD_CONTROL_APP_PROBES_H
#define BULKHEAD_CONTROL_APP_PROBES_H

struct app_probes;
struct config_app_probe;
struct http_call;
struct loop;

enum { APP_PROBE_FRESH_MS = 100, APP_PROBES_AT_ONCE = 32 };

struct app_probes *app_probes_new(struct loop *loop);
/* Before the server whose calls wait is freed or after it. NULL is fine. */
void app_probes_free(struct app_probes *probes);
/* Answers the call, now or later. The config is needed during the call only. */
void app_probes_answer(struct app_probes *probes, const struct config_app_probe *config,
                       struct http_call *call);

#endif
