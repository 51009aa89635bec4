/*
 * reason: why a session was refused or ended. One table, reasons.def, makes the enum, the label in
 * logs, whose fault it is, and the sentence for people; another, reason_advice.def, what to do.
 */
#ifndef BULKHEAD_BASE_REASON_H
#define BULKHEAD_BASE_REASON_H

enum reason {
#define REASON(name, label, fault, sentence) REASON_##name,
#include "base/reasons.def"
#undef REASON
    REASON_COUNT
};

/* Whose doing it was: nobody's (a normal end), the downstream's or upstream's (either peer), the
   operator's (policy, configuration), ours; or what admitted a session has ended. */
enum fault { FAULT_NONE, FAULT_PEER, FAULT_POLICY, FAULT_UPSTREAM, FAULT_LOCAL, FAULT_AUTHORITY };

const char *reason_label(enum reason reason);
const char *reason_sentence(enum reason reason);
enum fault reason_fault(enum reason reason);
const char *reason_advice(enum reason reason);
const char *fault_name(enum fault fault);     /* "peer", … */
const char *fault_sentence(enum fault fault); /* "the peer's doing", … */

#endif
