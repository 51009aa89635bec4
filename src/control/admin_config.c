/*
 * One unit of the configuration after the other is rendered as an array of its own, whose brackets
 * are left out: so no more than one stands in memory beside what is being sent.
 */
#include "admin_config.h"

#include <string.h>

#include "admin_json.h"
#include "base/bytebuf.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "config/effective.h"
#include "control/sources.h"
#include "control_private.h"
#include "net/http_server.h"
#include "proxy/setup.h"

enum { PIECE_SIZE = 64 * 1024 };

struct telling {
    struct setup *setup; /* a reference: a reload in between changes nothing of the answer */
    uint64_t generation;
    struct effective_cursor cursor;
    bool begun;
    bool has_keys; /* the next one follows a comma */
};

static void write_unit(struct json_writer *w, const void *arg)
{
    const struct telling *telling = arg;
    json_array_begin(w);
    effective_write(telling->setup->config, &telling->cursor, w);
    json_array_end(w);
}

/* False: memory is out. */
static bool add_unit(struct telling *telling, struct bytebuf *out)
{
    enum { BRACKETS = 2 };
    size_t len = 0;
    char *text = admin_json_render(write_unit, telling, &len);
    bool good = text != NULL;
    if (good && len > BRACKETS) {
        good = (!telling->has_keys || bytebuf_append(out, ",", 1)) &&
               bytebuf_append(out, text + 1, len - BRACKETS);
        telling->has_keys = true;
    }
    mem_free(text);
    return good;
}

static void write_head(struct json_writer *w, const void *arg)
{
    const struct telling *telling = arg;
    const struct config *config = telling->setup->config;
    json_object_begin(w);
    json_field_u64(w, "generation", telling->generation);
    json_key(w, "files");
    json_array_begin(w);
    for (size_t i = 0; i < config->file_count; i++) {
        json_text(w, config->files[i]);
    }
    json_array_end(w);
    json_key(w, "keys");
    json_array_begin(w);
    json_array_end(w);
    json_object_end(w);
}

/* The object up to the keys. */
static bool begin(struct telling *telling, struct bytebuf *out)
{
    enum { END = 2 }; /* "]}" */
    size_t len = 0;
    char *text = admin_json_render(write_head, telling, &len);
    bool good = text != NULL && bytebuf_append(out, text, len - END);
    mem_free(text);
    telling->begun = true;
    return good;
}

static enum http_piece next_piece(void *arg, struct bytebuf *out)
{
    struct telling *telling = arg;
    if (!telling->begun && !begin(telling, out)) {
        return HTTP_PIECE_FAILED;
    }
    while (!effective_is_end(&telling->cursor) && bytebuf_len(out) < PIECE_SIZE) {
        if (!add_unit(telling, out)) {
            return HTTP_PIECE_FAILED;
        }
        effective_advance(telling->setup->config, &telling->cursor);
    }
    if (!effective_is_end(&telling->cursor)) {
        return HTTP_PIECE_MORE;
    }
    return bytebuf_append(out, "]}", 2) ? HTTP_PIECE_LAST : HTTP_PIECE_FAILED;
}

static void on_done(void *arg)
{
    struct telling *telling = arg;
    setup_unref(telling->setup);
    mem_free(telling);
}

bool admin_config_stream(struct control *control, struct http_stream *out)
{
    struct telling *telling = mem_try_alloc(sizeof(*telling));
    if (telling == NULL) {
        return false;
    }
    telling->setup = setup_ref(sources_in_force(control->sources)->setup);
    telling->generation = control->reloads.generation;
    *out = (struct http_stream){.next = next_piece, .done = on_done, .arg = telling};
    return true;
}
