/*
 * http_client: connect, send, read until the answer is whole: one deadline over all.
 *
 * The socket does not block; poll waits. Signals that interrupt it do not end it.
 */
#include "net/http_client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytebuf.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/netaddr.h"

enum { READ_SIZE = 64 * 1024, POLL_MAX_MS = 60 * 1000 };

/* ---- The answer ---- */

struct head {
    size_t len; /* with the empty line */
    bool has_length;
    size_t body_len;
};

static enum http_reply_state bad(struct errbuf *err, const char *why)
{
    errbuf_set(err, "the answer is not understood: %s", why);
    return HTTP_REPLY_BAD;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200", and what follows it begins with a blank. */
int http_reply_status(struct strview line)
{
    int status = 0;
    if (line.len < 12 || !strview_starts_with(line, "HTTP/1.") || !is_digit(line.ptr[7]) ||
        line.ptr[8] != ' ' || (line.len > 12 && line.ptr[12] != ' ')) {
        return 0;
    }
    for (size_t i = 9; i < 12; i++) {
        if (!is_digit(line.ptr[i])) {
            return 0;
        }
        status = status * 10 + (line.ptr[i] - '0');
    }
    return status >= 100 ? status : 0;
}

static bool name_is(struct strview line, const char *name, struct strview *value)
{
    size_t len = strlen(name);
    if (line.len <= len || strncasecmp(line.ptr, name, len) != 0 || line.ptr[len] != ':') {
        return false;
    }
    *value = (struct strview){.ptr = line.ptr + len + 1, .len = line.len - len - 1};
    while (value->len > 0 && (value->ptr[0] == ' ' || value->ptr[0] == '\t')) {
        value->ptr++;
        value->len--;
    }
    return true;
}

static bool parse_length(struct strview text, size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i]) || *len > HTTP_REPLY_MAX) {
            return false;
        }
        *len = *len * 10 + (size_t)(text.ptr[i] - '0');
    }
    return text.len > 0 && *len <= HTTP_REPLY_MAX;
}

/* NULL: understood. */
static const char *parse_header(struct strview line, struct head *head, struct http_reply *out)
{
    struct strview value;
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t' || memchr(line.ptr, ':', line.len) == NULL) {
        return "a line is no header";
    }
    if (name_is(line, "Transfer-Encoding", &value)) {
        if (out->is_chunked || value.len != 7 || strncasecmp(value.ptr, "chunked", 7) != 0) {
            return "its Transfer-Encoding is not chunked";
        }
        out->is_chunked = true;
    }
    if (name_is(line, "Content-Type", &value)) {
        out->content_type = value;
    }
    if (name_is(line, "Content-Length", &value)) {
        if (head->has_length || !parse_length(value, &head->body_len)) {
            return "its Content-Length is no number, too large, or there twice";
        }
        head->has_length = true;
    }
    return NULL;
}

static const char *parse_head(const char *data, size_t len, struct head *head,
                              struct http_reply *out)
{
    head->len = len;
    for (size_t at = 0; at < len;) {
        const char *end = memchr(data + at, '\n', len - at);
        size_t line_len = end != NULL ? (size_t)(end - data) - at : 0;
        if (line_len == 0 || end[-1] != '\r') {
            return "a line does not end with CR LF";
        }
        struct strview line = {.ptr = data + at, .len = line_len - 1};
        const char *why = NULL;
        if (at == 0) {
            out->status = http_reply_status(line);
            why = out->status != 0 ? NULL : "it is no HTTP/1.1";
        } else if (line.len > 0) {
            why = parse_header(line, head, out);
        }
        if (why != NULL) {
            return why;
        }
        at += line_len + 1;
    }
    /* RFC 9112 6.3: two ways to tell where it ends are one too many. */
    return out->is_chunked && head->has_length ? "it has a Content-Length and chunks" : NULL;
}

/* ---- Chunks (RFC 9112 7.1) ---- */

