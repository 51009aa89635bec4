#include "pair_private.h"

#include <string.h>

enum {
    MESSAGE_MAX = 1 << 20,
    READ_PAUSE_MAX_MS = 1000,
    PIECES_PER_TURN = 8,
    READS_PER_TURN = 8,
    ONE_IN_KEY_UPDATE = 8
};

/* ---- ending ---- */

/* False: the pair is gone. */
static bool close_if_over(struct end *end)
{
    struct pair *pair = end->pair;
    struct load *load = end->load;
    if (pair->directions[end->side].sent_end && pair->directions[pair_other(end->side)].seen_end) {
        pair_close_end(end);
    }
    const struct end *peer = pair->ends[pair_other(end->side)];
    if (end->closed && peer != NULL && peer->closed) {
        pair_finish(pair, load);
        return false;
    }
    return true;
}

bool pair_end_direction(struct end *end)
{
    struct pair *pair = end->pair;
    bool fin = pair->closer != NOBODY || dice_one_in(&end->dice, 2);
    enum wire_result result = wire_end(&end->wire, fin);
    if (result == WIRE_BROKEN) {
        pair_fail(end, wire_error());
        return false;
    }
    end->ending = true;
    if (result == WIRE_WAIT) {
        return true;
    }
    pair->directions[end->side].sent_end = true;
    if (pair->closer == NOBODY && !pair->directions[pair_other(end->side)].seen_end) {
        end->load->totals.half_closed_by[end->side]++;
    }
    return close_if_over(end);
}

static bool all_arrived(const struct pair *pair)
{
    for (int side = 0; side < 2; side++) {
        const struct end *end = pair->ends[side];
        if (end == NULL || end->piece != 0 || end->message_left != 0 || end->wire.wants_write ||
            pair->directions[side].sent != pair->directions[side].received) {
            return false;
        }
    }
    return true;
}

bool pair_close_altogether(struct pair *pair)
{
    struct end *end = pair->ends[pair->closer];
    if (!all_arrived(pair)) {
        return true;
    }
    end->load->totals.closed_by[end->side]++;
    if (!pair_end_direction(end)) {
        return false;
    }
    if (pair->directions[end->side].sent_end) {
        pair_close_end(end);
        pair_watch(pair, end->side);
    }
    return true;
}

/* ---- sending ---- */

/* The client's stream begins with the pair's number: thus the server learns who it talks to. */
static void fill(const struct pair *pair, enum side source, uint64_t offset, uint8_t *out,
                 size_t len)
{
    stream_fill(pair->directions[source].key, offset, out, len);
    for (size_t i = 0; source == CLIENT && i < len && offset + i < NUMBER_BYTES; i++) {
        out[i] = (uint8_t)(pair->number >> (8 * (offset + i)));
    }
}

uint64_t pair_pause_ns(struct dice *dice, uint64_t most_ms)
{
    uint64_t pause = dice_below(dice, most_ms * NS_PER_MS);
    return dice_one_in(dice, 4) ? 0 : pause;
}

static void begin_message(struct end *end)
{
    struct pair *pair = end->pair;
    uint64_t size = dice_size(&end->dice, MESSAGE_MAX);
    bool update = dice_one_in(&end->dice, ONE_IN_KEY_UPDATE);
    bool ask = dice_one_in(&end->dice, 2) && pair->closer == NOBODY;
    end->messages_left--;
    end->message_left = size;
    if (end->side == CLIENT && pair->directions[CLIENT].sent == 0 && size < NUMBER_BYTES) {
        end->message_left = NUMBER_BYTES;
    }
    if (update && end->version == TLS1_3_VERSION) {
        int how = ask ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
        end->load->totals.key_updates += (uint64_t)SSL_key_update(end->wire.ssl, how);
    }
}

/* False: there is nothing to send now. */
static bool has_message(struct end *end, uint64_t now_ns)
{
    if (end->message_left > 0) {
        return true;
    }
    if (!end->load->going && end->pair->directions[end->side].sent > 0) {
        end->messages_left = 0;
    }
    if ((end->load->going && now_ns < end->wake_ns) || end->messages_left == 0 ||
        end->pair->closing) {
        return false;
    }
    begin_message(end);
    return true;
}

enum sent { SENT_ALL, SENT_WAITS, SENT_FAILED };

