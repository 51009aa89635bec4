/*
 * http_request: request line, header lines, then what they mean together.
 *
 *     head ─► lines ─► method, target, version ─► path, parameters (decoded)
 *                └──► headers ─► Host, Content-Length, Transfer-Encoding, Expect
 *
 * A parser returns false and sets why and status in its struct; the first fault decides. The order
 * puts what is malformed anywhere before a method or a framing that is merely not supported.
 */
#include "net/http_request.h"

#include <stdint.h>
#include <string.h>

struct parser {
    struct http_request *out;
    size_t text_len; /* of out->text */
    int status;
    const char *why;
};

struct framing {
    const struct http_header *host;
    const struct http_header *content_length;
    const struct http_header *transfer_encoding;
    const struct http_header *expect;
};

static bool refuse(struct parser *parser, int status, const char *why)
{
    parser->status = status;
    parser->why = why;
    return false;
}

static bool malformed(struct parser *parser, const char *why)
{
    return refuse(parser, 400, why);
}

/* ---- Characters ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* RFC 9110 5.6.2. */
static bool is_token_char(char c)
{
    return is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

/* RFC 3986 3.3: pchar, without "%". */
static bool is_path_char(char c)
{
    return is_alnum(c) || is_one_of(c, "-._~!$&'()*+,;=:@");
}

/* RFC 9110 5.5, obs-text included. */
static bool is_value_char(char c)
{
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_token(struct strview text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_token_char(text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0;
}

/* ---- Views ---- */

static struct strview view(const char *start, const char *end)
{
    return (struct strview){.ptr = start, .len = (size_t)(end - start)};
}

/* Takes what is before the separator, which is dropped; all when there is none. */
static struct strview take_until(struct strview *rest, char separator)
{
    const char *end = rest->ptr + rest->len;
    const char *at = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
    struct strview taken = view(rest->ptr, at != NULL ? at : end);
    *rest = at != NULL ? view(at + 1, end) : view(end, end);
    return taken;
}

static struct strview trim(struct strview text)
{
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

/* ---- Target ---- */

/*
 * Decodes into out->text. What comes of an escape is a character that a path or value may hold and
 * a log may show; an escaped "/" would be a name to one reader and two to another.
 */
static bool decode(struct parser *parser, struct strview in, struct strview *out,
                   const char *also_allowed)
{
    char *start = parser->out->text + parser->text_len;
    char *end = start;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '%') {
            int high = i + 2 < in.len ? hex_value(in.ptr[i + 1]) : -1;
            int low = i + 2 < in.len ? hex_value(in.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return malformed(parser, "a percent escape in the target is broken");
            }
            c = (char)(high * 16 + low);
            if ((unsigned char)c < 0x20 || c == 0x7f) {
                return malformed(parser, "a percent escape in the target is a control character");
            }
            if (c == '/' && also_allowed[0] == '\0') {
                return malformed(parser, "the path has an escaped slash");
            }
            i += 2;
        } else if (!is_path_char(c) && !is_one_of(c, also_allowed)) {
            return malformed(parser, "the target has a character that must be escaped");
        }
        *end++ = c;
    }
    *out = view(start, end);
    parser->text_len += out->len;
    return true;
}

static bool parse_path(struct parser *parser, struct strview raw)
{
    char *start = parser->out->text + parser->text_len;
    struct strview rest = view(raw.ptr + 1, raw.ptr + raw.len);
    bool is_last = false;
    while (!is_last) {
        is_last = rest.len == 0 || memchr(rest.ptr, '/', rest.len) == NULL;
        struct strview segment = take_until(&rest, '/');
        parser->out->text[parser->text_len++] = '/';
        if (!decode(parser, segment, &segment, "")) {
            return false;
        }
        if (strview_equal_text(segment, ".") || strview_equal_text(segment, "..")) {
            return malformed(parser, "the path has a segment . or ..");
        }
        if (segment.len == 0 && !is_last) {
            return malformed(parser, "the path has an empty segment");
        }
    }
    parser->out->path = view(start, parser->out->text + parser->text_len);
    return true;
}

static bool parse_parameter(struct parser *parser, struct strview raw)
{
    struct http_request *out = parser->out;
    struct http_parameter parameter;
    struct strview name = take_until(&raw, '=');
    /* "+" stays "+": it is a space in HTML forms alone. */
    if (!decode(parser, name, &parameter.name, "/?") ||
        !decode(parser, raw, &parameter.value, "/?")) {
        return false;
    }
    if (parameter.name.len == 0) {
        return malformed(parser, "a query parameter has no name");
    }
    for (size_t i = 0; i < out->parameter_count; i++) {
        if (strview_equal(out->parameters[i].name, parameter.name)) {
            return malformed(parser, "a query parameter is there twice");
        }
    }
    if (out->parameter_count == HTTP_PARAMETERS_MAX) {
        return malformed(parser, "there are too many query parameters");
    }
    out->parameters[out->parameter_count++] = parameter;
    return true;
}

/* RFC 9112 3.2.1, origin-form, alone: the others are for proxies, CONNECT and OPTIONS. */
static bool parse_target(struct parser *parser, struct strview target)
{
    if (target.len == 0 || target.ptr[0] != '/') {
        return malformed(parser, "the target must begin with a slash");
    }
    struct strview path = take_until(&target, '?');
    if (!parse_path(parser, path)) {
        return false;
    }
    bool ends_open = target.len > 0 && target.ptr[target.len - 1] == '&';
    while (target.len > 0) {
        if (!parse_parameter(parser, take_until(&target, '&'))) {
            return false;
        }
    }
    return !ends_open || malformed(parser, "a query parameter has no name");
}

/* ---- Request line ---- */

static bool parse_version(struct parser *parser, struct strview version)
{
    bool is_version = version.len == 8 && strview_starts_with(version, "HTTP/") &&
                      is_digit(version.ptr[5]) && version.ptr[6] == '.' && is_digit(version.ptr[7]);
    if (!is_version) {
        return malformed(parser, "the request line must be METHOD TARGET HTTP/1.1");
    }
    if (version.ptr[5] != '1' || (version.ptr[7] != '0' && version.ptr[7] != '1')) {
        return refuse(parser, 505, "the HTTP version must be 1.1 or 1.0");
    }
    parser->out->is_http_1_0 = version.ptr[7] == '0';
    return true;
}

static bool parse_method(struct parser *parser, struct strview method)
{
    static const char *const names[] = {
        [HTTP_METHOD_GET] = "GET", [HTTP_METHOD_HEAD] = "HEAD", [HTTP_METHOD_POST] = "POST"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strview_equal_text(method, names[i])) {
            parser->out->method = (enum http_method)i;
            return true;
        }
    }
    return refuse(parser, 405, "the method must be one of " HTTP_METHODS_ALLOWED);
}

/* ---- Header lines ---- */

static bool parse_header(struct parser *parser, struct strview line)
{
    struct http_request *out = parser->out;
    if (is_blank(line.ptr[0])) {
        return malformed(parser, "a header line is folded");
    }
    if (memchr(line.ptr, ':', line.len) == NULL) {
        return malformed(parser, "a header line has no colon");
    }
    struct strview rest = line;
    struct http_header header = {.name = take_until(&rest, ':'), .value = trim(rest)};
    if (!is_token(header.name)) {
        return malformed(parser, "a header name has a character that is not allowed");
    }
    for (size_t i = 0; i < header.value.len; i++) {
        if (!is_value_char(header.value.ptr[i])) {
            return malformed(parser, "a header value has a control character");
        }
    }
    if (out->header_count == HTTP_HEADERS_MAX) {
        return refuse(parser, 431, "there are too many headers");
    }
    out->headers[out->header_count++] = header;
    return true;
}

/* Lines end with CR LF, and neither byte is anywhere else; nor is NUL. */
static bool take_line(struct parser *parser, struct strview *rest, struct strview *line)
{
    bool has_end = rest->len > 0 && memchr(rest->ptr, '\n', rest->len) != NULL;
    *line = take_until(rest, '\n');
    if (!has_end || line->len == 0 || line->ptr[line->len - 1] != '\r') {
        return malformed(parser, "a line must end with CR LF");
    }
    line->len--;
    if (line->len > 0 && (memchr(line->ptr, '\r', line->len) != NULL ||
                          memchr(line->ptr, '\0', line->len) != NULL)) {
        return malformed(parser, "a line has a bare CR or a NUL");
    }
    return true;
}

/* ---- What the headers mean ---- */

static bool note_once(struct parser *parser, const struct http_header *header, const char *name,
                      const struct http_header **slot, const char *why)
{
    if (!strview_equal_no_case(header->name, name)) {
        return true;
    }
    if (*slot != NULL) {
        return malformed(parser, why);
    }
    *slot = header;
    return true;
}

static bool find_framing(struct parser *parser, struct framing *framing)
{
    for (size_t i = 0; i < parser->out->header_count; i++) {
        const struct http_header *header = &parser->out->headers[i];
        if (!note_once(parser, header, "Host", &framing->host, "there are two Host headers") ||
            !note_once(parser, header, "Content-Length", &framing->content_length,
                       "there are two Content-Length headers") ||
            !note_once(parser, header, "Transfer-Encoding", &framing->transfer_encoding,
                       "there are two Transfer-Encoding headers") ||
            !note_once(parser, header, "Expect", &framing->expect,
                       "there are two Expect headers")) {
            return false;
        }
    }
    return true;
}

/* RFC 9110 7.2; empty is what a client sends that has no host to name. */
static bool check_host(struct parser *parser, const struct http_header *host)
{
    if (host == NULL) {
        /* RFC 9112 3.2: "MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
           message that lacks a Host header field". */
        return parser->out->is_http_1_0 || malformed(parser, "the Host header is missing");
    }
    for (size_t i = 0; i < host->value.len; i++) {
        char c = host->value.ptr[i];
        if (!is_alnum(c) && !is_one_of(c, "-._~!$&'()*+,;=:[]%")) {
            return malformed(parser, "the Host header is no host");
        }
    }
    parser->out->host = host->value;
    return true;
}

static bool parse_length(struct parser *parser, struct strview text)
{
    size_t len = 0;
    bool is_large = false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i])) {
            return malformed(parser, "the Content-Length is no number");
        }
        len = len * 10 + (size_t)(text.ptr[i] - '0');
        is_large = is_large || len > HTTP_BODY_MAX;
        len = is_large ? HTTP_BODY_MAX : len;
    }
    if (text.len == 0) {
        return malformed(parser, "the Content-Length is no number");
    }
    if (len > 0 && parser->out->method != HTTP_METHOD_POST) {
        return malformed(parser, "only a POST may have a body");
    }
    if (is_large) {
        return refuse(parser, 413, "the body is larger than 1 MiB");
    }
    parser->out->body_len = len;
    return true;
}

