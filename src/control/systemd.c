/*
 * NEW ─open─► STARTING ─ready─► READY ◄─reloaded─ RELOADING
 *                                 └──reloading──────► │
 *                                 └─ stopping ─► STOPPING ◄┘
 */
#include "control/systemd.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "control/pulse.h"
#include "control_private.h"
#include "environment.h"
#include "net/notify_socket.h"
#include "proxy/snapshot.h"

enum { TEXT_SIZE = 1024, US_PER_MS = 1000 };

enum systemd_state {
    SYSTEMD_NEW = 0,
    SYSTEMD_STARTING,
    SYSTEMD_READY,
    SYSTEMD_RELOADING,
    SYSTEMD_STOPPING
};

struct systemd {
    struct control *control;
    enum systemd_state state;
    char *place;          /* NULL or empty: nobody wants to be told */
    uint64_t watchdog_ms; /* half of what the manager waits; 0: it does not wait */
    struct notify_socket *notify;
    struct timer *timer;
    bool warned;
};

/* --- the environment ------------------------------------------------------------------------- */

/* sd_watchdog_enabled(3): a WATCHDOG_PID that is not ours is another process' watchdog. */
static uint64_t take_watchdog(void)
{
    char *usec = environment_take("WATCHDOG_USEC");
    char *pid = environment_take("WATCHDOG_PID");
    uint64_t us = 0;
    uint64_t whose = 0;
    bool ours = pid == NULL || (environment_number(pid, &whose) && whose == (uint64_t)getpid());
    bool wanted = usec != NULL && environment_number(usec, &us) && us > 0 && ours;
    mem_free(usec);
    mem_free(pid);
    uint64_t half = us / 2 / US_PER_MS;
    return !wanted ? 0 : half > 0 ? half : 1;
}

struct systemd *systemd_new(void)
{
    struct systemd *systemd = mem_alloc(sizeof(*systemd));
    systemd->place = environment_take("NOTIFY_SOCKET");
    systemd->watchdog_ms = take_watchdog();
    return systemd;
}

void systemd_free(struct systemd *systemd)
{
    if (systemd != NULL) {
        timer_free(systemd->timer);
        notify_socket_close(systemd->notify);
        mem_free(systemd->place);
        mem_free(systemd);
    }
}

/* --- telling --------------------------------------------------------------------------------- */

static void warn(struct systemd *systemd, const char *error)
{
    struct log *log = &systemd->control->log;
    if (!systemd->warned) {
        systemd->warned = true;
        log_begin(log, LOG_WARN, "notify_failed");
        log_str(log, "error", error);
        log_end(log);
    }
}

static void tell(struct systemd *systemd, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(struct systemd *systemd, const char *format, ...)
{
    char text[TEXT_SIZE];
    struct errbuf err;
    if (systemd->notify == NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (notify_socket_send(systemd->notify, text, &err) != 0) {
        warn(systemd, err.text);
    }
}

/* Of an error, which may have several. */
static int first_line(const char *text)
{
    enum { MOST = 512 };
    size_t len = strcspn(text, "\n");
    return (int)(len < MOST ? len : MOST);
}

static void on_watchdog(void *arg)
{
    struct systemd *systemd = arg;
    unsigned first = 0;
    if (!pulse_find_stuck(systemd->control->pulse, &first)) {
        tell(systemd, "WATCHDOG=1");
    }
    timer_set(systemd->timer, systemd->watchdog_ms);
}

void systemd_open(struct systemd *systemd, struct control *control)
{
    struct errbuf err;
    systemd->control = control;
    systemd->state = SYSTEMD_STARTING;
    if (systemd->place == NULL || systemd->place[0] == '\0') {
        return;
    }
    systemd->notify = notify_socket_open(systemd->place, &err);
    if (systemd->notify == NULL) {
        warn(systemd, err.text);
    }
}

static void tell_ready(struct systemd *systemd, const char *why)
{
    const struct control *control = systemd->control;
    const struct config *config = control_config(control);
    systemd->state = SYSTEMD_READY;
    tell(systemd, "READY=1\nSTATUS=Serving: generation %llu, %zu listener%s, %zu rule%s%s%.*s",
         (unsigned long long)control->snapshot->generation, config->listener_count,
         config->listener_count == 1 ? "" : "s", config->rule_count,
         config->rule_count == 1 ? "" : "s",
         why[0] == '\0' ? "" : "; the last reload was refused: ", first_line(why), why);
}

/* The manager drops a message that is not UTF-8, and a new line would begin another assignment. */
static void copy_plain(char *out, size_t size, const char *text)
{
    size_t used = 0;
    for (; *text != '\0' && used + 1 < size; text++) {
        out[used++] = *text >= ' ' && *text <= '~' ? *text : '?';
    }
    out[used] = '\0';
}

void systemd_waiting(struct systemd *systemd, const char *why, uint64_t next_ms)
{
    enum { MARGIN_MS = 30 * 1000, WHY_SIZE = 512 };
    char plain[WHY_SIZE];
    if (systemd->state == SYSTEMD_STARTING) {
        uint64_t extend_us = (next_ms + MARGIN_MS) * US_PER_MS;
        copy_plain(plain, sizeof(plain), why);
        tell(systemd, "EXTEND_TIMEOUT_USEC=%llu\nSTATUS=Waiting for the first SVID%s%s",
             (unsigned long long)extend_us, plain[0] == '\0' ? "" : ": ", plain);
    }
}

void systemd_ready(struct systemd *systemd)
{
    tell_ready(systemd, "");
    if (systemd->watchdog_ms == 0 || systemd->notify == NULL) {
        return;
    }
    systemd->timer = timer_new(systemd->control->loop, on_watchdog, systemd);
    if (systemd->timer == NULL) {
        warn(systemd, "memory is out: no watchdog");
        return;
    }
    on_watchdog(systemd);
}

void systemd_reloading(struct systemd *systemd)
{
    if (systemd->state == SYSTEMD_READY || systemd->state == SYSTEMD_RELOADING) {
        systemd->state = SYSTEMD_RELOADING;
        tell(systemd, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reading all files anew",
             (unsigned long long)clock_mono_us());
    }
}

void systemd_reloaded(struct systemd *systemd, const char *why)
{
    if (systemd->state == SYSTEMD_RELOADING) {
        tell_ready(systemd, why);
    }
}

void systemd_stopping(struct systemd *systemd)
{
    const struct config *config = control_config(systemd->control);
    if (systemd->state != SYSTEMD_STOPPING) {
        systemd->state = SYSTEMD_STOPPING;
        tell(systemd,
             "STOPPING=1\nSTATUS=Draining: accepting for %llu ms more, then sessions may take %llu "
             "ms",
             (unsigned long long)config->drain.delay_ms,
             (unsigned long long)config->drain.timeout_ms);
    }
}

void systemd_not_started(struct systemd *systemd, const char *error)
{
    tell(systemd, "STATUS=Not started: %.*s", first_line(error), error);
}
