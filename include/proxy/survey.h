/*
 * survey: what the live sessions of a worker are, for operators; and, given a snapshot that is not
 * in force, what would become of each under it.
 *
 * Made by a worker in slices, handed to control whole, which frees it. Texts are copies.
 */
#ifndef BULKHEAD_PROXY_SURVEY_H
#define BULKHEAD_PROXY_SURVEY_H

#include "base/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;
struct snapshot;
struct worker;

/* A peer that a handshake has proved; id 0: there is none. */
struct session_peer {
    size_t id;
    const char *tls_version; /* a constant; NULL with id 0 */
    bool resumed;
};

/* One session. Texts are offsets into the survey's text; 0: none. */
struct session_brief {
    uint64_t id;
    uint64_t age_ms;
    uint64_t bytes_up;
    uint64_t bytes_down;
    uint64_t ends_wall_ms; /* when its authority ends by time; 0: never */
    enum reason ends_by;   /* by what; REASON_NONE: never */
    const char *state;     /* a constant: "handshake", "dial", "relay" */
    size_t listener;
    size_t rule;
    struct session_peer downstream;
    struct session_peer upstream;
    size_t downstream_address;
    size_t upstream_address; /* as dialled, or the configured one; 0: not let through yet */
    enum reason reason;      /* why it would end; REASON_NONE: it goes on, or that was not asked */
    size_t detail;
};

struct session_survey {
    struct session_brief *sessions;
    size_t count;
    size_t capacity;
    char *text;
    size_t text_len;
    size_t text_capacity;
    bool incomplete; /* memory was out */
};

/* The text at that offset; NULL for 0. */
const char *survey_text(const struct session_survey *survey, size_t offset);
void survey_free(struct session_survey *survey); /* NULL is fine; any thread */
/* NULL: memory is out. */
struct session_survey *survey_new(void);
/* Worker thread: describes the session. NULL: memory is out, and the survey incomplete. What it
   returns is good until the next is added. */
struct session_brief *survey_add(struct session_survey *survey, const struct session *session);
/* Worker thread. Takes the reference of snapshot over. Reports WORKER_SAYS_SURVEYED, also when
   memory is out. */
void survey_start(struct worker *worker, struct snapshot *snapshot);

#endif
