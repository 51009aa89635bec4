/*
 * sources: the files that a snapshot is made of, and the last good state of each: configuration
 * (with policy), our own SVID, each trust domain's bundle, each trust domain's CRLs.
 *
 * They are independent: at a reload a source that can't be read or is wrong keeps its own last
 * good state, and the others go through. At a start every one must be good. Time alone breaks
 * nothing: what has expired is loaded, and a warning.
 *
 * Nothing takes effect here: a candidate is prepared beside what is in force, looked at, and then
 * committed or thrown away. Control thread and cli.
 */
#ifndef BULKHEAD_CONTROL_SOURCES_H
#define BULKHEAD_CONTROL_SOURCES_H

#include "config/diag.h"
#include "control/material.h"

#include <stdbool.h>
#include <stdint.h>

struct crypto;
struct setup;
struct snapshot;
struct sources;
struct tls_session_store;

enum sources_scope {
    SOURCES_CREDENTIALS = 0, /* SVID, bundles, CRLs; the configuration stays as it is */
    SOURCES_ALL
};

/* path is copied. sessions: for listeners that resume; NULL: none does. Reads nothing yet. */
struct sources *sources_new(const char *path, const struct crypto *crypto,
                            struct tls_session_store *sessions);
void sources_free(struct sources *sources); /* NULL is fine */
/* The start, and `check`: everything, all errors at once. False when there is any. Then the
   material is in force. */
bool sources_load(struct sources *sources, struct diag_list *diags)
    __attribute__((warn_unused_result));
/* What is in force; NULL before sources_load. */
const struct material *sources_in_force(const struct sources *sources);
/*
 * Whether a setup that has been read could be served; adds the error when not. Asked before the
 * files that the new configuration names are read: when it is refused, none of them counts.
 */
typedef bool sources_serve_fn(void *arg, const struct setup *setup, struct diag_list *diags);

struct sources_request {
    enum sources_scope scope;
    const char *config_path;     /* another file to read instead of ours, or NULL */
    sources_serve_fn *can_serve; /* NULL: every setup can. Not asked about the one in force */
    void *arg;
};

/*
 * A candidate out of what can be read now and, where that is broken, the last good. Errors name
 * what was kept. Never NULL; the caller gives it to sources_commit or material_free.
 * *config_refused: the file is wrong or can't be served; the former configuration stands in the
 * candidate, with the credentials that are now in the places that the former names.
 */
struct material *sources_prepare(const struct sources *sources,
                                 const struct sources_request *request, struct diag_list *diags,
                                 bool *config_refused);
/* The candidate is now what is in force. Takes it over. */
void sources_commit(struct sources *sources, struct material *candidate);

#endif
