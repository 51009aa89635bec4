/*
 * scrape: all metrics as a stream of text, made while it is sent: a piece at a time, so that
 * neither memory nor the control thread's time grows with what there is to tell. Control thread.
 */
#ifndef BULKHEAD_CONTROL_SCRAPE_H
#define BULKHEAD_CONTROL_SCRAPE_H

#include "net/http_server.h"
#include "telemetry/exposition.h"

#include <stdbool.h>
#include <stddef.h>

struct control;
struct material;
struct rule_total;
struct setup;

struct scrape {
    struct control *control;
    struct setup *setup;           /* in force at the start; counted */
    struct rule_total *rules;      /* of its rules, as they were then: a reload may come between two
                                      pieces, and no rule may be told twice */
    struct exposition text;
    enum metric family;
    size_t item; /* of the family: the next to be written */
};

/* GET /metrics: answers the call with all of them, in the format that it asks for. */
void scrape_answer(struct control *control, struct http_call *call);

/* How one family is written: item by item. items NULL: one. */
struct scrape_source {
    size_t (*items)(const struct scrape *scrape);
    void (*write)(struct scrape *scrape, size_t item);
};

/* scrape_state.c: the process, what is in force, certificates, logs. */
void scrape_build_info(struct scrape *scrape, size_t item);
void scrape_reloads(struct scrape *scrape, size_t item);
void scrape_state(struct scrape *scrape, size_t item); /* single numbers, by scrape->family */
void scrape_ready(struct scrape *scrape, size_t item);
size_t scrape_audit_items(const struct scrape *scrape);
void scrape_audit(struct scrape *scrape, size_t item);
size_t scrape_svid_items(const struct scrape *scrape); /* 0: the Workload API has given none */
void scrape_open_doors(struct scrape *scrape, size_t item);
void scrape_svid(struct scrape *scrape, size_t item);
size_t scrape_domain_items(const struct scrape *scrape);
void scrape_domain(struct scrape *scrape, size_t item);
void scrape_log_lines(struct scrape *scrape, size_t item);
size_t scrape_peer_items(const struct scrape *scrape);
void scrape_peer(struct scrape *scrape, size_t item);
void scrape_process(struct scrape *scrape, size_t item);

/* scrape_rules.c */
size_t scrape_rule_items(const struct scrape *scrape);
void scrape_rule_hits(struct scrape *scrape, size_t item);
void scrape_rule_times(struct scrape *scrape, size_t item);

/* scrape_listeners.c: the counts of workers, by listener's name. */
size_t scrape_listener_items(const struct scrape *scrape);
void scrape_listener_count(struct scrape *scrape, size_t item); /* one cell */
void scrape_handshakes(struct scrape *scrape, size_t item);
void scrape_handshake_failures(struct scrape *scrape, size_t item);
void scrape_decisions(struct scrape *scrape, size_t item);
void scrape_ended(struct scrape *scrape, size_t item);
void scrape_lost_authority(struct scrape *scrape, size_t item);
void scrape_bytes(struct scrape *scrape, size_t item);
void scrape_handshake_duration(struct scrape *scrape, size_t item);
void scrape_listener_duration(struct scrape *scrape, size_t item);
void scrape_dials(struct scrape *scrape, size_t item);
void scrape_upstream_up(struct scrape *scrape, size_t item);

#endif
