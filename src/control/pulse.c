#include "control/pulse.h"

#include "base/log.h"
#include "base/memory.h"
#include "control_private.h"
#include "net/loop.h"
#include "proxy/worker.h"

struct pulse {
    struct control *control;
    struct timer *timer;
    unsigned *missed; /* by worker: beats since it was given an order that it has not taken */
};

static void log_turn(struct pulse *pulse, unsigned index, bool stuck)
{
    struct log *log = &pulse->control->log;
    log_begin(log, stuck ? LOG_ERROR : LOG_WARN, stuck ? "worker_stuck" : "worker_recovered");
    log_u64(log, "worker", index);
    log_end(log);
}

static void beat(struct pulse *pulse, unsigned index)
{
    struct worker *worker = pulse->control->workers[index];
    unsigned *missed = &pulse->missed[index];
    if (!worker_has_order(worker, WORKER_BEAT)) {
        if (*missed >= PULSE_STUCK_BEATS) {
            log_turn(pulse, index, false);
        }
        *missed = 0;
        worker_order(worker, WORKER_BEAT, REASON_NONE);
    } else if (*missed < PULSE_STUCK_BEATS && ++*missed == PULSE_STUCK_BEATS) {
        log_turn(pulse, index, true);
    }
}

static void on_beat(void *arg)
{
    struct pulse *pulse = arg;
    for (unsigned i = 0; i < pulse->control->running; i++) {
        beat(pulse, i);
    }
    timer_set(pulse->timer, PULSE_BEAT_MS);
}

struct pulse *pulse_new(struct control *control)
{
    struct pulse *pulse = mem_alloc(sizeof(*pulse));
    pulse->control = control;
    pulse->missed = mem_alloc_array(control->worker_count, sizeof(*pulse->missed));
    pulse->timer = timer_new(control->loop, on_beat, pulse);
    if (pulse->timer == NULL) {
        pulse_free(pulse);
        return NULL;
    }
    timer_set(pulse->timer, PULSE_BEAT_MS);
    return pulse;
}

void pulse_free(struct pulse *pulse)
{
    if (pulse != NULL) {
        timer_free(pulse->timer);
        mem_free(pulse->missed);
        mem_free(pulse);
    }
}

bool pulse_find_stuck(const struct pulse *pulse, unsigned *index)
{
    while (*index < pulse->control->running && pulse->missed[*index] < PULSE_STUCK_BEATS) {
        (*index)++;
    }
    return *index < pulse->control->running;
}
