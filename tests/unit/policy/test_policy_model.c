/*
 * Random configurations and questions, answered three times: by policy_decide, by the findings that
 * `bulkhead explain` prints, and by a model that stands here alone: it keeps what it wrote into the
 * configuration's text as plain strings, and knows nothing of patterns, matchers or the decoded
 * configuration. The three must agree in everything that a decision holds.
 *
 * Each configuration has a seed; a failure prints it, and `test_policy_model SEED` asks it alone.
 */
#include "base/memory.h"
#include "unit/policy/policy_text.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#if !defined(__OPTIMIZE__)
#define SLOW 1
#endif
#ifndef SLOW
#define SLOW 0
#endif

enum {
    QUESTIONS = 1000,
    CONFIGURATIONS = SLOW ? 100 : 1000, /* a million questions */
    RULES_MAX = 16,
    ENTRIES_MAX = 4,
    GROUPS_MAX = 4,
    HELD_MAX = 3,
    TEXT_SIZE = 72,
    LISTENERS = 4
};

/* --- the model's words -------------------------------------------------------------------------
 */

enum model_listener { M_IN, M_EDGE, M_BRIDGE, M_OUT };
static const char *const listener_names[LISTENERS] = {"in", "edge", "bridge", "out"};

/* An entry of `from` or of a group: a text, or a group of a lower number. */
struct entry {
    char text[TEXT_SIZE]; /* "": a group */
    unsigned group;
};

struct entries {
    struct entry items[ENTRIES_MAX];
    unsigned count;
};

struct model_rule {
    bool denies;
    enum { M_ENFORCE, M_SHADOW, M_DISABLED } mode;
    int end; /* in ends; -1: never */
    bool to_all;
    bool to[LISTENERS];
    struct entries from;
};

struct model {
    struct model_rule rules[RULES_MAX];
    unsigned rule_count;
    struct entries groups[GROUPS_MAX];
    unsigned group_count;
    char held[HELD_MAX][TEXT_SIZE];
    unsigned held_count;
    bool leaf_held;
    bool audit[LISTENERS];
};

static const struct {
    const char *text;
    int64_t s;
} ends[] = {
    {"2020-01-01", 1577836800},
    {"2020-01-01T00:00:01Z", 1577836801},
    {"2021-06-30T12:00:00+02:00", 1625047200},
    {"2030-12-31T23:59:59Z", 1924991999},
};

static const char *const leaf_text =
    "sha256:01020304000000000000000000000000000000000000000000000000000000ff";
static const uint8_t leaf_bytes[32] = {1, 2, 3, 4, [31] = 0xff};
static const uint8_t other_bytes[32] = {1, 2, 3, 4, [31] = 0xfe};

/* --- the model's answers -----------------------------------------------------------------------
 */

/* Cuts off the first piece up to a slash. */
static bool next_piece(const char **text, size_t *len)
{
    if (**text == '\0') {
        return false;
    }
    *text += **text == '/';
    *len = strcspn(*text, "/");
    return true;
}

/* As the README says it: `*` is exactly one whole segment, `**`, last, one or more; the trust
   domain is compared as it stands. */
static bool text_matches(const char *pattern, const char *id)
{
    pattern += strlen("spiffe://");
    id += strlen("spiffe://");
    for (bool domain = true;; domain = false) {
        size_t pattern_len = 0;
        size_t id_len = 0;
        bool more = next_piece(&pattern, &pattern_len);
        bool more_of_id = next_piece(&id, &id_len);
        if (!more || !more_of_id) {
            return more == more_of_id;
        }
        if (!domain && pattern_len == 2 && memcmp(pattern, "**", 2) == 0) {
            return true;
        }
        bool star = !domain && pattern_len == 1 && *pattern == '*';
        if (!star && (pattern_len != id_len || memcmp(pattern, id, id_len) != 0)) {
            return false;
        }
        pattern += pattern_len;
        id += id_len;
    }
}

static bool same_domain(const char *pattern, const char *id)
{
    size_t len = strcspn(pattern + strlen("spiffe://"), "/") + strlen("spiffe://");
    return strncmp(pattern, id, len) == 0 && (id[len] == '/' || id[len] == '\0');
}

typedef bool text_test(const char *pattern, const char *id);

static bool any_entry(const struct model *model, const struct entries *entries, const char *id,
                      text_test *test)
{
    for (unsigned i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->items[i];
        if (entry->text[0] != '\0' ? test(entry->text, id)
                                   : any_entry(model, &model->groups[entry->group], id, test)) {
            return true;
        }
    }
    return false;
}