enum chunk { CHUNK_MORE = 0, CHUNK_WHOLE, CHUNK_LAST, CHUNK_BAD };

static int hex_value(char c)
{
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Its size line; *at goes behind it. */
static enum chunk parse_chunk_size(const char *data, size_t len, size_t *at, size_t *size)
{
    enum { SIZE_DIGITS_MAX = 8 };
    size_t from = *at;
    *size = 0;
    while (*at < len && *at - from < SIZE_DIGITS_MAX && hex_value(data[*at]) >= 0) {
        *size = *size * 16 + (size_t)hex_value(data[(*at)++]);
    }
    if (*size > HTTP_REPLY_MAX || (*at < len && *at == from) || (*at < len && data[*at] != '\r') ||
        (*at + 1 < len && data[*at + 1] != '\n')) {
        return CHUNK_BAD;
    }
    if (*at + 2 > len) {
        return CHUNK_MORE;
    }
    *at += 2;
    return CHUNK_WHOLE;
}

/* The chunk at *at, which goes behind it. The last one is empty, and trailers are not understood.
 */
static enum chunk parse_chunk(const char *data, size_t len, size_t *at, struct strview *out)
{
    size_t size = 0;
    enum chunk line = parse_chunk_size(data, len, at, &size);
    if (line != CHUNK_WHOLE) {
        return line;
    }
    size_t have = len - *at;
    if ((have > size && data[*at + size] != '\r') ||
        (have > size + 1 && data[*at + size + 1] != '\n')) {
        return CHUNK_BAD;
    }
    if (have < size + 2) {
        return CHUNK_MORE;
    }
    *out = (struct strview){data + *at, size};
    *at += size + 2;
    return size == 0 ? CHUNK_LAST : CHUNK_WHOLE;
}

static enum http_reply_state parse_chunks(const char *data, size_t len,
                                          enum http_connection connection, struct http_reply *out,
                                          struct errbuf *err)
{
    size_t at = 0;
    struct strview part;
    enum chunk chunk = CHUNK_WHOLE;
    while (chunk == CHUNK_WHOLE) {
        chunk = parse_chunk(data, len, &at, &part);
    }
    if (chunk == CHUNK_BAD) {
        return bad(err, "a chunk is broken, has an extension or a trailer, or is too large");
    }
    if (len > HTTP_REPLY_MAX) {
        return bad(err, "it is larger than 64 MiB");
    }
    if (chunk == CHUNK_MORE) {
        return connection == HTTP_CONNECTION_OPEN ? HTTP_REPLY_MORE : bad(err, "it is cut short");
    }
    out->body = (struct strview){data, at};
    return HTTP_REPLY_WHOLE;
}

/* Of an answer that was parsed whole, in the memory where it stands. */
static void join_chunks(char *body, struct http_reply *reply)
{
    size_t at = 0;
    size_t len = 0;
    struct strview part;
    while (parse_chunk(body, reply->body.len, &at, &part) == CHUNK_WHOLE) {
        memmove(body + len, part.ptr, part.len);
        len += part.len;
    }
    reply->body = (struct strview){body, len};
    reply->is_chunked = false;
}

enum http_reply_state http_reply_parse(const char *data, size_t len, enum http_method method,
                                       enum http_connection connection, struct http_reply *out,
                                       struct errbuf *err)
{
    *out = (struct http_reply){0};
    struct head head = {0};
    const char *end = len > 0 ? memmem(data, len, "\r\n\r\n", 4) : NULL;
    size_t head_len = end != NULL ? (size_t)(end - data) + 4 : len;
    if (head_len > HTTP_REPLY_HEAD_MAX) {
        return bad(err, "its head is too large");
    }
    if (end == NULL) {
        return connection == HTTP_CONNECTION_OPEN ? HTTP_REPLY_MORE : bad(err, "it is cut short");
    }
    const char *why = parse_head(data, head_len, &head, out);
    if (why != NULL) {
        return bad(err, why);
    }
    if (out->status < 200) {
        return bad(err, "it is an interim one");
    }
    size_t have = len - head_len;
    bool has_body = method != HTTP_METHOD_HEAD;
    if (out->is_chunked && has_body) {
        return parse_chunks(data + head_len, have, connection, out, err);
    }
    if (!has_body || (head.has_length && have >= head.body_len)) {
        out->body = (struct strview){.ptr = data + head_len, .len = has_body ? head.body_len : 0};
        return HTTP_REPLY_WHOLE;
    }
    if (have > HTTP_REPLY_MAX) {
        return bad(err, "it is larger than 64 MiB");
    }
    if (connection == HTTP_CONNECTION_OPEN) {
        return HTTP_REPLY_MORE;
    }
    if (head.has_length) {
        return bad(err, "it is cut short");
    }
    out->body = (struct strview){.ptr = data + head_len, .len = have};
    return HTTP_REPLY_WHOLE;
}

/* ---- The connection ---- */

struct client {
    const struct http_client_request *request;
    char name[NETADDR_TEXT_SIZE]; /* of whom we ask */
    int fd;
    uint64_t deadline_ms;
    struct errbuf *err;
};

static int fail(const struct client *client, const char *what)
{
    errbuf_set_errno(client->err, "%s %s", what, client->name);
    return -1;
}

static int wait_for(const struct client *client, short events)
{
    for (;;) {
        uint64_t now = clock_mono_ms();
        if (now >= client->deadline_ms) {
            errbuf_set(client->err, "%s did not answer in %llu ms", client->name,
                       (unsigned long long)client->request->timeout_ms);
            return -1;
        }
        uint64_t left = client->deadline_ms - now;
        struct pollfd fd = {.fd = client->fd, .events = events};
        int ready = poll(&fd, 1, left < POLL_MAX_MS ? (int)left : POLL_MAX_MS);
        if (ready > 0) {
            return 0;
        }
        if (ready < 0 && errno != EINTR) {
            return fail(client, "cannot wait for");
        }
    }
}

/* unix(7): with its queue full a non-blocking connect fails with EAGAIN, and poll does not tell
   when there is room again. */
static int connect_unix(const struct client *client, const struct netaddr *addr)
{
    enum { RETRY_MS = 20 };
    while (connect(client->fd, &addr->u.sa, addr->len) != 0) {
        if (errno != EAGAIN && errno != EINTR) {
            return fail(client, "cannot connect to");
        }
        if (clock_mono_ms() >= client->deadline_ms) {
            return fail(client, "cannot connect to");
        }
        (void)poll(NULL, 0, RETRY_MS);
    }
    return 0;
}

static int connect_tcp(const struct client *client, const struct netaddr *addr)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (connect(client->fd, &addr->u.sa, addr->len) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS && errno != EINTR) {
        return fail(client, "cannot connect to");
    }
    if (wait_for(client, POLLOUT) != 0) {
        return -1;
    }
    if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        errno = error != 0 ? error : errno;
        return fail(client, "cannot connect to");
    }
    return 0;
}

