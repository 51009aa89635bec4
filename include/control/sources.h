/*
 * sources: the files that a snapshot is made of, and the last good state of each: configuration
 * (with policy), our own SVID, each trust domain's bundle, each trust domain's CRLs, and the
 * quarantine, which is in the configuration's files and in a file of its own.
 *
 * They are independent: at a reload a source that can't be read or is wrong keeps its own last
 * good state, and the others go through. At a start every one must be good. Time alone breaks
 * nothing: what has expired is loaded, and a warning. Of the quarantine a broken file adds what can
 * be understood, and so does `quarantine` in a configuration that is refused for anything else in
 * it: nothing takes an entry out of force but a file that is good and lacks it.
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
struct snapshot;
struct sources;
struct tls_session_store;

enum sources_scope {
    SOURCES_CREDENTIALS = 0, /* SVID, bundles, CRLs, quarantine file; not the configuration */
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
 * A candidate out of what can be read now and, where that is broken, the last good. Errors name
 * what was kept. config_path: another file to read instead of ours, or NULL. Never NULL; the
 * caller gives it to sources_commit or material_free. *config_refused: the file is wrong, and the
 * former configuration stands in the candidate.
 */
struct material *sources_prepare(const struct sources *sources, enum sources_scope scope,
                                 const char *config_path, struct diag_list *diags,
                                 bool *config_refused);
/* The candidate's configuration can't be had after all: the one in force stays, and the candidate's
   quarantine is added to what is in force. */
void sources_refuse_setup(const struct sources *sources, struct material *candidate);
/* What is in force, with what the candidate holds in quarantine added. The caller's. */
struct material *sources_quarantine_alone(const struct sources *sources,
                                          const struct material *candidate);
/* The candidate is now what is in force. Takes it over. */
void sources_commit(struct sources *sources, struct material *candidate);

#endif
