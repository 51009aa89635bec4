/*
 * quarantine_source: where the quarantine comes from: `quarantine` in the configuration's files,
 * and the file that quarantine_file names, with an entry on each line, `#` comments and blank
 * lines.
 *
 * What is wrong with an entry is told with its place and what would be right, and keeps no other
 * entry out. Control thread and cli.
 */
#ifndef BULKHEAD_CONTROL_QUARANTINE_SOURCE_H
#define BULKHEAD_CONTROL_QUARANTINE_SOURCE_H

#include "config/diag.h"

#include <stdbool.h>

struct config;
struct material;
struct quarantine;

enum { QUARANTINE_FILE_MAX_BYTES = 16 * 1024 * 1024 };

/* The entries of `quarantine` in all files that can be understood; the others are errors. Never
   NULL; one reference. */
struct quarantine *quarantine_source_inline(const struct config *config, struct diag_list *diags);
/*
 * Those of quarantine_file, an empty set where none is configured. NULL when the file can't be
 * read, and *broken when a line can't be understood: errors, which end in `kept`, a text that says
 * what that means for the lines that were in force before.
 */
struct quarantine *quarantine_source_file(const struct config *config, const char *kept,
                                          struct diag_list *diags, bool *broken);
/* What is in one or the other, which may be NULL: another reference of one that has it all, or a
   new set. */
struct quarantine *quarantine_source_join(struct quarantine *a, struct quarantine *b);
/*
 * Brings both into the material, which holds what was in force before, or nothing at a start.
 * in_files is taken over: what quarantine_source_inline gave, or NULL when the files were not read.
 * One that is refused adds what its entries say and takes nothing away, and so does a file that is
 * broken: in an incident, nothing that is wrong elsewhere may hold an entry back.
 */
void quarantine_source_bring(struct material *material, const struct config *config,
                             struct quarantine *in_files, bool refused, struct diag_list *diags);
/* Both sources as a start has them, for a question that nothing was in force before. Never NULL. */
struct quarantine *quarantine_source_load(const struct config *config, struct diag_list *diags);

#endif