static enum sent send_piece(struct end *end, uint64_t now_ns)
{
    static uint8_t piece[WIRE_PIECE_MAX];
    struct direction *direction = &end->pair->directions[end->side];
    size_t put = 0;
    if (end->piece == 0) {
        end->piece = (size_t)dice_size(&end->dice, WIRE_PIECE_MAX);
        end->piece = end->piece < end->message_left ? end->piece : (size_t)end->message_left;
    }
    fill(end->pair, end->side, direction->sent, piece, end->piece);
    enum wire_result result = wire_write(&end->wire, piece, end->piece, &put);
    if (result == WIRE_WAIT) {
        end->load->totals.blocked++;
        return SENT_WAITS;
    }
    if (result != WIRE_OK) {
        pair_fail(end, wire_error());
        return SENT_FAILED;
    }
    direction->sent += put;
    end->message_left -= put;
    end->piece = 0;
    if (end->message_left == 0) {
        end->wake_ns = now_ns + pair_pause_ns(&end->dice, PAUSE_MAX_MS);
    }
    return SENT_ALL;
}

bool pair_send(struct end *end, uint64_t now_ns)
{
    struct pair *pair = end->pair;
    if (!end->wire.open || end->closed || end->wire.wants_write || end->ending) {
        return true;
    }
    for (int pieces = 0; pieces < PIECES_PER_TURN && has_message(end, now_ns); pieces++) {
        enum sent sent = send_piece(end, now_ns);
        if (sent == SENT_FAILED) {
            return false;
        }
        if (sent == SENT_WAITS) {
            break;
        }
    }
    bool last = end->message_left == 0 && end->messages_left == 0 && !end->wire.wants_write &&
                (now_ns >= end->wake_ns || !end->load->going);
    if (last && pair->closer == end->side) {
        pair->closing = true;
    } else if (last && pair->closer == NOBODY && !pair_end_direction(end)) {
        return false;
    }
    pair_watch(pair, end->side);
    pair_update_events(end);
    return true;
}

/* ---- receiving ---- */

static bool compare(struct end *end, const uint8_t *data, size_t len)
{
    static uint8_t wanted[WIRE_PIECE_MAX];
    enum side source = pair_other(end->side);
    struct direction *direction = &end->pair->directions[source];
    fill(end->pair, source, direction->received, wanted, len);
    if (direction->received + len > direction->sent || memcmp(wanted, data, len) != 0) {
        size_t i = 0;
        while (i < len && wanted[i] == data[i]) {
            i++;
        }
        char what[128];
        snprintf(what, sizeof(what), "a wrong byte at offset %llu",
                 (unsigned long long)(direction->received + i));
        pair_fail(end, what);
        return false;
    }
    direction->received += len;
    return true;
}

/* False: the pair is gone. */
static bool on_seen_end(struct end *end)
{
    struct pair *pair = end->pair;
    struct direction *direction = &pair->directions[pair_other(end->side)];
    direction->seen_end = true;
    if (!direction->sent_end || direction->sent != direction->received) {
        char what[128];
        snprintf(what, sizeof(what), "its stream ended after %llu of %llu bytes",
                 (unsigned long long)direction->received, (unsigned long long)direction->sent);
        pair_fail(end, what);
        return false;
    }
    stalls_forget(&direction->stall);
    if (pair->closer == pair_other(end->side)) {
        return pair_end_direction(end);
    }
    return close_if_over(end);
}

static void pause_reading(struct end *end)
{
    uint64_t received = end->pair->directions[pair_other(end->side)].received;
    if (received < end->pause_at || !end->load->going) {
        return;
    }
    end->pause_at = received + dice_size(&end->dice, READ_PAUSE_EVERY);
    end->reading = false;
    end->read_ns = kernel_now_ns() + dice_below(&end->dice, READ_PAUSE_MAX_MS) * NS_PER_MS;
    end->load->totals.read_pauses++;
}

bool pair_receive(struct end *end)
{
    static uint8_t buffer[WIRE_PIECE_MAX];
    struct pair *pair = end->pair;
    enum side source = pair_other(end->side);
    const struct direction *direction = &pair->directions[source];
    for (int reads = 0; reads < READS_PER_TURN || wire_has_pending(&end->wire); reads++) {
        size_t got = 0;
        size_t size = (size_t)(dice_mix(direction->key + direction->received) % sizeof(buffer)) + 1;
        enum wire_result result = wire_read(&end->wire, buffer, size, &got);
        if (result == WIRE_WAIT) {
            break;
        }
        if (result == WIRE_END) {
            return on_seen_end(end);
        }
        if (result == WIRE_BROKEN) {
            pair_fail(end, wire_error());
            return false;
        }
        if (!compare(end, buffer, got)) {
            return false;
        }
        pause_reading(end);
        if (!end->reading) {
            break;
        }
    }
    pair_watch(pair, source);
    return true;
}
