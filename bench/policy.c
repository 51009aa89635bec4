/*
 * policy: what it costs to load rules, to keep them, and to decide by them, by their number.
 *
 * Each size is measured several times, each time in a process of its own, so that memory is that of
 * one load and nothing is warm; the medians are printed as a table, with the least behind them.
 * CPU time is the process's own. The configuration is written to a file first; what is read is what
 * `bulkhead check --offline` reads.
 *
 *     build/release/bench/policy [--rounds N]
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <yaml.h>

#include "base/assert.h"
#include "base/memory.h"
#include "policy/explain.h"
#include "policy/lint.h"
#include "policy/policy.h"

enum { ROUNDS_MAX = 25, QUESTIONS = 1 << 16, FEW = 100, TURNS = 4, SIZES = 4 };

struct size {
    const char *name;
    unsigned rules;
    unsigned ids_each;
};

static const struct size sizes[SIZES] = {
    {"100 rules", 100, 1},
    {"10,000 rules", 10000, 1},
    {"100,000 rules", 100000, 1},
    {"100,000 rules, 1,000,000 IDs", 100000, 10},
};

/* What one process measures. */
enum {
    EVENTS_MS,
    DECODE_MS,
    POLICY_MS,
    LOAD_MS,
    HIT_NS,
    FEW_NS,
    MISS_NS,
    NEAR_NS,
    PROBES,
    LINT_MS,
    CONFIG_MIB,
    POLICY_MIB,
    PEAK_MIB,
    FIGURES
};

static const struct {
    const char *name;
    const char *format;
} figures[FIGURES] = {
    [EVENTS_MS] = {"CPU of libyaml's events alone, ms", "%.1f"},
    [DECODE_MS] = {"CPU of reading and decoding the file, ms", "%.1f"},
    [POLICY_MS] = {"CPU of compiling the policy, ms", "%.1f"},
    [LOAD_MS] = {"CPU of the whole load, ms", "%.1f"},
    [HIT_NS] = {"decision, allowed, any of all IDs at random, ns", "%.0f"},
    [FEW_NS] = {"decision, allowed, one of 100 IDs, ns", "%.0f"},
    [MISS_NS] = {"decision, no rule, any ID at random, ns", "%.0f"},
    [NEAR_NS] = {"sentence of a denial, with the nearest rule, ns", "%.0f"},
    [PROBES] = {"slots looked at for a decision", "%.1f"},
    [LINT_MS] = {"CPU of what `check` says beyond, ms", "%.1f"},
    [CONFIG_MIB] = {"memory of the configuration, MiB", "%.1f"},
    [POLICY_MIB] = {"memory of the policy, MiB", "%.1f"},
    [PEAK_MIB] = {"the most that the process had resident, MiB", "%.1f"},
};

/* --- the file -------------------------------------------------------------------------------- */

static void write_id(char *out, size_t size, unsigned number, const char *more)
{
    (void)snprintf(out, size, "spiffe://prod.example/ns/team-%u/sa/service-%u%s", number % 997,
                   number, more);
}

static void write_rules(FILE *file, const struct size *size)
{
    char id[128];
    for (unsigned i = 0; i < size->rules; i++) {
        fprintf(file, "- name: rule-%u\n  from:%s", i, size->ids_each == 1 ? " [" : "\n");
        for (unsigned k = 0; k < size->ids_each; k++) {
            write_id(id, sizeof(id), i * size->ids_each + k, "");
            fprintf(file, size->ids_each == 1 ? "%s]\n" : "  - %s\n", id);
        }
        fputs("  to: [orders]\n", file);
    }
}

static void write_config(const char *path, const struct size *size)
{
    FILE *file = fopen(path, "w");
    ASSERT(file != NULL);
    fputs("version: 1\n"
          "identity: {files: {certificate: a.pem, private_key: a.key}}\n"
          "trust: {prod.example: {bundle: a.pem}}\n"
          "listeners:\n"
          "- {name: orders, accept: 'mtls://0.0.0.0:8443', forward: 'tcp://127.0.0.1:8080'}\n"
          "rules:\n",
          file);
    write_rules(file, size);
    ASSERT(fclose(file) == 0);
}

