#include "pair_private.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum { FAILURES_SHOWN = 20 };

static const char *const kind_names[] = {"in", "out", "bridge"};

const char *pair_kind_name(enum kind kind)
{
    return kind_names[kind];
}

/* ---- ends and failures ---- */

void pair_close_end(struct end *end)
{
    if (!end->closed) {
        end->closed = true;
        wire_close(&end->wire);
    }
}

/* Events of this turn may still name it. */
static void drop_end(struct end *end)
{
    if (end != NULL) {
        pair_close_end(end);
        end->next = end->load->dropped;
        end->load->dropped = end;
    }
}

void pair_sweep(struct load *load)
{
    while (load->dropped != NULL) {
        struct end *end = load->dropped;
        load->dropped = end->next;
        free(end);
    }
}

static void drop_pair(struct pair *pair, struct load *load)
{
    drop_end(pair->ends[CLIENT]);
    drop_end(pair->ends[SERVER]);
    load->pairs[pair->number % load->slots] = NULL;
    load->live--;
    free(pair);
}

static void tell_failure(struct load *load, const struct pair *pair, enum side side,
                         const char *what)
{
    if (load->totals.failures++ < FAILURES_SHOWN) {
        printf("{\"event\": \"wrong\", \"pair\": %lld, \"kind\": \"%s\", \"at\": \"%s\", "
               "\"what\": \"%s\"}\n",
               pair != NULL ? (long long)pair->number : -1,
               pair != NULL ? pair_kind_name(pair->kind) : "", side == CLIENT ? "client" : "server",
               what);
    }
}

void pair_fail(struct end *end, const char *what)
{
    struct load *load = end->load;
    tell_failure(load, end->pair, end->side, what);
    if (end->pair != NULL) {
        drop_pair(end->pair, load);
    } else {
        drop_end(end);
    }
}

void pair_finish(struct pair *pair, struct load *load)
{
    const struct end *client = pair->ends[CLIENT], *server = pair->ends[SERVER];
    struct totals *totals = &load->totals;
    uint64_t up = pair->directions[CLIENT].received, down = pair->directions[SERVER].received;
    totals->pairs[pair->kind]++;
    totals->bytes += up + down;
    printf("{\"event\": \"pair\", \"kind\": \"%s\", \"port\": %u, \"up\": %llu, \"down\": %llu, "
           "\"client\": %d, \"client_resumed\": %d, \"server\": %d, \"server_resumed\": %d}\n",
           pair_kind_name(pair->kind), ntohs(client->wire.local.sin_port), (unsigned long long)up,
           (unsigned long long)down, client->version, client->resumed, server->version,
           server->resumed);
    drop_pair(pair, load);
}

/* ---- what is awaited ---- */

static bool is_awaited(const struct pair *pair, enum side source)
{
    const struct direction *direction = &pair->directions[source];
    const struct end *from = pair->ends[source], *to = pair->ends[pair_other(source)];
    if (from == NULL || direction->seen_end || !(from->closed || from->wire.open)) {
        return false;
    }
    bool waiting = direction->sent > direction->received || direction->sent_end ||
                   (!from->closed && from->wire.wants_write);
    return waiting && (to == NULL || (!to->closed && to->reading));
}

void pair_watch(struct pair *pair, enum side source)
{
    struct load *load = pair->ends[CLIENT]->load;
    struct stall *stall = &pair->directions[source].stall;
    if (!is_awaited(pair, source)) {
        stalls_forget(stall);
    } else if (stall->since_ns == 0) {
        stalls_begin(stall, kernel_now_ns(), load->busy_ns);
    }
}

struct stall_place pair_handshake_place(const struct pair *pair)
{
    const struct wire *wire = &pair->ends[CLIENT]->wire;
    return (struct stall_place){
        .pair = pair->number,
        .kind = pair_kind_name(pair->kind),
        .direction = "both",
        .phase = STALL_HANDSHAKE,
        .hops = 2,
        .hop = {{&wire->local, &wire->remote}, {&wire->remote, &wire->local}},
        .dialled = {true, false},
    };
}

static struct stall_place place_of(const struct pair *pair, enum side source)
{
    const struct wire *from = &pair->ends[source]->wire;
    const struct end *to = pair->ends[pair_other(source)];
    const struct direction *direction = &pair->directions[source];
    struct stall_place place = {
        .pair = pair->number,
        .kind = pair_kind_name(pair->kind),
        .direction = source == CLIENT ? "up" : "down",
        .phase = direction->sent > direction->received ? STALL_RELAY : STALL_END,
        .hops = 2,
        .hop = {{&from->local, &from->remote}},
        .dialled = {source == CLIENT, source == CLIENT},
    };
    if (to == NULL) {
        place.phase = STALL_OPEN;
        place.hops = 1;
    } else {
        place.hop[1][0] = &to->wire.remote;
        place.hop[1][1] = &to->wire.local;
    }
    return place;
}

void pair_arrived(struct pair *pair, enum side source)
{
    struct load *load = pair->ends[CLIENT]->load;
    struct stall_place place = place_of(pair, source);
    stalls_over(&pair->directions[source].stall, &place, load->former_call_ns, load->busy_ns);
}