static int connect_to(const struct client *client, const struct netaddr *addr)
{
    return netaddr_is_unix(addr) ? connect_unix(client, addr) : connect_tcp(client, addr);
}

/* A server that refuses may close before it has read all: then its answer counts. */
static int send_all(const struct client *client, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(client->fd, data, len, MSG_NOSIGNAL);
        if (sent >= 0) {
            data += sent;
            len -= (size_t)sent;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return 0;
        } else if (errno != EAGAIN && errno != EINTR) {
            return fail(client, "cannot send to");
        } else if (wait_for(client, POLLOUT) != 0) {
            return -1;
        }
    }
    return 0;
}

static int send_request(const struct client *client)
{
    static const char *const methods[] = {
        [HTTP_METHOD_GET] = "GET", [HTTP_METHOD_HEAD] = "HEAD", [HTTP_METHOD_POST] = "POST"};
    const struct http_client_request *request = client->request;
    bool has_body = request->body != NULL;
    bool is_unix = request->address == NULL || netaddr_is_unix(request->address);
    const char *host = is_unix ? "localhost" : client->name;
    char length[64] = "";
    if (has_body) {
        (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", request->body_len);
    }
    char *head = NULL;
    int len = asprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s%sConnection: close\r\n\r\n",
                       methods[request->method], request->target, host,
                       request->headers != NULL ? request->headers : "",
                       request->content_type != NULL ? "Content-Type: " : "",
                       request->content_type != NULL ? request->content_type : "",
                       request->content_type != NULL ? "\r\n" : "", length);
    if (len < 0) {
        errbuf_set(client->err, "out of memory");
        return -1;
    }
    int result = send_all(client, head, (size_t)len);
    mem_free(head);
    return result == 0 && has_body ? send_all(client, request->body, request->body_len) : result;
}

