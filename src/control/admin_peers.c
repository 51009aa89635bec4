/*
 * First those seen since the start, in the order in which they came, then those known of old that
 * have not called since.
 */
#include "admin_peers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admin_json.h"
#include "admin_parameters.h"
#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "config/config.h"
#include "control_private.h"
#include "net/http_server.h"
#include "policy/id_pattern.h"
#include "spiffe/spiffe_id.h"
#include "telemetry/peer_table.h"

enum { STATUS_OK = 200 };

struct telling {
    const struct control *control;
    bool has_identity;
    struct id_pattern identity;
    uint64_t limit;
};

static bool matches(const struct telling *telling, const struct peer_record *peer)
{
    struct spiffe_id id;
    const char *why = NULL;
    return !telling->has_identity || (spiffe_id_parse(peer->id, &id, &why) == 0 &&
                                      id_pattern_matches(&telling->identity, &id));
}

static void field_time(struct json_writer *w, const char *key, uint64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    json_field_string(w, key, ms == 0 ? NULL : clock_format_ms(ms, text));
}

static void write_peer(struct json_writer *w, const struct peer_record *peer)
{
    json_object_begin(w);
    json_field_strview(w, "spiffe_id", peer->id);
    json_field_bool(w, "has_called", peer->has_called);
    field_time(w, "first_seen", peer->first_ms);
    field_time(w, "last_seen", peer->last_ms);
    field_time(w, "first_denied", peer->first_denied_ms);
    json_field_u64(w, "allowed", peer->allowed);
    json_field_u64(w, "denied", peer->denied);
    json_object_end(w);
}

/* Counts it, and writes it while there is room. */
static void tell(struct json_writer *w, const struct telling *telling,
                 const struct peer_record *peer, uint64_t *matched)
{
    if (matches(telling, peer)) {
        if (*matched < telling->limit) {
            write_peer(w, peer);
        }
        (*matched)++;
    }
}

static uint64_t write_peers(struct json_writer *w, const struct telling *telling)
{
    const struct peer_table *peers = telling->control->peers;
    struct peer_record peer;
    uint64_t matched = 0;
    size_t size = peer_table_size(peers);
    for (size_t i = 1; i < size; i++) {
        peer_table_get(peers, i, &peer);
        tell(w, telling, &peer, &matched);
    }
    for (size_t i = 0; i < peer_table_known(peers); i++) {
        peer_table_get_known(peers, i, &peer);
        if (peer.last_ms == 0) {
            tell(w, telling, &peer, &matched);
        }
    }
    return matched;
}

static void write_answer(struct json_writer *w, const void *arg)
{
    const struct telling *telling = arg;
    struct peer_record others;
    peer_table_get(telling->control->peers, 0, &others);
    json_object_begin(w);
    field_time(w, "since", telling->control->started_wall_ms);
    json_field_string(w, "first_seen_file", control_config(telling->control)->first_seen_file.text);
    json_key(w, "peers");
    json_array_begin(w);
    uint64_t matched = write_peers(w, telling);
    json_array_end(w);
    json_field_u64(w, "matched", matched);
    json_field_bool(w, "truncated", matched > telling->limit);
    json_key(w, "others");
    json_object_begin(w);
    json_field_u64(w, "allowed", others.allowed);
    json_field_u64(w, "denied", others.denied);
    json_object_end(w);
    json_object_end(w);
}

void admin_peers(struct control *control, struct http_call *call)
{
    struct telling telling = {.control = control, .limit = ADMIN_PEERS_LIMIT};
    char *identity = NULL;
    if (!admin_parameter_identity(call, &identity, &telling.identity) ||
        !admin_parameter_number(call, "limit", ADMIN_PEERS_LIMIT_MAX, &telling.limit)) {
        mem_free(identity);
        return;
    }
    telling.has_identity = identity != NULL;
    size_t len = 0;
    char *text = admin_json_render(write_answer, &telling, &len);
    admin_json_answer(call, STATUS_OK, text, len, "memory is out");
    mem_free(identity);
}