/* --- measuring ------------------------------------------------------------------------------- */

static double cpu_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double heap_mib(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd) / 1048576;
}

static double peak_mib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kib = strtod(line + 6, NULL);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return kib / 1024;
}

static double measure_events(const char *path)
{
    FILE *file = fopen(path, "r");
    yaml_parser_t parser;
    yaml_event_t event;
    bool done = false;
    double before = cpu_ms();
    ASSERT(file != NULL && yaml_parser_initialize(&parser) == 1);
    yaml_parser_set_input_file(&parser, file);
    while (!done) {
        ASSERT(yaml_parser_parse(&parser, &event) == 1);
        done = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    (void)fclose(file);
    return cpu_ms() - before;
}

struct questions {
    char (*texts)[96];
    struct spiffe_id *ids;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* of: how many of the IDs are asked about. */
static struct questions make_questions(unsigned of, const char *more)
{
    struct questions q = {.texts = mem_alloc_array(QUESTIONS, sizeof(*q.texts)),
                          .ids = mem_alloc_array(QUESTIONS, sizeof(*q.ids))};
    uint64_t random = 0x5eed;
    for (size_t i = 0; i < QUESTIONS; i++) {
        const char *why = NULL;
        write_id(q.texts[i], sizeof(q.texts[i]), (unsigned)(next_random(&random) % of), more);
        ASSERT(spiffe_id_parse(strview_from(q.texts[i]), &q.ids[i], &why) == 0);
    }
    return q;
}

static void free_questions(struct questions *q)
{
    mem_free(q->texts);
    mem_free(q->ids);
}

static double decide_ns(const struct policy *policy, unsigned of, const char *more,
                        enum verdict wanted, bool explained)
{
    struct questions q = make_questions(of, more);
    struct decision decision;
    char sentence[512];
    double before = cpu_ms();
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < QUESTIONS; i++) {
            struct policy_input input = {.id = &q.ids[i], .now_s = 1};
            policy_decide(policy, &input, &decision);
            ASSERT(decision.verdict == wanted);
            if (explained) {
                explain_decision(policy, &input, &decision, sentence, sizeof(sentence));
            }
        }
    }
    double ns = (cpu_ms() - before) * 1e6 / (TURNS * (double)QUESTIONS);
    free_questions(&q);
    return ns;
}

static double probes(const struct config *config, unsigned of)
{
    /* The same rules in a matcher of our own: a policy does not tell. */
    struct id_matcher *matcher = id_matcher_new();
    for (size_t i = 0; i < config->rule_count; i++) {
        uint32_t set = id_matcher_set_new(matcher);
        id_matcher_set_grant(matcher, set, 1, (uint32_t)i, ID_EFFECT_ALLOW, ID_ENDS_NEVER);
        for (size_t k = 0; k < config->rules[i].from.count; k++) {
            struct id_pattern pattern;
            const char *why = NULL;
            ASSERT(id_pattern_parse(strview_from(config->rules[i].from.items[k].text), &pattern,
                                    &why) == 0);
            ASSERT(id_matcher_set_add(matcher, set, &pattern));
        }
    }
    ASSERT(id_matcher_freeze(matcher));
    struct questions q = make_questions(of, "");
    uint64_t sum = 0;
    for (size_t i = 0; i < QUESTIONS; i++) {
        struct id_match match;
        id_matcher_match(matcher, &q.ids[i], 1, 1, &match);
        sum += match.probes;
    }
    free_questions(&q);
    id_matcher_free(matcher);
    return (double)sum / QUESTIONS;
}

