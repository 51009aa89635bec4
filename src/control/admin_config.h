/* admin_config: the answer to GET /config, made while it is sent. Control thread. */
#ifndef BULKHEAD_CONTROL_ADMIN_CONFIG_H
#define BULKHEAD_CONTROL_ADMIN_CONFIG_H

#include <stdbool.h>

struct control;
struct http_stream;

/* False: memory is out. */
bool admin_config_stream(struct control *control, struct http_stream *out);

#endif