static bool is_for(const struct model_rule *rule, unsigned listener)
{
    return rule->to_all || rule->to[listener];
}

static bool is_over(const struct model_rule *rule, int64_t now_s)
{
    return rule->end >= 0 && ends[rule->end].s <= now_s;
}

struct question {
    char id[TEXT_SIZE];
    unsigned listener;
    int64_t now_s;
    const uint8_t *leaf;
};

/* The first rule of this action and mode that counts; -1. */
static int first_rule(const struct model *model, const struct question *q, bool denies, int mode)
{
    for (unsigned i = 0; i < model->rule_count; i++) {
        const struct model_rule *rule = &model->rules[i];
        if (rule->denies == denies && (int)rule->mode == mode && !is_over(rule, q->now_s) &&
            is_for(rule, q->listener) && any_entry(model, &rule->from, q->id, text_matches)) {
            return (int)i;
        }
    }
    return -1;
}

static bool is_held(const struct model *model, const struct question *q)
{
    for (unsigned i = 0; i < model->held_count; i++) {
        if (text_matches(model->held[i], q->id)) {
            return true;
        }
    }
    return model->leaf_held && q->leaf == leaf_bytes;
}

struct answer {
    bool allow;
    bool held;
    bool would_deny;
    int rule; /* -1: none */
    int64_t until_s;
    int shadow_allow;
    int shadow_deny;
    bool shadow_verdict;
    int shadow_rule;
};

static int lower(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static struct answer model_answer(const struct model *model, const struct question *q)
{
    struct answer answer = {
        .rule = -1, .until_s = INT64_MAX, .shadow_allow = -1, .shadow_deny = -1, .shadow_rule = -1};
    if (q->listener == M_OUT) {
        answer.allow = true;
        return answer;
    }
    if (is_held(model, q)) {
        answer.held = true;
        return answer;
    }
    int deny = first_rule(model, q, true, M_ENFORCE);
    int allow = first_rule(model, q, false, M_ENFORCE);
    answer.shadow_deny = first_rule(model, q, true, M_SHADOW);
    answer.shadow_allow = first_rule(model, q, false, M_SHADOW);
    answer.rule = deny >= 0 ? deny : allow;
    answer.allow = deny < 0 && (allow >= 0 || model->audit[q->listener]);
    answer.would_deny = answer.allow && allow < 0;
    if (answer.allow && allow >= 0 && model->rules[allow].end >= 0) {
        answer.until_s = ends[model->rules[allow].end].s;
    }
    int denies = lower(deny, answer.shadow_deny);
    int allows = lower(allow, answer.shadow_allow);
    answer.shadow_rule = denies >= 0 ? denies : allows;
    answer.shadow_verdict = denies < 0 && allows >= 0;
    return answer;
}

/* --- random configurations ---------------------------------------------------------------------
 */

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545f4914f6cdd1dU) >> 32);
}

static bool chance(uint64_t *random, unsigned percent)
{
    return next_random(random) % 100 < percent;
}

static void random_text(uint64_t *random, bool pattern, char out[TEXT_SIZE])
{
    static const char *const domains[] = {"a.example", "a.example", "a.example", "b.example",
                                          "a.exampl"};
    static const char *const segments[] = {"a", "b", "ab", "c", "*", "*"};
    int len = snprintf(out, TEXT_SIZE, "spiffe://%s", domains[next_random(random) % 5]);
    unsigned count = 1 + next_random(random) % 4;
    for (unsigned i = 0; i < count; i++) {
        const char *segment = segments[next_random(random) % (pattern ? 6 : 4)];
        if (pattern && i + 1 == count && chance(random, 25)) {
            segment = "**";
        }
        len += snprintf(out + len, TEXT_SIZE - (size_t)len, "/%s", segment);
    }
}

static void random_entries(uint64_t *random, unsigned groups, struct entries *entries)
{
    entries->count = 1 + next_random(random) % ENTRIES_MAX;
    for (unsigned i = 0; i < entries->count; i++) {
        if (groups > 0 && chance(random, 20)) {
            entries->items[i].group = next_random(random) % groups;
        } else {
            random_text(random, true, entries->items[i].text);
        }
    }
}

static void random_rule(uint64_t *random, const struct model *model, struct model_rule *rule)
{
    rule->denies = chance(random, 25);
    rule->mode = chance(random, 60) ? M_ENFORCE : chance(random, 75) ? M_SHADOW : M_DISABLED;
    rule->end = chance(random, 30) ? (int)(next_random(random) % COUNT_OF(ends)) : -1;
    rule->to_all = chance(random, 20);
    rule->to[next_random(random) % M_OUT] = true;
    rule->to[next_random(random) % M_OUT] = true;
    random_entries(random, model->group_count, &rule->from);
}