static void measure(const char *path, const struct size *size, double out[FIGURES])
{
    unsigned ids = size->rules * size->ids_each;
    out[EVENTS_MS] = measure_events(path);
    struct diag_list diags;
    diag_list_init(&diags);
    double heap = heap_mib();
    double began = cpu_ms();
    struct config *config = config_load(path, NULL, &diags);
    double decoded = cpu_ms();
    double config_heap = heap_mib();
    struct policy *policy = policy_load(config, &diags);
    double compiled = cpu_ms();
    out[CONFIG_MIB] = config_heap - heap;
    out[POLICY_MIB] = heap_mib() - config_heap;
    out[PEAK_MIB] = peak_mib();
    out[DECODE_MS] = decoded - began;
    out[POLICY_MS] = compiled - decoded;
    out[LOAD_MS] = compiled - began;
    ASSERT(policy != NULL && config->valid && diags.count == 0);
    out[HIT_NS] = decide_ns(policy, ids, "", VERDICT_ALLOW, false);
    out[FEW_NS] = decide_ns(policy, FEW, "", VERDICT_ALLOW, false);
    out[MISS_NS] = decide_ns(policy, ids, "x", VERDICT_DENY, false);
    out[NEAR_NS] = decide_ns(policy, ids, "x", VERDICT_DENY, true) - out[MISS_NS];
    out[PROBES] = probes(config, ids);
    double before = cpu_ms();
    lint_run(policy, 1, LINT_CHECK, &diags);
    out[LINT_MS] = cpu_ms() - before;
    policy_free(policy);
    config_free(config);
    diag_list_fini(&diags);
}

/* In a process of its own. */
static void measure_apart(const char *path, const struct size *size, double out[FIGURES])
{
    int ends[2];
    ASSERT(pipe(ends) == 0);
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        measure(path, size, out);
        ssize_t sent = write(ends[1], out, FIGURES * sizeof(*out));
        _exit(sent == (ssize_t)(FIGURES * sizeof(*out)) ? 0 : 1);
    }
    (void)close(ends[1]);
    ssize_t got = read(ends[0], out, FIGURES * sizeof(*out));
    (void)close(ends[0]);
    int status = 0;
    ASSERT(waitpid(child, &status, 0) == child);
    if (got != (ssize_t)(FIGURES * sizeof(*out)) || status != 0) {
        fprintf(stderr, "policy: %s: the measurement failed\n", size->name);
        exit(1);
    }
}

/* --- the table ------------------------------------------------------------------------------- */

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static void print_cell(const double rounds[ROUNDS_MAX][FIGURES], unsigned count, int figure)
{
    double values[ROUNDS_MAX];
    char text[64];
    for (unsigned i = 0; i < count; i++) {
        values[i] = rounds[i][figure];
    }
    qsort(values, count, sizeof(*values), by_value);
    (void)snprintf(text, sizeof(text), "%s (%s)", figures[figure].format, figures[figure].format);
    printf(" | ");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    printf(text, values[count / 2], values[0]);
#pragma GCC diagnostic pop
}

int main(int argc, char **argv)
{
    static double all[SIZES][ROUNDS_MAX][FIGURES];
    unsigned rounds =
        argc == 3 && strcmp(argv[1], "--rounds") == 0 ? (unsigned)strtoul(argv[2], NULL, 10) : 5;
    if (rounds < 1 || rounds > ROUNDS_MAX || (argc != 1 && argc != 3)) {
        fprintf(stderr, "usage: policy [--rounds 1...%d]\n", (int)ROUNDS_MAX);
        return 2;
    }
    char path[] = "/tmp/bulkhead-bench-XXXXXX";
    int fd = mkstemp(path);
    ASSERT(fd >= 0);
    (void)close(fd);
    for (int i = 0; i < SIZES; i++) {
        write_config(path, &sizes[i]);
        for (unsigned round = 0; round < rounds; round++) {
            measure_apart(path, &sizes[i], all[i][round]);
        }
    }
    (void)unlink(path);
    printf("| median (least) of %u", rounds);
    for (int i = 0; i < SIZES; i++) {
        printf(" | %s", sizes[i].name);
    }
    puts(" |\n|---|---|---|---|---|");
    for (int figure = 0; figure < FIGURES; figure++) {
        printf("| %s", figures[figure].name);
        for (int i = 0; i < SIZES; i++) {
            print_cell((const double(*)[FIGURES])all[i], rounds, figure);
        }
        puts(" |");
    }
    return 0;
}
