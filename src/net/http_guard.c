#include "net/http_guard.h"

#include <string.h>

#include "base/netaddr.h"

enum { HOST_SIZE = 64, PORT_DIGITS_MAX = 5 };

/* What follows the host: nothing, or ":" and digits. */
static bool is_port(struct strview text)
{
    if (text.len == 0) {
        return true;
    }
    bool good = text.ptr[0] == ':' && text.len > 1 && text.len <= 1 + PORT_DIGITS_MAX;
    for (size_t i = 1; good && i < text.len; i++) {
        good = text.ptr[i] >= '0' && text.ptr[i] <= '9';
    }
    return good;
}

static bool is_loopback_address(struct strview host, bool bracketed)
{
    char text[HOST_SIZE];
    struct netaddr addr;
    if (host.len == 0 || host.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    return netaddr_from_ip(&addr, text, 0) && netaddr_is_loopback(&addr) &&
           (addr.u.sa.sa_family == AF_INET6) == bracketed;
}

static bool is_our_host(struct strview host)
{
    if (host.len == 0) {
        return false; /* an HTTP/1.0 request has none */
    }
    bool bracketed = host.ptr[0] == '[';
    const char *end = memchr(host.ptr, bracketed ? ']' : ':', host.len);
    if (bracketed && end == NULL) {
        return false;
    }
    size_t name_len = end == NULL ? host.len : (size_t)(end - host.ptr);
    size_t after = name_len + bracketed;
    struct strview name = {host.ptr + bracketed, name_len - bracketed};
    struct strview port = {host.ptr + after, host.len - after};
    return is_port(port) && (is_loopback_address(name, bracketed) ||
                             (!bracketed && strview_equal_no_case(name, "localhost")));
}

static bool is_refused_header(const struct http_header *header)
{
    if (strview_equal_no_case(header->name, "Origin")) {
        return true;
    }
    return strview_equal_no_case(header->name, "Sec-Fetch-Site") &&
           !strview_equal_no_case(header->value, "none") &&
           !strview_equal_no_case(header->value, "same-origin");
}

const char *http_guard_refuses(const struct http_request *request)
{
    if (!is_our_host(request->host)) {
        return "the Host header must be an address of the loopback, or localhost";
    }
    for (size_t i = 0; i < request->header_count; i++) {
        if (is_refused_header(&request->headers[i])) {
            return "a web page may not ask here (Origin, Sec-Fetch-Site)";
        }
    }
    if (request->method == HTTP_METHOD_POST) {
        const struct http_header *header = http_request_header(request, HTTP_GUARD_HEADER);
        if (header == NULL || !strview_equal_text(header->value, HTTP_GUARD_VALUE)) {
            return "a POST over TCP needs the header \"" HTTP_GUARD_HEADER ": " HTTP_GUARD_VALUE
                   "\"";
        }
    }
    return NULL;
}
