/*
 * Everything that is sent here is ours: no byte of a request comes back in a head.
 */
#include "http_head.h"

#include <stdio.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"

enum { HEAD_SIZE = 512, FRAMING_SIZE = 64 };

static const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {{200, "OK"},
                {202, "Accepted"},
                {400, "Bad Request"},
                {403, "Forbidden"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {408, "Request Timeout"},
                {409, "Conflict"},
                {413, "Content Too Large"},
                {417, "Expectation Failed"},
                {422, "Unprocessable Content"},
                {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"},
                {500, "Internal Server Error"},
                {501, "Not Implemented"},
                {502, "Bad Gateway"},
                {503, "Service Unavailable"},
                {504, "Gateway Timeout"},
                {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].status == status) {
            return rows[i].text;
        }
    }
    return ""; /* RFC 9112 4: the phrase may be absent */
}

/* RFC 9110 5.6.7, "Sun, 06 Nov 1994 08:49:37 GMT", whatever the locale. */
static void format_date(char *out, size_t size)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)clock_wall_s();
    struct tm tm = {0};
    (void)gmtime_r(&now, &tm);
    (void)snprintf(out, size, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
                   months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void format_framing(enum http_framing framing, size_t body_len, char out[FRAMING_SIZE])
{
    switch (framing) {
    case HTTP_FRAMING_LENGTH:
        (void)snprintf(out, FRAMING_SIZE, "Content-Length: %zu\r\n", body_len);
        break;
    case HTTP_FRAMING_CHUNKS:
        (void)snprintf(out, FRAMING_SIZE, "Transfer-Encoding: chunked\r\n");
        break;
    case HTTP_FRAMING_CLOSE:
        out[0] = '\0';
        break;
    }
}

bool http_head_append(struct bytebuf *out, const struct http_answer *answer,
                      enum http_framing framing, size_t body_len)
{
    char date[64];
    char framing_text[FRAMING_SIZE];
    char head[HEAD_SIZE];
    format_date(date, sizeof(date));
    format_framing(framing, body_len, framing_text);
    const char *type = answer->content_type != NULL ? answer->content_type : "application/json";
    if (answer->status == 204 || answer->status == 304) {
        framing_text[0] = '\0'; /* RFC 9110 8.6: no body, and no Content-Length to say so */
    }
    bool has_allow = answer->allow != NULL;
    int len = snprintf(head, sizeof(head),
                       "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\n%s"
                       "%s%s%sCache-Control: no-store\r\nConnection: close\r\n\r\n",
                       answer->status, status_text(answer->status), date, type, framing_text,
                       has_allow ? "Allow: " : "", has_allow ? answer->allow : "",
                       has_allow ? "\r\n" : "");
    ASSERT(len > 0 && (size_t)len < sizeof(head));
    return bytebuf_append(out, head, (size_t)len);
}
