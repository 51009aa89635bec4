/*
 * grpc_http2: the bytes of one gRPC call: what to send, and what has come. No socket, no time.
 *
 * For net/ and tests. One thread.
 */
#ifndef BULKHEAD_NET_GRPC_HTTP2_H
#define BULKHEAD_NET_GRPC_HTTP2_H

#include "net/grpc_call.h"

struct grpc_http2;

/* With the request waiting to be sent. options are used during the call only, but for their
   constants. NULL: memory is out. */
struct grpc_http2 *grpc_http2_new(const struct grpc_call_options *options);
void grpc_http2_free(struct grpc_http2 *http2); /* NULL is fine */
/* Bytes from the server. They are not kept; the caller wipes them. */
void grpc_http2_feed(struct grpc_http2 *http2, const uint8_t *data, size_t len);
/* The server has closed the connection. */
void grpc_http2_feed_end(struct grpc_http2 *http2);
/* The next bytes to send, valid until the next call; 0: none now. */
size_t grpc_http2_output(struct grpc_http2 *http2, const uint8_t **data);
void grpc_http2_ping(struct grpc_http2 *http2);

/* The last message that has come since it was asked last; valid until the next call. False: none.
 */
bool grpc_http2_answer(struct grpc_http2 *http2, const uint8_t **message, size_t *len);
/* Has an answer begun that is not whole? */
bool grpc_http2_is_inside(const struct grpc_http2 *http2);
/* True: nothing more will come; why is in *end, valid as long as http2. */
bool grpc_http2_has_ended(const struct grpc_http2 *http2, struct grpc_end *end);

#endif
