/*
 * places: what a configuration needs of the file system besides the files that it reads. Asked
 * before anything is opened, so that `check` says it too, each with its place.
 * Control thread and cli.
 */
#ifndef BULKHEAD_CONTROL_PLACES_H
#define BULKHEAD_CONTROL_PLACES_H

struct config;
struct diag_list;

/* An error when the access log could not be opened. Makes nothing. */
void places_check_logs(const struct config *config, struct diag_list *diags);
/* A warning for each Unix socket in whose place anybody could put his own. */
void places_warn_sockets(const struct config *config, struct diag_list *diags);

#endif
