/* admin_peers: GET /peers. Control thread. */
#ifndef BULKHEAD_CONTROL_ADMIN_PEERS_H
#define BULKHEAD_CONTROL_ADMIN_PEERS_H

struct control;
struct http_call;

/* The parameters that it takes. */
#define ADMIN_PEERS_PARAMETERS "identity limit"

enum { ADMIN_PEERS_LIMIT = 1000, ADMIN_PEERS_LIMIT_MAX = 10000 };

/* Answers the call. */
void admin_peers(struct control *control, struct http_call *call);

#endif
