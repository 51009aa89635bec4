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

static const struct access_field_info fields[ACCESS_FIELD_COUNT] = {
#define ACCESS_FIELD(name, key_text, type_text, when_text, meaning_text) \
    [ACCESS_FIELD_##name] = {(key_text), (type_text), (when_text), (meaning_text), false},
#define ACCESS_TLS_FIELD(name, key_text, type_text, when_text, meaning_text) \
    [ACCESS_FIELD_##name] = {(key_text), (type_text), (when_text), (meaning_text), true},
#include "telemetry/access_fields.def"
#undef ACCESS_FIELD
#undef ACCESS_TLS_FIELD
};

struct line {
    struct json_writer json;
    enum extent extent;
    bool truncated;
};

const struct access_field_info *access_field_info(enum access_field field)
{
    ASSERT((unsigned)field < ACCESS_FIELD_COUNT);
    return &fields[field];
}

static const char *key_of(enum access_field field)
{
    return fields[field].key;
}

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

static void put_capped(struct line *line, enum access_field field, struct strview text, size_t max)
{
    if (text.len == 0) {
        return;
    }
    struct strview shown = front(text, max);
    line->truncated = line->truncated || shown.len < text.len;
    json_field_strview(&line->json, key_of(field), shown);
}

/* A text that the peer wrote. */
static void put_peer_text(struct line *line, enum access_field field, struct strview text,
                          size_t max)
{
    if (line->extent == EXTENT_ALL) {
        put_capped(line, field, text, max);
    } else {
        line->truncated = line->truncated || text.len > 0;
    }
}

/* A text of ours, or one that was verified. */
static void put_view(struct line *line, enum access_field field, struct strview text)
{
    if (line->extent != EXTENT_LEAST) {
        put_capped(line, field, text, ID_MAX);
    } else {
        line->truncated = line->truncated || text.len > 0;
    }
}

static void put_text(struct line *line, enum access_field field, const char *text)
{
    put_view(line, field, strview_from(text));
}

/* What every line has, in every extent. */
static void put_least(struct line *line, enum access_field field, const char *text)
{
    put_capped(line, field, strview_from(text), LEAST_MAX);
}

static void put_what(struct line *line, const struct access_record *record)
{
    char time[CLOCK_TEXT_SIZE];
    json_field_string(&line->json, key_of(ACCESS_FIELD_TIME),
                      clock_format_ms(record->wall_ms, time));
    put_least(line, ACCESS_FIELD_EVENT, record->event);
    json_field_u64(&line->json, key_of(ACCESS_FIELD_SESSION), record->session);
    put_least(line, ACCESS_FIELD_LISTENER, record->listener);
    put_least(line, ACCESS_FIELD_KIND, record->kind);
    put_least(line, ACCESS_FIELD_DECISION, record->decision);
    put_text(line, ACCESS_FIELD_RULE, record->rule);
    if (record->would_deny) {
        json_field_bool(&line->json, key_of(ACCESS_FIELD_WOULD_DENY), true);
    }
    put_text(line, ACCESS_FIELD_SHADOW_DECISION, record->shadow_decision);
    put_text(line, ACCESS_FIELD_SHADOW_RULE, record->shadow_rule);
    if (record->reason != REASON_NONE) {
        put_least(line, ACCESS_FIELD_REASON, reason_label(record->reason));
        if (record->reason != REASON_CLOSED) {
            put_text(line, ACCESS_FIELD_WHY, reason_sentence(record->reason));
        }
    }
    put_peer_text(line, ACCESS_FIELD_DETAIL, strview_from(record->detail), DETAIL_MAX);
}

static void put_who(struct line *line, const struct access_record *record)
{
    put_view(line, ACCESS_FIELD_DOWNSTREAM_ID, record->downstream_id);
    put_view(line, ACCESS_FIELD_OWN_ID, record->own_id);
    put_view(line, ACCESS_FIELD_UPSTREAM_ID, record->upstream_id);
    put_peer_text(line, ACCESS_FIELD_CLAIMED_ID, record->claimed_id, ID_MAX);
    put_peer_text(line, ACCESS_FIELD_SUBJECT, record->subject, SUBJECT_MAX);
    put_peer_text(line, ACCESS_FIELD_SERIAL, record->serial, SERIAL_MAX);
    put_peer_text(line, ACCESS_FIELD_SNI, record->sni, SNI_MAX);
    put_text(line, ACCESS_FIELD_DOWNSTREAM, record->downstream);
    put_text(line, ACCESS_FIELD_UPSTREAM, record->upstream);
    put_text(line, ACCESS_FIELD_UPSTREAM_LOCAL, record->upstream_local);
    put_text(line, ACCESS_FIELD_UNIQUE_ID, record->unique_id);
}

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static void put_tls(struct line *line, enum access_field field, const struct access_tls *tls)
{
    bool known = has_text(tls->version) || has_text(tls->cipher) || has_text(tls->group) ||
                 has_text(tls->alpn);
    if (!known || line->extent == EXTENT_LEAST) {
        line->truncated = line->truncated || known;
        return;
    }
    json_key(&line->json, key_of(field));
    json_object_begin(&line->json);
    put_least(line, ACCESS_FIELD_TLS_VERSION, tls->version);
    put_least(line, ACCESS_FIELD_TLS_CIPHER, tls->cipher);
    put_least(line, ACCESS_FIELD_TLS_GROUP, tls->group);
    put_capped(line, ACCESS_FIELD_TLS_ALPN, strview_from(tls->alpn),
               SNI_MAX); /* RFC 7301 3.1: 255 at most */
    if (tls->resumed) {
        json_field_bool(&line->json, key_of(ACCESS_FIELD_TLS_RESUMED), true);
    }
    json_object_end(&line->json);
}

static void put_how_much(struct line *line, const struct access_record *record)
{
    if (record->has_bytes) {
        json_field_u64(&line->json, key_of(ACCESS_FIELD_BYTES_UP), record->bytes_up);
        json_field_u64(&line->json, key_of(ACCESS_FIELD_BYTES_DOWN), record->bytes_down);
    }
    if (record->repeats > 0) {
        json_field_u64(&line->json, key_of(ACCESS_FIELD_REPEATS), record->repeats);
    }
    json_field_u64(&line->json, key_of(ACCESS_FIELD_DURATION_MS), record->duration_ms);
    put_tls(line, ACCESS_FIELD_TLS, &record->downstream_tls);
    put_tls(line, ACCESS_FIELD_UPSTREAM_TLS, &record->upstream_tls);
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
        json_field_bool(&line.json, key_of(ACCESS_FIELD_TRUNCATED), true);
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
