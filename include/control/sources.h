/*
 * sources: the files that a snapshot is made of, and the last good state of each: configuration
 * (with policy), our own SVID, each trust domain's bundle, each trust domain's CRLs, and the
 * quarantine, which is in the configuration's files and in a file of its own.
 *
 * Our SVID may come from the Workload API instead of a file, and then bundles and CRLs too
 * (control/workload_material.h): a start goes without until they are there.
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

#include "config/config.h"
#include "config/diag.h"
#include "control/material.h"

#include <stdbool.h>
#include <stdint.h>

struct crypto;
struct setup;
struct snapshot;
struct sources;
struct tls_session_store;
struct workload_update;

enum sources_scope {
    SOURCES_CREDENTIALS = 0, /* SVID, bundles, CRLs, quarantine file; not the configuration */
    SOURCES_ALL
};

/* path is copied; options (may be NULL) count for every load, what they point to is not copied.
   sessions: for listeners that resume; NULL: none does. Reads nothing yet. */
struct sources *sources_new(const char *path, const struct config_options *options,
                            struct tls_session_store *sessions);
/* After everything that was made of what it gave, of the crypto above all. NULL is fine. */
void sources_free(struct sources *sources);
/* The start: everything, all errors at once. False when there is any; else the
   material is in force. The first load, or sources_check, decides which library context there is
   (`tls.provider`). `tests` of the configuration that fail are counted in it and in diags, and
   stop no start. */
bool sources_load(struct sources *sources, struct diag_list *diags)
    __attribute__((warn_unused_result));
enum sources_check {
    SOURCES_CHECK_ALL = 0,
    SOURCES_CHECK_OFFLINE /* the configuration's files alone: no SVID, bundle, CRL, nor any place
                             on this host; then the material in force is a setup and no more */
};
/* The same for whoever asks what is wrong, with all that can be said of the rules. */
bool sources_check(struct sources *sources, enum sources_check what, struct diag_list *diags)
    __attribute__((warn_unused_result));
/* What is in force; NULL before sources_load. */
const struct material *sources_in_force(const struct sources *sources);
/* In which everything is loaded, and ours; NULL before sources_load. */
const struct crypto *sources_crypto(const struct sources *sources);
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
 * *config_refused: the file is wrong, one of its `tests` fails, or it can't be served; the former
 * configuration stands in the candidate, with the credentials that are now in the places that the
 * former names, and the quarantine of the refused one is added to that of the former.
 */
struct material *sources_prepare(const struct sources *sources,
                                 const struct sources_request *request, struct diag_list *diags,
                                 bool *config_refused);
/* What is in force, with what the candidate holds in quarantine added. The caller's. */
struct material *sources_quarantine_alone(const struct sources *sources,
                                          const struct material *candidate);
/* What the Workload API has given last; counts from the next load on. Takes a reference of its own;
   NULL: nothing has come from whom is asked now. */
void sources_set_workload(struct sources *sources, struct workload_update *update);
/* The candidate is now what is in force. Takes it over. */
void sources_commit(struct sources *sources, struct material *candidate);

#endif
