#include "pair_private.h"

#include <stdlib.h>

enum { MESSAGES_MAX = 12, ONE_IN_TLS12 = 16, ONE_IN_SMALL = 4 };

static void plan(struct end *end, struct pair *pair)
{
    uint64_t key = dice_mix(end->load->seed ^ dice_mix(pair->number * 2 + (uint64_t)end->side + 1));
    end->dice.state = key;
    pair->directions[end->side].key = dice_next(&end->dice);
    end->messages_left = dice_size(&end->dice, MESSAGES_MAX);
    end->pause_at = dice_size(&end->dice, READ_PAUSE_EVERY);
    end->wake_ns = kernel_now_ns() +
                   (dice_one_in(&end->dice, 2) ? pair_pause_ns(&end->dice, PAUSE_MAX_MS) : 0);
    end->pair = pair;
    pair->ends[end->side] = end;
}

static struct end *new_end(struct load *load, enum side side)
{
    struct end *end = calloc(1, sizeof(*end));
    if (end == NULL) {
        abort();
    }
    end->load = load;
    end->side = side;
    end->reading = true;
    return end;
}

static SSL_SESSION *take_session(struct load *load, enum kind kind, struct dice *dice)
{
    SSL_SESSION **place = &load->sessions[kind][dice_below(dice, SESSIONS_KEPT)];
    SSL_SESSION *session = *place;
    *place = NULL;
    return session;
}

int pair_keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct end *end = SSL_get_app_data(ssl);
    if (SSL_version(ssl) != TLS1_3_VERSION || end == NULL || end->pair == NULL) {
        return 0;
    }
    uint64_t place = dice_mix(end->pair->number) % SESSIONS_KEPT;
    SSL_SESSION_free(end->load->sessions[end->pair->kind][place]);
    end->load->sessions[end->pair->kind][place] = session;
    return 1;
}

static void choose_tls(struct pair *pair, struct end *client)
{
    struct load *load = client->load;
    SSL *ssl = client->wire.ssl;
    SSL_set_app_data(ssl, client);
    if (dice_one_in(&client->dice, ONE_IN_TLS12)) {
        (void)SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
    } else if (!dice_one_in(&client->dice, 3)) {
        SSL_SESSION *session = take_session(load, pair->kind, &client->dice);
        if (session != NULL) {
            pair->offered = SSL_set_session(ssl, session) == 1;
            load->totals.offered += pair->offered;
            SSL_SESSION_free(session);
        }
    }
}

void pair_open(struct load *load, uint64_t slot)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    struct end *client = new_end(load, CLIENT);
    if (pair == NULL) {
        abort();
    }
    pair->number = load->serial++ * load->slots + slot;
    pair->kind = (enum kind)(slot % KIND_COUNT);
    plan(client, pair);
    pair->closer = dice_one_in(&client->dice, 3) ? (enum side)dice_below(&client->dice, 2) : NOBODY;
    load->pairs[slot] = pair;
    load->live++;
    SSL_CTX *ctx = pair->kind == KIND_ORIGINATE ? NULL : load->client;
    if (!wire_dial(&client->wire, load->ports[pair->kind], ctx,
                   dice_one_in(&client->dice, ONE_IN_SMALL))) {
        pair_fail(client, wire_error());
        return;
    }
    if (ctx != NULL) {
        choose_tls(pair, client);
    }
    pair_register(client);
    stalls_begin(&pair->handshake, kernel_now_ns(), load->busy_ns);
}

void pair_accept(struct load *load, int fd, bool tls)
{
    struct end *end = new_end(load, SERVER);
    if (!wire_accepted(&end->wire, fd, tls ? load->server : NULL)) {
        pair_fail(end, wire_error());
        return;
    }
    if (tls && dice_mix(load->seed + load->turn) % ONE_IN_TLS12 == 0) {
        (void)SSL_set_max_proto_version(end->wire.ssl, TLS1_2_VERSION);
    }
    pair_register(end);
}

static void note_handshake(struct end *end)
{
    struct totals *totals = &end->load->totals;
    if (end->wire.ssl != NULL) {
        end->version = SSL_version(end->wire.ssl);
        end->resumed = SSL_session_reused(end->wire.ssl) == 1;
        totals->handshakes++;
        totals->resumed += end->resumed;
        totals->tls12 += end->version == TLS1_2_VERSION;
    }
}

bool pair_proceed(struct end *end)
{
    struct load *load = end->load;
    if (end->pair != NULL) {
        struct stall_place place = pair_handshake_place(end->pair);
        stalls_over(&end->pair->handshake, &place, load->former_call_ns, load->busy_ns);
    }
    enum wire_result result = wire_proceed(&end->wire);
    if (result == WIRE_BROKEN || result == WIRE_END) {
        pair_fail(end, wire_error());
        return false;
    }
    if (result == WIRE_WAIT) {
        if (end->pair != NULL) {
            stalls_begin(&end->pair->handshake, kernel_now_ns(), load->busy_ns);
        }
        pair_update_events(end);
        return false;
    }
    note_handshake(end);
    return true;
}

bool pair_identify(struct end *end)
{
    struct load *load = end->load;
    while (end->number_len < NUMBER_BYTES) {
        size_t got = 0;
        enum wire_result result = wire_read(&end->wire, end->number + end->number_len,
                                            NUMBER_BYTES - end->number_len, &got);
        if (result == WIRE_WAIT) {
            pair_update_events(end);
            return false;
        }
        if (result != WIRE_OK) {
            pair_fail(end, "a connection that ended before its number");
            return false;
        }
        end->number_len += got;
    }
    uint64_t number = 0;
    for (int i = 0; i < NUMBER_BYTES; i++) {
        number |= (uint64_t)end->number[i] << (8 * i);
    }
    struct pair *pair = load->pairs[number % load->slots];
    if (pair == NULL || pair->number != number || pair->ends[SERVER] != NULL) {
        pair_fail(end, "a connection with the number of no pair");
        return false;
    }
    pair_arrived(pair, CLIENT);
    plan(end, pair);
    pair->directions[CLIENT].received = NUMBER_BYTES;
    return true;
}