static void random_model(uint64_t *random, struct model *model)
{
    *model = (struct model){.group_count = next_random(random) % (GROUPS_MAX + 1)};
    for (unsigned i = 0; i < model->group_count; i++) {
        random_entries(random, i, &model->groups[i]);
    }
    model->rule_count = next_random(random) % (RULES_MAX + 1);
    for (unsigned i = 0; i < model->rule_count; i++) {
        random_rule(random, model, &model->rules[i]);
    }
    model->held_count = next_random(random) % (HELD_MAX + 1);
    for (unsigned i = 0; i < model->held_count; i++) {
        random_text(random, true, model->held[i]);
    }
    model->leaf_held = chance(random, 50);
    for (unsigned i = 0; i < M_OUT; i++) {
        model->audit[i] = chance(random, 30);
    }
}

static void random_question(uint64_t *random, struct question *q)
{
    random_text(random, false, q->id);
    q->listener = next_random(random) % LISTENERS;
    q->now_s = ends[next_random(random) % COUNT_OF(ends)].s - 1 + next_random(random) % 3;
    q->now_s = chance(random, 10) ? INT64_MIN : q->now_s;
    q->leaf = chance(random, 60) ? NULL : chance(random, 20) ? leaf_bytes : other_bytes;
}

/* --- as the text of a configuration ------------------------------------------------------------
 */

struct text {
    char bytes[32 * 1024];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, format, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof(text->bytes) - text->len);
    text->len += (size_t)len;
}

static void add_entries(struct text *text, const struct entries *entries)
{
    for (unsigned i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->items[i];
        if (entry->text[0] == '\0') {
            add(text, "%sgroup:g%u", i == 0 ? "[" : ", ", entry->group);
        } else {
            add(text, "%s'%s'", i == 0 ? "[" : ", ", entry->text);
        }
    }
    add(text, "]");
}

static void add_rule(struct text *text, const struct model_rule *rule, unsigned number)
{
    static const char *const modes[] = {"enforce", "shadow", "disabled"};
    add(text, "- {name: r%u, action: %s, mode: %s, from: ", number, rule->denies ? "deny" : "allow",
        modes[rule->mode]);
    add_entries(text, &rule->from);
    add(text, ", to: [%s", rule->to_all ? "all" : "");
    bool first = !rule->to_all;
    for (unsigned i = 0; i < M_OUT; i++) {
        if (rule->to[i]) {
            add(text, "%s%s", first ? "" : ", ", listener_names[i]);
            first = false;
        }
    }
    add(text, "]");
    if (rule->end >= 0) {
        add(text, ", expires: '%s'", ends[rule->end].text);
    }
    add(text, "}\n");
}

static void write_text(const struct model *model, struct text *text)
{
    static const char *const forwards[LISTENERS] = {"tcp://[::1]:2", "tcp://[::1]:2",
                                                    "mtls://a.b:5", "mtls://a.b:5"};
    text->len = 0;
    add(text, "version: 1\nidentity: {files: {certificate: a.pem, private_key: a.key}}\n"
              "trust: {a.example: {bundle: a.pem}, b.example: {bundle: b.pem}}\nlisteners:\n");
    for (unsigned i = 0; i < LISTENERS; i++) {
        add(text, "- {name: %s, accept: '%s:%u', forward: '%s'", listener_names[i],
            i == M_OUT ? "tcp://127.0.0.1" : "mtls://0.0.0.0", i + 1, forwards[i]);
        add(text, "%s%s}\n", i >= M_BRIDGE ? ", expect: 'spiffe://a.example/pay'" : "",
            model->audit[i] ? ", enforcement: audit" : "");
    }
    add(text, "rules:%s\n", model->rule_count == 0 ? " []" : "");
    for (unsigned i = 0; i < model->rule_count; i++) {
        add_rule(text, &model->rules[i], i);
    }
    for (unsigned i = 0; i < model->group_count; i++) {
        add(text, "%s  g%u: ", i == 0 ? "groups:\n" : "", i);
        add_entries(text, &model->groups[i]);
        add(text, "\n");
    }
    add(text, "quarantine: [%s", model->leaf_held ? leaf_text : "");
    for (unsigned i = 0; i < model->held_count; i++) {
        add(text, "%s'%s'", i > 0 || model->leaf_held ? ", " : "", model->held[i]);
    }
    add(text, "]\n");
}

