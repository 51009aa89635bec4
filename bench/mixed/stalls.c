#include "stalls.h"

#include <string.h>

enum {
    NS_PER_MS = 1000000,
    SAMPLE_NS = 20 * NS_PER_MS,
    SAMPLES = 4096, /* 80 s */
    LOOK_FIRST_NS = 40 * NS_PER_MS,
    LOOK_NS = 20 * NS_PER_MS,
    NOTABLE_NS = 100 * NS_PER_MS
};

static struct kernel_sample samples[SAMPLES];
static uint64_t taken;
static struct stall_totals totals;

static const char *const phase_names[] = {
    [STALL_HANDSHAKE] = "handshake",
    [STALL_OPEN] = "open",
    [STALL_RELAY] = "relay",
    [STALL_END] = "end",
};

static double ms(uint64_t ns)
{
    return (double)ns / NS_PER_MS;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

void stalls_open(void)
{
    taken = 0;
    totals = (struct stall_totals){0};
}

void stalls_sample(uint64_t now_ns)
{
    if (taken == 0 || now_ns - samples[(taken - 1) % SAMPLES].at_ns >= SAMPLE_NS) {
        kernel_look(&samples[taken++ % SAMPLES]);
    }
}

/* The last one before that time. */
static const struct kernel_sample *sample_before(uint64_t at_ns)
{
    uint64_t oldest = taken > SAMPLES ? taken - SAMPLES : 0;
    uint64_t i = taken;
    while (i > oldest + 1 && samples[(i - 1) % SAMPLES].at_ns > at_ns) {
        i--;
    }
    return &samples[(i - 1) % SAMPLES];
}

void stalls_begin(struct stall *stall, uint64_t now_ns, uint64_t busy_ns)
{
    *stall = (struct stall){.since_ns = now_ns, .busy_ns = busy_ns};
}

void stalls_forget(struct stall *stall)
{
    stall->since_ns = 0;
}

/* A send queue holds what was received already until the acknowledgement comes, up to 200 ms. */
static bool is_held(const struct kernel_socket *from, const struct kernel_socket *to, bool dialled)
{
    uint64_t written = from->acked + from->send_queue - (dialled && from->acked > 0);
    return from->found && from->send_queue > 0 && to->receive_queue == 0 && written > to->received;
}

static void look(struct stall *stall, const struct stall_place *place, uint64_t now_ns)
{
    bool held = false;
    for (int hop = 0; hop < place->hops; hop++) {
        const struct sockaddr_in *from = place->hop[hop][0];
        const struct sockaddr_in *to = place->hop[hop][1];
        struct kernel_socket *pair = &stall->sockets[2 * hop];
        kernel_find(from, to, &pair[0]);
        kernel_find(to, from, &pair[1]);
        held = held || is_held(&pair[0], &pair[1], place->dialled[hop]);
    }
    if (stall->looked_ns == 0) {
        memcpy(stall->former, stall->sockets, sizeof(stall->former));
    }
    if (held) {
        stall->kernel_ns += now_ns - (stall->looked_ns != 0 ? stall->looked_ns : stall->since_ns);
    }
    stall->looked_ns = now_ns;
}

void stalls_still(struct stall *stall, const struct stall_place *place, uint64_t until_ns)
{
    if (stall->since_ns == 0 || until_ns < stall->since_ns + LOOK_FIRST_NS) {
        return;
    }
    uint64_t now_ns = kernel_now_ns();
    if (now_ns - stall->looked_ns >= LOOK_NS) {
        look(stall, place, now_ns);
    }
}

static uint64_t most_more(const uint64_t *before, const uint64_t *after, int count)
{
    uint64_t most = 0;
    for (int i = 0; i < count; i++) {
        uint64_t more = less(after[i], before[i]);
        most = more > most ? more : most;
    }
    return most;
}

/* What bulkhead had to wait for a CPU between two samples, however it came. */
static uint64_t waited_for_cpu(const struct kernel_sample *a, const struct kernel_sample *b)
{
    uint64_t threads = most_more(a->waited_ns, b->waited_ns, KERNEL_THREADS_MAX);
    uint64_t softirqs = most_more(a->softirq_ns, b->softirq_ns, KERNEL_CPUS_MAX);
    uint64_t stolen = most_more(a->stolen_ns, b->stolen_ns, KERNEL_CPUS_MAX);
    return (threads > softirqs ? threads : softirqs) + stolen;
}

static void print_sockets(const struct stall *stall, int hops)
{
    static const char *const names[] = {"in_from", "in_to", "out_from", "out_to"};
    printf(", \"sockets\": {");
    for (int i = 0; i < 2 * hops; i++) {
        const struct kernel_socket *now = &stall->sockets[i], *was = &stall->former[i];
        printf(
            "%s\"%s\": {\"send_queue\": %u, \"receive_queue\": %u, \"timer\": %u, \"tries\": %u, "
            "\"retransmits\": %u, \"retransmits_before\": %u, \"drops\": %u}",
            i > 0 ? ", " : "", names[i], now->send_queue, now->receive_queue, now->timer,
            now->tries, now->retransmits, was->retransmits, now->drops);
    }
    printf("}");
}

static void print_counters(const struct kernel_sample *a, const struct kernel_sample *b)
{
    const char *comma = "";
    printf(", \"counters\": {");
    for (int i = 0; i < KERNEL_COUNTER_COUNT; i++) {
        if (b->counters[i] > a->counters[i]) {
            printf("%s\"%s\": %llu", comma, kernel_counter_name((enum kernel_counter)i),
                   (unsigned long long)(b->counters[i] - a->counters[i]));
            comma = ", ";
        }
    }
    printf("}");
}

/* Takes the longer explanation for the cause. */
static const char *classify(uint64_t left, uint64_t kernel, uint64_t cpu)
{
    if (left > (uint64_t)STALL_MAX_MS * NS_PER_MS) {
        totals.unexplained++;
        return "unexplained";
    }
    if (kernel >= cpu) {
        totals.by_kernel++;
        return "kernel";
    }
    totals.by_cpu++;
    return "cpu";
}

static void report(const struct stall *stall, const struct stall_place *place, uint64_t length)
{
    struct kernel_sample after;
    const struct kernel_sample *before = sample_before(stall->since_ns);
    kernel_look(&after);
    uint64_t cpu = waited_for_cpu(before, &after);
    if (place->phase == STALL_OPEN) {
        cpu += less(after.own_waited_ns, before->own_waited_ns);
    }
    uint64_t left = less(length, stall->kernel_ns + cpu);
    const char *cause = classify(left, stall->kernel_ns, cpu);
    totals.longest_left_ms = ms(left) > totals.longest_left_ms ? ms(left) : totals.longest_left_ms;
    printf("{\"event\": \"stall\", \"cause\": \"%s\", \"pair\": %llu, \"kind\": \"%s\", "
           "\"direction\": \"%s\", \"phase\": \"%s\", \"ms\": %.1f, \"kernel_ms\": %.1f, "
           "\"cpu_ms\": %.1f, \"left_ms\": %.1f",
           cause, (unsigned long long)place->pair, place->kind, place->direction,
           phase_names[place->phase], ms(length), ms(stall->kernel_ns), ms(cpu), ms(left));
    print_sockets(stall, place->hops);
    print_counters(before, &after);
    printf("}\n");
}

void stalls_over(struct stall *stall, const struct stall_place *place, uint64_t until_ns,
                 uint64_t busy_ns)
{
    if (stall->since_ns == 0) {
        return;
    }
    uint64_t length = less(until_ns, stall->since_ns);
    if (place->phase == STALL_OPEN) {
        length = less(length, busy_ns - stall->busy_ns);
    }
    totals.longest_ms = ms(length) > totals.longest_ms ? ms(length) : totals.longest_ms;
    totals.over_100_ms += length > NOTABLE_NS;
    if (length > (uint64_t)STALL_MAX_MS * NS_PER_MS) {
        report(stall, place, length);
    }
    stalls_forget(stall);
}

const struct stall_totals *stalls_totals(void)
{
    return &totals;
}