static bool check_framing(struct parser *parser)
{
    struct framing framing = {0};
    if (!find_framing(parser, &framing) || !check_host(parser, framing.host)) {
        return false;
    }
    if (framing.transfer_encoding != NULL) {
        /* RFC 9112 6.1: both, or one in HTTP/1.0, is a sign of smuggling. */
        if (framing.content_length != NULL) {
            return malformed(parser, "there are Transfer-Encoding and Content-Length");
        }
        if (parser->out->is_http_1_0) {
            return malformed(parser, "HTTP/1.0 has no Transfer-Encoding");
        }
        return refuse(parser, 501, "Transfer-Encoding is not supported: send a Content-Length");
    }
    if (framing.content_length != NULL && !parse_length(parser, framing.content_length->value)) {
        return false;
    }
    /* RFC 9110 10.1.1: to be ignored in HTTP/1.0. */
    if (framing.expect != NULL && !parser->out->is_http_1_0) {
        return refuse(parser, 417, "no expectation is supported: send the body at once");
    }
    return true;
}

static bool parse(struct parser *parser, struct strview rest)
{
    struct strview line;
    if (!take_line(parser, &rest, &line)) {
        return false;
    }
    struct strview method = take_until(&line, ' ');
    struct strview target = take_until(&line, ' ');
    if (!is_token(method)) {
        return malformed(parser, "the request line must be METHOD TARGET HTTP/1.1");
    }
    if (!parse_version(parser, line)) {
        return false;
    }
    struct strview header;
    while (take_line(parser, &rest, &header) && header.len > 0) {
        if (!parse_header(parser, header)) {
            return false;
        }
    }
    if (parser->status != 0) {
        return false;
    }
    if (rest.len > 0) {
        return malformed(parser, "there is something after the empty line");
    }
    return parse_target(parser, target) && parse_method(parser, method) && check_framing(parser);
}