/* --- the three held against each other ---------------------------------------------------------
 */

struct world {
    struct model model;
    struct text text;
    struct text_policy p;
    struct quarantine *quarantine;
    uint64_t seed;
};

static int index_of(const struct world *world, const struct policy_rule *rule)
{
    return rule == NULL ? -1 : (int)policy_rule_index(world->p.policy, rule);
}

static bool same_answer(const struct world *world, const struct answer *wanted,
                        const struct decision *is)
{
    bool shadow = is->shadow.allow != NULL || is->shadow.deny != NULL;
    return (is->verdict == VERDICT_ALLOW) == wanted->allow &&
           (is->reason == REASON_NONE) == wanted->allow &&
           (is->quarantine != NULL) == wanted->held && is->would_deny == wanted->would_deny &&
           index_of(world, is->rule) == wanted->rule && is->until_s == wanted->until_s &&
           index_of(world, is->shadow.allow) == wanted->shadow_allow &&
           index_of(world, is->shadow.deny) == wanted->shadow_deny &&
           (!shadow || ((is->shadow.verdict == VERDICT_ALLOW) == wanted->shadow_verdict &&
                        index_of(world, is->shadow.rule) == wanted->shadow_rule));
}

static enum clause clause_of(const struct model *model, const struct model_rule *rule,
                             const struct question *q)
{
    if (!any_entry(model, &rule->from, q->id, text_matches)) {
        return CLAUSE_FROM;
    }
    if (!is_for(rule, q->listener)) {
        return CLAUSE_TO;
    }
    if (rule->mode == M_DISABLED) {
        return CLAUSE_MODE;
    }
    return is_over(rule, q->now_s) ? CLAUSE_EXPIRES : CLAUSE_NONE;
}

/* Each rule's clause is the model's; those left out are far; and what matches decides. */
static bool same_findings(const struct world *world, const struct question *q,
                          const struct findings *findings, const struct decision *is)
{
    const struct model *model = &world->model;
    size_t far = 0;
    int first[2][2] = {{-1, -1}, {-1, -1}}; /* [shadow][denies] */
    for (unsigned i = 0; i < model->rule_count; i++) {
        const struct model_rule *rule = &model->rules[i];
        far += clause_of(model, rule, q) == CLAUSE_FROM &&
               (!is_for(rule, q->listener) || !any_entry(model, &rule->from, q->id, same_domain));
    }
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        int index = index_of(world, finding->rule);
        const struct model_rule *rule = &model->rules[index];
        if (finding->failed != clause_of(model, rule, q)) {
            return false;
        }
        if (finding->failed == CLAUSE_NONE) {
            int *slot = &first[rule->mode == M_SHADOW][rule->denies];
            *slot = lower(*slot, index);
        }
    }
    int rule = first[0][1] >= 0 ? first[0][1] : first[0][0];
    return far == findings->far && findings->count + far == model->rule_count &&
           (is->quarantine != NULL || (rule == index_of(world, is->rule) &&
                                       first[1][0] == index_of(world, is->shadow.allow) &&
                                       first[1][1] == index_of(world, is->shadow.deny)));
}

/* The rule that the sentence of a denial names is the first enforced allow of the findings. */
static bool same_nearest(const struct world *world, const struct question *q,
                         const struct findings *findings, const char *sentence)
{
    int nearest = -1;
    for (size_t i = 0; i < findings->count && nearest < 0; i++) {
        const struct finding *finding = &findings->items[i];
        int index = index_of(world, finding->rule);
        const struct model_rule *rule = &world->model.rules[index];
        bool over_elsewhere = finding->failed == CLAUSE_TO && is_over(rule, q->now_s);
        if (!rule->denies && rule->mode == M_ENFORCE && !over_elsewhere) {
            nearest = index;
        }
    }
    const char *name = strstr(sentence, "rule \"r");
    if (nearest < 0) {
        return strncmp(sentence, "no ", 3) == 0 && strstr(sentence, "in segment") == NULL;
    }
    /* With nobody to allow on the listener at all, that is what is said. */
    return name == NULL ? strstr(sentence, "names listener") != NULL
                        : atoi(name + strlen("rule \"r")) == nearest;
}

static void fail_question(const struct world *world, const struct question *q, const char *what)
{
    fail_msg("seed %llu: %s: %s to %s at %lld, leaf %d\n%s", (unsigned long long)world->seed, what,
             q->id, listener_names[q->listener], (long long)q->now_s, q->leaf == leaf_bytes,
             world->text.bytes);
}