/* ---- epoll ---- */

void pair_update_events(struct end *end)
{
    if (end->closed) {
        return;
    }
    bool seen_end = end->pair != NULL && end->pair->directions[pair_other(end->side)].seen_end;
    uint32_t events = end->wire.wants_write ? EPOLLOUT : 0;
    if ((end->reading && !seen_end) || (!end->wire.open && !end->wire.wants_write)) {
        events |= EPOLLIN;
    }
    if (events != end->events) {
        struct epoll_event event = {.events = events, .data.ptr = end};
        (void)epoll_ctl(end->load->epoll, EPOLL_CTL_MOD, end->wire.fd, &event);
        end->events = events;
    }
}

void pair_register(struct end *end)
{
    struct epoll_event event = {.events = end->wire.wants_write ? EPOLLOUT : EPOLLIN,
                                .data.ptr = end};
    end->events = event.events;
    (void)epoll_ctl(end->load->epoll, EPOLL_CTL_ADD, end->wire.fd, &event);
}

/* ---- each turn ---- */

void pair_on_events(struct end *end, uint32_t events)
{
    if (end->closed) {
        return;
    }
    end->turn = end->load->turn;
    if (!end->wire.open && !pair_proceed(end)) {
        return;
    }
    if (end->pair == NULL && !pair_identify(end)) {
        return;
    }
    struct pair *pair = end->pair;
    bool was_blocked = end->wire.wants_write;
    if (events & EPOLLOUT) {
        end->wire.wants_write = false;
    }
    if (events & (EPOLLHUP | EPOLLERR)) {
        if (pair->directions[pair_other(end->side)].seen_end) {
            pair_fail(end, "reset after its end");
            return;
        }
        end->reading = true;
    }
    if (end->reading && !pair->directions[pair_other(end->side)].seen_end) {
        if (events & ~(uint32_t)EPOLLOUT) {
            pair_arrived(pair, pair_other(end->side));
        }
        if (!pair_receive(end)) {
            return;
        }
    }
    if (end->closed) {
        return;
    }
    if (end->ending && was_blocked && !pair->directions[end->side].sent_end &&
        !pair_end_direction(end)) {
        return;
    }
    if (pair_send(end, kernel_now_ns())) {
        pair_update_events(end);
    }
}

static void still_waits(struct pair *pair, enum side source)
{
    struct end *to = pair->ends[pair_other(source)];
    struct load *load = pair->ends[CLIENT]->load;
    if (pair->directions[source].stall.since_ns != 0 && (to == NULL || to->turn != load->turn)) {
        struct stall_place place = place_of(pair, source);
        stalls_still(&pair->directions[source].stall, &place, load->call_ns);
    }
}

static uint64_t soonest(uint64_t due_ns, const struct end *end)
{
    if (end == NULL || end->closed || !end->wire.open) {
        return due_ns;
    }
    if (!end->reading && end->read_ns < due_ns) {
        due_ns = end->read_ns;
    }
    const struct pair *pair = end->pair;
    bool ends = pair->closer == NOBODY || pair->closer == end->side;
    bool sends = end->message_left > 0 || (!pair->closing && (end->messages_left > 0 || ends));
    if (!sends || end->ending || end->wire.wants_write) {
        return due_ns;
    }
    return end->wake_ns < due_ns ? end->wake_ns : due_ns;
}

static bool turn_end(struct end *end, uint64_t now_ns)
{
    if (end == NULL || end->closed || !end->wire.open) {
        return true;
    }
    if (!end->reading && (now_ns >= end->read_ns || !end->load->going)) {
        end->reading = true;
        if (!pair_receive(end)) {
            return false;
        }
        pair_update_events(end);
    }
    return end->closed || end->turn == end->load->turn || pair_send(end, now_ns);
}

uint64_t pair_turn(struct pair *pair, uint64_t now_ns)
{
    struct end *client = pair->ends[CLIENT];
    struct load *load = client->load;
    if (!client->wire.open && !client->closed && client->turn != load->turn) {
        struct stall_place place = pair_handshake_place(pair);
        stalls_still(&pair->handshake, &place, load->call_ns);
    }
    still_waits(pair, CLIENT);
    still_waits(pair, SERVER);
    for (int side = 0; side < 2; side++) {
        if (!turn_end(pair->ends[side], now_ns)) {
            return UINT64_MAX;
        }
    }
    if (pair->closing && !pair->directions[pair->closer].sent_end && !pair_close_altogether(pair)) {
        return UINT64_MAX;
    }
    return soonest(soonest(UINT64_MAX, client), pair->ends[SERVER]);
}

void pair_give_up(struct pair *pair)
{
    struct load *load = pair->ends[CLIENT]->load;
    for (int side = 0; side < 2; side++) {
        if (pair->ends[side] != NULL && pair->directions[side].stall.since_ns != 0) {
            struct stall_place place = place_of(pair, (enum side)side);
            stalls_over(&pair->directions[side].stall, &place, load->call_ns, load->busy_ns);
        }
    }
    pair_fail(pair->ends[CLIENT], "never ended");
}
