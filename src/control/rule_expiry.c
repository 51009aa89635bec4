/*
 * The rules that end, in order of their names, with how much was said of each. A timer to the next
 * moment, of an hour at most, because the wall clock may be set while it runs.
 */
#include "control/rule_expiry.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "control/material.h"
#include "control/sources.h"
#include "control_private.h"

enum { LOOK_AT_LEAST_MS = 60 * 60 * 1000, DAY_S = 24 * 60 * 60, MOMENTS = 3, LINES_AT_ONCE = 100 };

/* Days before the end. */
static const int64_t moments[MOMENTS] = {14, 2, 0};

struct ending {
    const struct config_rule *rule;
    int64_t ends_s;
    int said; /* how many of the moments */
};

struct rule_expiry {
    struct control *control;
    struct timer *timer;
    struct setup *setup; /* whose rules these are; a reference */
    struct ending *endings;
    size_t count;
};

static int passed_moments(int64_t ends_s, int64_t now)
{
    int passed = 0;
    while (passed < MOMENTS && now >= ends_s - moments[passed] * DAY_S) {
        passed++;
    }
    return passed;
}

static void say(struct log *log, const struct ending *ending, int64_t now)
{
    char text[CLOCK_TEXT_SIZE];
    const struct config_rule *rule = ending->rule;
    bool ended = now >= ending->ends_s;
    log_begin(log, LOG_WARN, ended ? "rule_expired" : "rule_expires_soon");
    log_str(log, "rule", rule->name.text);
    if (rule->mode == CONFIG_MODE_SHADOW) {
        log_str(log, "mode", "shadow");
    }
    log_str(log, "owner", rule->owner.text);
    log_str(log, "expires", clock_format_s(ending->ends_s, text));
    if (!ended) {
        log_u64(log, "days_left", (uint64_t)((ending->ends_s - now) / DAY_S));
    }
    log_end(log);
}

static void say_left_out(struct log *log, size_t count)
{
    log_begin(log, LOG_WARN, "rule_expires_soon");
    log_str(log, "error", "more rules end, or have ended, than are named here");
    log_u64(log, "left_out", count);
    log_end(log);
}

/* How long until there is more to say. */
static uint64_t next_look_ms(const struct rule_expiry *expiry, int64_t now)
{
    int64_t least = LOOK_AT_LEAST_MS / 1000;
    for (size_t i = 0; i < expiry->count; i++) {
        const struct ending *ending = &expiry->endings[i];
        if (ending->said < MOMENTS) {
            int64_t left = ending->ends_s - moments[ending->said] * DAY_S - now;
            least = left < least ? left : least;
        }
    }
    return (uint64_t)least * 1000;
}

static void say_what_is_due(struct rule_expiry *expiry)
{
    struct log *log = &expiry->control->log;
    int64_t now = clock_wall_s();
    size_t lines = 0;
    for (size_t i = 0; i < expiry->count; i++) {
        struct ending *ending = &expiry->endings[i];
        int passed = passed_moments(ending->ends_s, now);
        if (passed > ending->said && lines++ < LINES_AT_ONCE) {
            say(log, ending, now);
        }
        ending->said = passed; /* less than before when the clock was set back */
    }
    if (lines > LINES_AT_ONCE) {
        say_left_out(log, lines - LINES_AT_ONCE);
    }
    if (expiry->count > 0) {
        timer_set(expiry->timer, next_look_ms(expiry, now));
    } else {
        timer_cancel(expiry->timer);
    }
}

static int compare_endings(const void *a, const void *b)
{
    return strcmp(((const struct ending *)a)->rule->name.text,
                  ((const struct ending *)b)->rule->name.text);
}

/* What was said of the same rule with the same end; else what had ended before needs no word. */
static int said_before(const struct rule_expiry *expiry, const struct ending *ending, int64_t now)
{
    const struct ending *former = expiry->count == 0
                                      ? NULL
                                      : bsearch(ending, expiry->endings, expiry->count,
                                                sizeof(*expiry->endings), compare_endings);
    if (former != NULL && former->ends_s == ending->ends_s) {
        return former->said;
    }
    return now >= ending->ends_s ? MOMENTS : 0;
}

static void take_rules(struct rule_expiry *expiry, struct setup *setup)
{
    const struct config *config = setup->config;
    struct ending *endings = mem_alloc_array(config->rule_count, sizeof(*endings));
    int64_t now = clock_wall_s();
    size_t count = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct config_rule *rule = &config->rules[i];
        if (rule->expires.text.text != NULL && rule->mode != CONFIG_MODE_DISABLED) {
            endings[count] = (struct ending){.rule = rule, .ends_s = rule->expires.s};
            endings[count].said = said_before(expiry, &endings[count], now);
            count++;
        }
    }
    if (count > 1) {
        qsort(endings, count, sizeof(*endings), compare_endings);
    }
    mem_free(expiry->endings);
    setup_unref(expiry->setup);
    expiry->endings = endings;
    expiry->count = count;
    expiry->setup = setup_ref(setup);
}

void rule_expiry_look(struct rule_expiry *expiry)
{
    struct setup *setup = sources_in_force(expiry->control->sources)->setup;
    if (setup != expiry->setup) {
        take_rules(expiry, setup);
    }
    say_what_is_due(expiry);
}

static void on_timer(void *arg)
{
    rule_expiry_look(arg);
}

struct rule_expiry *rule_expiry_new(struct control *control)
{
    struct rule_expiry *expiry = mem_alloc(sizeof(*expiry));
    expiry->control = control;
    expiry->timer = timer_new(control->loop, on_timer, expiry);
    if (expiry->timer == NULL) {
        mem_free(expiry);
        return NULL;
    }
    rule_expiry_look(expiry);
    return expiry;
}

void rule_expiry_free(struct rule_expiry *expiry)
{
    if (expiry != NULL) {
        timer_free(expiry->timer);
        setup_unref(expiry->setup);
        mem_free(expiry->endings);
        mem_free(expiry);
    }
}