static void ask(const struct world *world, const struct question *q)
{
    struct spiffe_id id;
    const char *why = NULL;
    char sentence[512];
    struct decision decision;
    struct findings findings;
    assert_int_equal(spiffe_id_parse(strview_from(q->id), &id, &why), 0);
    const struct policy_input input = {.id = &id,
                                       .leaf_sha256 = q->leaf,
                                       .listener = q->listener,
                                       .now_s = q->now_s,
                                       .quarantine = world->quarantine};
    memset(&decision, 0xff, sizeof(decision));
    policy_decide(world->p.policy, &input, &decision);
    struct answer wanted = model_answer(&world->model, q);
    if (!same_answer(world, &wanted, &decision)) {
        fail_question(world, q, "policy_decide and the model");
    }
    explain_decision(world->p.policy, &input, &decision, sentence, sizeof(sentence));
    if (q->listener == M_OUT) {
        return;
    }
    findings_collect(&findings, world->p.policy, &input);
    if (!same_findings(world, q, &findings, &decision)) {
        fail_question(world, q, "the findings and the model");
    }
    if (!wanted.held && wanted.rule < 0 && !same_nearest(world, q, &findings, sentence)) {
        fail_question(world, q, sentence);
    }
    findings_fini(&findings);
}

static struct quarantine *held_of(const struct config *config)
{
    const char *entries[HELD_MAX + 1];
    assert_true(config->quarantine.count <= COUNT_OF(entries));
    for (size_t i = 0; i < config->quarantine.count; i++) {
        entries[i] = config->quarantine.items[i].text;
    }
    return quarantine_build(entries, config->quarantine.count);
}

/* How often each kind of answer came. */
struct tally {
    size_t allowed, denied, no_rule, held, would_deny, shadow, ended;
};

static void count_answer(struct tally *tally, const struct answer *answer)
{
    tally->allowed += answer->allow && answer->rule >= 0;
    tally->denied += !answer->allow && answer->rule >= 0;
    tally->no_rule += !answer->allow && answer->rule < 0 && !answer->held;
    tally->held += answer->held;
    tally->would_deny += answer->would_deny;
    tally->shadow += answer->shadow_rule >= 0;
    tally->ended += answer->until_s != INT64_MAX;
}

static void ask_about_one(uint64_t seed, struct tally *tally)
{
    static struct world world;
    uint64_t random = (seed + 1) * 0x9e3779b97f4a7c15U;
    world.seed = seed;
    random_model(&random, &world.model);
    write_text(&world.model, &world.text);
    world.p = policy_of(world.text.bytes);
    if (world.p.policy == NULL) {
        fail_msg("seed %llu: %s\n%s", (unsigned long long)seed, world.p.diags.items[0].message,
                 world.text.bytes);
    }
    world.quarantine = held_of(world.p.config);
    for (unsigned i = 0; i < QUESTIONS; i++) {
        struct question q;
        random_question(&random, &q);
        ask(&world, &q);
        struct answer answer = model_answer(&world.model, &q);
        count_answer(tally, &answer);
    }
    quarantine_unref(world.quarantine);
    policy_end(&world.p);
}

static void test_policy_findings_and_a_naive_model_agree(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (uint64_t seed = 0; seed < CONFIGURATIONS; seed++) {
        ask_about_one(seed, &tally);
    }
    print_message(
        "seeds 0 to %d, %d questions each: %zu allowed by a rule, %zu denied by one, %zu by "
        "none, %zu held, %zu let through by audit, %zu with shadow rules, %zu that end\n",
        CONFIGURATIONS - 1, (int)QUESTIONS, tally.allowed, tally.denied, tally.no_rule, tally.held,
        tally.would_deny, tally.shadow, tally.ended);
    const size_t enough = (size_t)CONFIGURATIONS * QUESTIONS / 200;
    assert_true(tally.allowed > enough && tally.denied > enough && tally.no_rule > enough);
    assert_true(tally.held > enough && tally.would_deny > enough && tally.shadow > enough);
    assert_true(tally.ended > enough);
}

static uint64_t only_seed;

static void test_one_seed(void **state)
{
    (void)state;
    struct tally tally = {0};
    ask_about_one(only_seed, &tally);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_policy_findings_and_a_naive_model_agree),
    };
    const struct CMUnitTest one[] = {
        cmocka_unit_test(test_one_seed),
    };
    if (argc == 2) {
        only_seed = strtoull(argv[1], NULL, 10);
        return cmocka_run_group_tests(one, NULL, NULL);
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
