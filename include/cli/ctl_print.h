/* ctl_print: the admin socket's answers for people. */
#ifndef BULKHEAD_CLI_CTL_PRINT_H
#define BULKHEAD_CLI_CTL_PRINT_H

#include <stdio.h>

struct json_t;

void ctl_print_reload(struct json_t *answer, FILE *out);
void ctl_print_sessions(struct json_t *answer, FILE *out);
void ctl_print_terminated(struct json_t *answer, FILE *out);
/* Adds to each rule where it stands. */
void ctl_print_rules(struct json_t *answer, FILE *out);
void ctl_print_identity(struct json_t *answer, FILE *out);
void ctl_print_trust(struct json_t *answer, FILE *out);
void ctl_print_peers(struct json_t *answer, FILE *out);
void ctl_print_log_level(struct json_t *answer, FILE *out);
void ctl_print_drain(struct json_t *answer, FILE *out);
/* Adds to each key a remark. */
void ctl_print_config(struct json_t *answer, FILE *out);
/* The exit code that goes with a reload's answer. */
int ctl_reload_code(struct json_t *answer);

#endif
