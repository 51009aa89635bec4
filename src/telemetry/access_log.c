/*
 * access_log: the fields in their one order, written up to three times.
 *
 * A line normally fits at once. When a peer sent texts that escape to more than the line holds,
 * it is written again without them, and when even our own names are too long, with the least that
 * tells which session it was. So one session end is one line of valid JSON, whatever a peer sends.
 */
#include "telemetry/access_log.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/json_writer.h"

/* How much of a record is written. */
enum extent { EXTENT_ALL, EXTENT_NO_PEER_TEXT, EXTENT_LEAST };

/* Most bytes of a text before escaping. SPIFFE-ID 2.3: an ID has at most 2048 bytes; RFC 6066 3: a
   host name at most 255; RFC 5280 4.1.2.2: a serial number 20 octets. */
enum {
    ID_MAX = 2048,
    SNI_MAX = 255,
    SERIAL_MAX = 64,
    SUBJECT_MAX = 512,
    DETAIL_MAX = 1024,
    LEAST_MAX = 128
};

struct line {
    struct json_writer json;
    enum extent extent;
    bool truncated;
};

/* The front of text, at most max bytes; a character of UTF-8 is not cut in two. */
static struct strview front(struct strview text, size_t max)
{
    if (text.len <= max) {
        return text;
    }
    size_t len = max;
    while (len > 0 && ((unsigned char)text.ptr[len] & 0xC0) == 0x80) {
        len--;
    }
    return (struct strview){.ptr = text.ptr, .len = len > 0 ? len : max};
}

static void put_capped(struct line *line, const char *key, struct strview text, size_t max)
{
    if (text.len == 0) {
        return;
    }
    struct strview shown = front(text, max);
    line->truncated = line->truncated || shown.len < text.len;
    json_field_strview(&line->json, key, shown);
}

/* A text that the peer wrote. */
static void put_peer_text(struct line *line, const char *key, struct strview text, size_t max)
{
    if (line->extent == EXTENT_ALL) {
        put_capped(line, key, text, max);
    } else {
        line->truncated = line->truncated || text.len > 0;
    }
}

/* A text of ours, or one that was verified. */
static void put_view(struct line *line, const char *key, struct strview text)
{
    if (line->extent != EXTENT_LEAST) {
        put_capped(line, key, text, ID_MAX);
    } else {
        line->truncated = line->truncated || text.len > 0;
    }
}

static void put_text(struct line *line, const char *key, const char *text)
{
    put_view(line, key, strview_from(text));
}

/* What every line has, in every extent. */
static void put_least(struct line *line, const char *key, const char *text)
{
    put_capped(line, key, strview_from(text), LEAST_MAX);
}

static void put_what(struct line *line, const struct access_record *record)
{
    char time[CLOCK_TEXT_SIZE];
    json_field_string(&line->json, "time", clock_format_ms(record->wall_ms, time));
    put_least(line, "event", record->event);
    json_field_u64(&line->json, "session", record->session);
    put_least(line, "listener", record->listener);
    put_least(line, "kind", record->kind);
    put_least(line, "decision", record->decision);
    put_text(line, "rule", record->rule);
    if (record->reason != REASON_NONE) {
        put_least(line, "reason", reason_label(record->reason));
        if (record->reason != REASON_CLOSED) {
            put_text(line, "why", reason_sentence(record->reason));
        }
    }
    put_peer_text(line, "detail", strview_from(record->detail), DETAIL_MAX);
}

static void put_who(struct line *line, const struct access_record *record)
{
    put_view(line, "downstream_id", record->downstream_id);
    put_view(line, "own_id", record->own_id);
    put_view(line, "upstream_id", record->upstream_id);
    put_peer_text(line, "claimed_id", record->claimed_id, ID_MAX);
    put_peer_text(line, "subject", record->subject, SUBJECT_MAX);
    put_peer_text(line, "serial", record->serial, SERIAL_MAX);
    put_peer_text(line, "sni", record->sni, SNI_MAX);
    put_text(line, "downstream", record->downstream);
    put_text(line, "upstream", record->upstream);
    put_text(line, "upstream_local", record->upstream_local);
}

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static void put_tls(struct line *line, const char *key, const struct access_tls *tls)
{
    bool known = has_text(tls->version) || has_text(tls->cipher) || has_text(tls->group) ||
                 has_text(tls->alpn);
    if (!known || line->extent == EXTENT_LEAST) {
        line->truncated = line->truncated || known;
        return;
    }
    json_key(&line->json, key);
    json_object_begin(&line->json);
    put_least(line, "version", tls->version);
    put_least(line, "cipher", tls->cipher);
    put_least(line, "group", tls->group);
    put_capped(line, "alpn", strview_from(tls->alpn), SNI_MAX); /* RFC 7301 3.1: 255 at most */
    json_object_end(&line->json);
}

static void put_how_much(struct line *line, const struct access_record *record)
{
    if (record->has_bytes) {
        json_field_u64(&line->json, "bytes_up", record->bytes_up);
        json_field_u64(&line->json, "bytes_down", record->bytes_down);
    }
    json_field_u64(&line->json, "duration_ms", record->duration_ms);
    put_tls(line, "tls", &record->downstream_tls);
    put_tls(line, "upstream_tls", &record->upstream_tls);
}

/* 0 when it does not fit. */
static size_t format_extent(const struct access_record *record, enum extent extent,
                            char out[ACCESS_LINE_SIZE])
{
    struct line line = {.extent = extent};
    json_writer_init(&line.json, out, ACCESS_LINE_SIZE - 1); /* one byte is the newline's */
    json_object_begin(&line.json);
    put_what(&line, record);
    put_who(&line, record);
    put_how_much(&line, record);
    if (line.truncated) {
        json_field_bool(&line.json, "truncated", true);
    }
    json_object_end(&line.json);
    return json_writer_finish(&line.json);
}

size_t access_log_format(const struct access_record *record, char out[ACCESS_LINE_SIZE])
{
    static const enum extent extents[] = {EXTENT_ALL, EXTENT_NO_PEER_TEXT, EXTENT_LEAST};
    size_t len = 0;
    for (size_t i = 0; len == 0 && i < sizeof(extents) / sizeof(extents[0]); i++) {
        len = format_extent(record, extents[i], out);
    }
    /* Five texts of LEAST_MAX bytes, six characters each at most, always fit. */
    ASSERT(len > 0);
    out[len] = '\n';
    out[len + 1] = '\0';
    return len + 1;
}
