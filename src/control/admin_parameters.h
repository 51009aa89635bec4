/*
 * admin_parameters: what calls of the admin socket say in their query, with a refusal when it is
 * not what it must be. Control thread.
 */
#ifndef BULKHEAD_CONTROL_ADMIN_PARAMETERS_H
#define BULKHEAD_CONTROL_ADMIN_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

struct http_call;
struct id_pattern;

/* Each returns false when it has refused the call. */
/* A copy, the caller's; *out is NULL when it is not there. Never empty, and without a NUL. */
bool admin_parameter_text(struct http_call *call, const char *name, char **out);
/* Decimal, 1 to max; *out stays when it is not there. */
bool admin_parameter_number(struct http_call *call, const char *name, uint64_t max, uint64_t *out);
/* `identity`: a SPIFFE ID or a pattern, which points into *text, the caller's; NULL: not there. */
bool admin_parameter_identity(struct http_call *call, char **text, struct id_pattern *pattern);

#endif
