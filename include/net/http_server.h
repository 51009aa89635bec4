/*
 * http_server: a small HTTP/1.1 server for administration, on a loop that does other things too.
 *
 * One request per connection (the answer says Connection: close), parsed by http_request.h; what it
 * refuses is answered here. Time, memory and the number of connections are bounded, and nothing
 * blocks. The thread of the loop only.
 */
#ifndef BULKHEAD_NET_HTTP_SERVER_H
#define BULKHEAD_NET_HTTP_SERVER_H

#include "base/bytebuf.h"
#include "base/errbuf.h"
#include "net/http_request.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct http_server;
/* A request that waits for its answer. */
struct http_call;

/* Answers now, or keeps the call and answers later; then it must set http_call_on_gone. May free
   the server. */
typedef void http_handler_fn(void *arg, struct http_call *call);
/* The client has gone before the answer, or the server is freed: the call is over. It may not be
   answered any more, and not be touched after the return. */
typedef void http_gone_fn(void *arg);

/* A newcomer beyond `connections`. */
enum http_full {
    HTTP_FULL_WAITS = 0,  /* stays in the kernel's queue until another has ended */
    HTTP_FULL_OLDEST_GOES /* whoever came first is closed: slow clients can't keep the others out,
                             where anybody may connect */
};

struct http_server_options {
    size_t connections; /* at once; 0: 16 */
    enum http_full full;
    uint64_t request_ms; /* from the connect to the last byte of the request; 0: 5 s */
    uint64_t stall_ms;   /* a client that takes nothing of the answer; 0: 10 s */
    uint64_t answer_ms;  /* or takes it too slowly, in all, a stream too; 0: 60 s */
};

/*
 * listen_fd: a listening socket, non-blocking, Unix or TCP (net/listener.h); stays the caller's and
 * must live longer. options: NULL for the defaults; copied. NULL with err: memory is out.
 */
struct http_server *http_server_new(struct loop *loop, int listen_fd,
                                    const struct http_server_options *options,
                                    http_handler_fn *handler, void *arg, struct errbuf *err);
/* Closes all connections at once; calls that wait hear that they are gone. Also from inside a
   callback, but for those it makes itself. NULL is fine. */
void http_server_free(struct http_server *server);

/* Both good until the answer, or until the call is gone. */
const struct http_request *http_call_request(const struct http_call *call);
struct strview http_call_body(const struct http_call *call);
/* Who connected, of a Unix socket. False: that is not known. */
bool http_call_peer_uid(const struct http_call *call, uid_t *uid);
/* fn: NULL for none. */
void http_call_on_gone(struct http_call *call, http_gone_fn *fn, void *arg);

/*
 * A body that is made while it is sent, so that none of its size ever stands in memory. Chunked
 * (RFC 9112 7.1); to an HTTP/1.0 client, as it comes until the connection closes. A client that
 * knows chunks sees when it was cut short.
 */
enum http_piece { HTTP_PIECE_MORE = 0, HTTP_PIECE_LAST, HTTP_PIECE_FAILED };
struct http_stream {
    /* Appends the next piece to out, which is empty: some tens of KiB, nothing is fine with LAST
       only. FAILED: the answer can't be finished, and ends without its end. Called from the loop,
       when the socket has taken what was there; may not free the server. */
    enum http_piece (*next)(void *arg, struct bytebuf *out);
    /* Once, when next is not called any more: it was the last, the client has gone or is too slow,
       the server is freed. May not touch the server. */
    void (*done)(void *arg);
    void *arg;
};

struct http_answer {
    int status;                       /* 200 to 599 */
    const char *content_type;         /* NULL: "application/json" */
    const char *allow;                /* for 405: the methods; NULL: no such header */
    struct bytebuf *body;             /* its bytes are taken, and it is empty then; NULL: none */
    const struct http_stream *stream; /* copied; the body comes from there; NULL: from `body` */
};
/* Once for each call, which is over then. Never calls back from inside, but for a stream's `done`
   when memory is out or nobody wants the body (HEAD). */
void http_call_answer(struct http_call *call, const struct http_answer *answer);
/* {"error": why}; why is at most as long as the text of an errbuf. */
void http_call_refuse(struct http_call *call, int status, const char *why);

#endif
