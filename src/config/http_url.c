#include "config/http_url.h"

#include <stdint.h>
#include <string.h>

#include "config/scalar.h"

enum { DEFAULT_PORT = 80, HOST_SIZE = 64, PORT_DIGITS_MAX = 5 };
static const char scheme[] = "http://";
static const char unix_host[] = "unix:";

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* RFC 3986 3.3 and 3.4: pchar, "/" and "?". It goes out as it is, so nothing may end its line. */
static bool is_target(const char *text)
{
    static const char others[] = "-._~!$&'()*+,;=:@/?";
    for (; *text != '\0'; text++) {
        bool alphanumeric =
            is_hex(*text) || (*text >= 'g' && *text <= 'z') || (*text >= 'G' && *text <= 'Z');
        bool escaped = *text == '%' && is_hex(text[1]) && is_hex(text[2]);
        if (!alphanumeric && !escaped && strchr(others, *text) == NULL) {
            return false;
        }
    }
    return true;
}

static bool take_target(const char *text, struct http_url *out, struct errbuf *err)
{
    if (*text != '\0' && *text != '/') {
        errbuf_set(err, "a path begins with \"/\"");
        return false;
    }
    if (!is_target(text)) {
        errbuf_set(err, "its path holds what no path may; a blank is written %%20, and there is no "
                        "\"#\"");
        return false;
    }
    if (strlen(text) >= sizeof(out->target)) {
        errbuf_set(err, "its path is too long");
        return false;
    }
    memcpy(out->target, text, strlen(text) + 1);
    return true;
}

/* "/run/app.sock:/healthz" */
static bool parse_unix(const char *rest, struct http_url *out, struct errbuf *err)
{
    struct sockaddr_un un;
    size_t len = strcspn(rest, ":");
    char path[sizeof(un.sun_path)];
    if (rest[0] != '/' || len >= sizeof(path) || rest[len - 1] == '/') {
        errbuf_set(err, "the path of a Unix socket is absolute and at most 107 bytes long: "
                        "http://unix:/run/app.sock:/healthz");
        return false;
    }
    memcpy(path, rest, len);
    path[len] = '\0';
    if (!netaddr_from_path(&out->addr, path)) {
        errbuf_set(err, "no path of a Unix socket");
        return false;
    }
    return take_target(rest + len + (rest[len] == ':'), out, err);
}

/* From the ":" on, if there is one; *port is the default's else. */
static bool parse_port(const char *text, size_t len, uint16_t *port, struct errbuf *err)
{
    char digits[PORT_DIGITS_MAX + 1] = "";
    uint64_t value = DEFAULT_PORT;
    const char *why = NULL;
    if (len > 0) {
        size_t count = len - 1;
        if (text[0] == ':' && count <= PORT_DIGITS_MAX) {
            memcpy(digits, text + 1, count);
        }
        if (!scalar_parse_count(digits, &value, &why) || value < 1 || value > UINT16_MAX) {
            errbuf_set(err, "its port must be a decimal number from 1 to 65535");
            return false;
        }
    }
    *port = (uint16_t)value;
    return true;
}

static bool parse_host(const char *rest, size_t len, struct http_url *out, struct errbuf *err)
{
    bool bracketed = rest[0] == '[';
    const char *host = rest + bracketed;
    size_t host_len = strcspn(host, bracketed ? "]/?#" : ":/?#");
    char text[HOST_SIZE] = "";
    uint16_t port = 0;
    if (bracketed && host[host_len] != ']') {
        errbuf_set(err, "\"]\" is missing after the IPv6 address");
        return false;
    }
    if (host_len < sizeof(text)) {
        memcpy(text, host, host_len);
    }
    const char *after = host + host_len + bracketed;
    if (!parse_port(after, (size_t)(rest + len - after), &port, err)) {
        return false;
    }
    if (!netaddr_from_ip(&out->addr, text, port) ||
        (out->addr.u.sa.sa_family == AF_INET6) != bracketed) {
        errbuf_set(err, "its host must be an IP address such as 127.0.0.1 or [::1]");
        return false;
    }
    return true;
}

bool http_url_parse(const char *text, struct http_url *out, struct errbuf *err)
{
    *out = (struct http_url){.target = ""};
    if (strncmp(text, scheme, strlen(scheme)) != 0) {
        errbuf_set(err, "must start with http://");
        return false;
    }
    const char *rest = text + strlen(scheme);
    if (strncmp(rest, unix_host, strlen(unix_host)) == 0) {
        return parse_unix(rest + strlen(unix_host), out, err);
    }
    size_t len = strcspn(rest, "/?#");
    return parse_host(rest, len, out, err) && take_target(rest + len, out, err);
}
