/*
 * reason: the tables reasons.def and reason_advice.def as arrays; the enum is their index.
 */
#include "base/reason.h"

#include "base/assert.h"

struct row {
    const char *label;
    const char *sentence;
    enum fault fault;
};

static const struct row rows[REASON_COUNT] = {
#define REASON(name, label_text, whose_fault, sentence_text) \
    [REASON_##name] = {.label = (label_text), .sentence = (sentence_text), .fault = (whose_fault)},
#include "base/reasons.def"
#undef REASON
};

static const char *const advice[REASON_COUNT] = {
#define ADVICE(name, what_to_do) [REASON_##name] = (what_to_do),
#include "base/reason_advice.def"
#undef ADVICE
};

static const struct row *row_of(enum reason reason)
{
    ASSERT((unsigned)reason < REASON_COUNT);
    return &rows[reason];
}

const char *reason_label(enum reason reason)
{
    return row_of(reason)->label;
}

const char *reason_sentence(enum reason reason)
{
    return row_of(reason)->sentence;
}

enum fault reason_fault(enum reason reason)
{
    return row_of(reason)->fault;
}

const char *reason_advice(enum reason reason)
{
    ASSERT((unsigned)reason < REASON_COUNT);
    return advice[reason];
}

const char *fault_name(enum fault fault)
{
    static const char *const names[] = {
        [FAULT_NONE] = "none",         [FAULT_PEER] = "peer",   [FAULT_POLICY] = "policy",
        [FAULT_UPSTREAM] = "upstream", [FAULT_LOCAL] = "local", [FAULT_AUTHORITY] = "authority"};
    return names[fault];
}

const char *fault_sentence(enum fault fault)
{
    static const char *const sentences[] = {
        [FAULT_NONE] = "nobody's: a normal end",
        [FAULT_PEER] = "the peer's: the caller, or a server by its certificate",
        [FAULT_POLICY] = "the operator's: the policy or the configuration says so",
        [FAULT_UPSTREAM] = "the upstream's",
        [FAULT_LOCAL] = "bulkhead's or its host's",
        [FAULT_AUTHORITY] = "what admitted the session has ended",
    };
    return sentences[fault];
}
