/*
 * reason: the table reasons.def as an array; the enum is its index.
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
