/*
 * admin_identity: the answers to GET /identity and GET /trust: certificates, dates and where they
 * come from; never a key. mem_free the text; NULL: memory is out. Control thread.
 */
#ifndef BULKHEAD_CONTROL_ADMIN_IDENTITY_H
#define BULKHEAD_CONTROL_ADMIN_IDENTITY_H

#include <stddef.h>

struct control;

char *admin_identity_json(const struct control *control, size_t *len);
char *admin_trust_json(const struct control *control, size_t *len);

#endif