int http_request_parse(const char *head, size_t len, struct http_request *out, const char **why)
{
    memset(out, 0, sizeof(*out));
    struct parser parser = {.out = out};
    if (len == 0) {
        (void)malformed(&parser, "the request is empty");
    } else if (len > HTTP_HEAD_MAX) {
        (void)refuse(&parser, 431, "the headers are larger than 8 KiB");
    } else {
        (void)parse(&parser, (struct strview){.ptr = head, .len = len});
    }
    *why = parser.why;
    return parser.status;
}

enum http_head http_head_scan(const char *data, size_t len, size_t *scanned)
{
    for (size_t i = *scanned; i < len; i++) {
        if (data[i] == '\0' || (data[i] != '\n' && i > 0 && data[i - 1] == '\r')) {
            *scanned = i + 1;
            return HTTP_HEAD_BAD;
        }
        if (data[i] != '\n') {
            continue;
        }
        if (i == 0 || data[i - 1] != '\r') {
            *scanned = i + 1;
            return HTTP_HEAD_BAD;
        }
        if (i == 1 || (i >= 3 && data[i - 2] == '\n')) {
            *scanned = i + 1;
            return HTTP_HEAD_WHOLE;
        }
    }
    *scanned = len;
    return HTTP_HEAD_MORE;
}

const struct http_header *http_request_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (strview_equal_no_case(request->headers[i].name, name)) {
            return &request->headers[i];
        }
    }
    return NULL;
}

const struct strview *http_request_parameter(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (strview_equal_text(request->parameters[i].name, name)) {
            return &request->parameters[i].value;
        }
    }
    return NULL;
}
