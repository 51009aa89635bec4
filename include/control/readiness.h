/*
 * readiness: whether the process lives, whether it can serve, and why not.
 *
 * It lives while every worker's loop goes round (control/pulse.h). It is ready while it lives, is
 * not stopping, our own SVID is valid, at least one trust domain can vouch for somebody, and every
 * listener is open. What is wrong beside that, and keeps nobody else from being served, is a
 * detail: one trust domain of several that admits nobody, `tests` that fail, an open door. Worked
 * out when it is asked for. Control thread.
 */
#ifndef BULKHEAD_CONTROL_READINESS_H
#define BULKHEAD_CONTROL_READINESS_H

#include <stdbool.h>
#include <stddef.h>

struct bytebuf;
struct control;
struct http_call;

enum { READINESS_ITEMS_MAX = 32, READINESS_TEXT_SIZE = 384 };

enum readiness_weight {
    READINESS_DETAIL = 0, /* worth knowing */
    READINESS_NOT_READY,  /* nobody should be sent here */
    READINESS_NOT_ALIVE   /* only a restart helps */
};

struct readiness_item {
    enum readiness_weight weight;
    const char *code; /* "svid_expired": a name for programs, a constant */
    char text[READINESS_TEXT_SIZE];
};

struct readiness {
    bool live;
    bool ready;
    struct readiness_item items[READINESS_ITEMS_MAX];
    size_t count;
    size_t left_out; /* items that had no room */
};

void readiness_look(const struct control *control, struct readiness *out);
/* For who looks at a part of it: one more item. One that has no room still counts for live and
 * ready. */
void readiness_add(struct readiness *readiness, enum readiness_weight weight, const char *code,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

/*
 * GET /livez and GET /readyz: 200 `ok`, or 503 with the reasons, `CODE: SENTENCE` on a line each.
 * With ?json, or when Accept names application/json, one JSON object, which has the details too:
 * to anyone who reaches the probes' listener by their codes alone, as a text may say where the
 * wall can be passed by.
 */
enum readiness_caller { READINESS_TO_OPERATOR, READINESS_TO_ANYONE };
void readiness_answer_live(const struct control *control, struct http_call *call);
void readiness_answer_ready(const struct control *control, struct http_call *call,
                            enum readiness_caller caller);

#endif