/* Parsing it again with each piece costs no more than its head. */
static int read_reply(const struct client *client, struct bytebuf *in, struct http_reply *reply)
{
    enum http_connection connection = HTTP_CONNECTION_OPEN;
    char *bytes = mem_alloc(READ_SIZE);
    enum http_reply_state state = HTTP_REPLY_MORE;
    while (state == HTTP_REPLY_MORE) {
        if (wait_for(client, POLLIN) != 0) {
            break;
        }
        ssize_t got = recv(client->fd, bytes, READ_SIZE, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (got < 0 && errno != ECONNRESET) {
            (void)fail(client, "cannot read from");
            break;
        }
        if (got > 0 && !bytebuf_append(in, bytes, (size_t)got)) {
            errbuf_set(client->err, "out of memory");
            break;
        }
        connection = got > 0 ? HTTP_CONNECTION_OPEN : HTTP_CONNECTION_CLOSED;
        state = http_reply_parse((const char *)bytebuf_data(in), bytebuf_len(in),
                                 client->request->method, connection, reply, client->err);
    }
    mem_free(bytes);
    return state == HTTP_REPLY_WHOLE ? 0 : -1;
}

/* Fills name and addr. False: there is no such place. */
static bool find_server(struct client *client, struct netaddr *addr)
{
    const struct http_client_request *request = client->request;
    if (request->socket_path == NULL) {
        *addr = *request->address;
        (void)netaddr_format(addr, client->name);
        return true;
    }
    (void)snprintf(client->name, sizeof(client->name), "%s", request->socket_path);
    if (!netaddr_from_path(addr, request->socket_path)) {
        errbuf_set(client->err, "the socket's path \"%s\" is empty or too long",
                   request->socket_path);
        return false;
    }
    return true;
}

int http_client_send(const struct http_client_request *request, struct http_reply *reply,
                     char **memory, struct errbuf *err)
{
    struct client client = {
        .request = request, .deadline_ms = clock_mono_ms() + request->timeout_ms, .err = err};
    struct netaddr addr;
    struct bytebuf in = {0};
    *memory = NULL;
    if (!find_server(&client, &addr)) {
        return -1;
    }
    client.fd = socket(addr.u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client.fd < 0) {
        return fail(&client, "cannot make a socket for");
    }
    int result = connect_to(&client, &addr) == 0 && send_request(&client) == 0 &&
                         read_reply(&client, &in, reply) == 0
                     ? 0
                     : -1;
    (void)close(client.fd);
    if (result != 0) {
        bytebuf_clear(&in);
        return -1;
    }
    *memory = (char *)in.memory; /* nothing was consumed: it begins with the answer */
    if (reply->is_chunked) {
        join_chunks(*memory + (reply->body.ptr - *memory), reply);
    }
    return 0;
}

char *http_escape(const char *text, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    char *at = out;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_plain = is_digit(*text) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                        strchr("-._~", *text) != NULL; /* RFC 3986 2.3 */
        if (is_plain) {
            *at++ = *text;
        } else {
            *at++ = '%';
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        }
    }
    *at = '\0';
    return out;
}
