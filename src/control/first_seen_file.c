#include "control/first_seen_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "config/scalar.h"
#include "spiffe/spiffe_id.h"
#include "telemetry/peer_table.h"

/* A hundred thousand of the longest IDs; real ones are a twentieth of it. */
enum { FILE_MAX_BYTES = 256 * 1024 * 1024, ASIDE_MAX = 1000, FILE_MODE = 0600, TIME_MAX = 40 };

#define HEAD "# bulkhead first-seen 1"

/* --- reading --------------------------------------------------------------------------------- */

/* The next word; false: there is none, or blanks that part nothing. */
static bool take_word(struct strview *line, struct strview *word)
{
    const char *blank = memchr(line->ptr, ' ', line->len);
    size_t len = blank == NULL ? line->len : (size_t)(blank - line->ptr);
    size_t taken = blank == NULL ? len : len + 1;
    *word = (struct strview){line->ptr, len};
    *line = (struct strview){line->ptr + taken, line->len - taken};
    return len > 0 && (blank == NULL || line->len > 0);
}

static bool take_time(struct strview word, uint64_t *ms)
{
    char text[TIME_MAX];
    int64_t seconds = 0;
    const char *why = NULL;
    if (word.len >= sizeof(text) || memchr(word.ptr, '\0', word.len) != NULL) {
        return false;
    }
    memcpy(text, word.ptr, word.len);
    text[word.len] = '\0';
    if (!scalar_parse_time(text, &seconds, &why) || seconds <= 0) {
        return false;
    }
    *ms = (uint64_t)seconds * 1000;
    return true;
}

/* What is wrong with it, or NULL. */
static const char *take_line(struct strview line, struct peer_table *table)
{
    struct strview id_text;
    struct strview first;
    struct strview denied;
    struct spiffe_id id;
    const char *why = NULL;
    uint64_t first_ms = 0;
    uint64_t denied_ms = 0;
    if (!take_word(&line, &id_text) || !take_word(&line, &first) || !take_word(&line, &denied) ||
        line.len > 0) {
        return "a line is a SPIFFE ID and two times, a blank between two";
    }
    if (spiffe_id_parse(id_text, &id, &why) != 0) {
        return why;
    }
    bool never = strview_equal_text(denied, "-");
    if (!take_time(first, &first_ms) || (!never && !take_time(denied, &denied_ms))) {
        return "a time must be one such as 2026-11-30T22:30:00Z";
    }
    if (!peer_table_know(table, id_text, first_ms, denied_ms)) {
        return "the SPIFFE ID stands there twice, or there are more than are kept";
    }
    return NULL;
}

/* All that can be understood; what is wrong first, or NULL. */
static const char *take_lines(struct strview text, struct peer_table *table, size_t *line)
{
    const char *first_fault = NULL;
    size_t number = 0;
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.ptr);
        struct strview one = {text.ptr, len};
        const char *fault = end == NULL ? "the last line is cut short" : NULL;
        number++;
        if (number == 1) {
            bool is_head = strview_equal_text(one, HEAD);
            fault = fault == NULL && !is_head ? "it does not begin with \"" HEAD "\"" : fault;
        } else if (fault == NULL) {
            fault = take_line(one, table);
        }
        if (fault != NULL && first_fault == NULL) {
            first_fault = fault;
            *line = number;
        }
        size_t taken = len + (end != NULL);
        text = (struct strview){text.ptr + taken, text.len - taken};
    }
    return first_fault;
}

enum first_seen_state first_seen_file_read(const char *path, struct peer_table *table, size_t *line,
                                           struct errbuf *err)
{
    char *data = NULL;
    size_t len = 0;
    struct stat info;
    *line = 0;
    if (stat(path, &info) != 0 && errno == ENOENT) {
        return FIRST_SEEN_ABSENT;
    }
    if (file_read(path, FILE_MAX_BYTES, &data, &len, err) != 0) {
        return FIRST_SEEN_UNREADABLE;
    }
    const char *fault = len == 0 ? "it is empty" : NULL;
    if (len > 0) {
        fault = take_lines((struct strview){data, len}, table, line);
    }
    mem_free(data);
    if (fault != NULL) {
        errbuf_set(err, "%s", fault);
        return FIRST_SEEN_BROKEN;
    }
    return FIRST_SEEN_WHOLE;
}

/* link fails where something is there, as RENAME_NOREPLACE does, which not every filesystem has. */
static int move_no_replace(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -1;
    }
    return link(from, to) == 0 ? unlink(from) : -1;
}

int first_seen_file_set_aside(const char *path, char moved_to[FIRST_SEEN_PATH_SIZE],
                              struct errbuf *err)
{
    for (int i = 1; i <= ASIDE_MAX; i++) {
        int len = snprintf(moved_to, FIRST_SEEN_PATH_SIZE, "%s.broken-%d", path, i);
        if (len < 0 || len >= FIRST_SEEN_PATH_SIZE) {
            errbuf_set(err, "its path is too long");
            return -1;
        }
        if (move_no_replace(path, moved_to) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    errbuf_set_errno(err, "can't move it aside to %s", moved_to);
    return -1;
}

/* --- writing --------------------------------------------------------------------------------- */

static bool write_peer(FILE *out, const struct peer_record *peer)
{
    char first[CLOCK_TEXT_SIZE];
    char denied[CLOCK_TEXT_SIZE] = "-";
    if (!peer->has_called) {
        return true; /* one that we have dialled */
    }
    if (peer->first_denied_ms != 0) {
        (void)clock_format_s((int64_t)(peer->first_denied_ms / 1000), denied);
    }
    return fprintf(out, "%.*s %s %s\n", (int)peer->id.len, peer->id.ptr,
                   clock_format_s((int64_t)(peer->first_ms / 1000), first), denied) > 0;
}

static bool write_all(FILE *out, const struct peer_table *table)
{
    struct peer_record peer;
    bool good = fputs(HEAD "\n", out) >= 0;
    for (size_t i = 0; good && i < peer_table_known(table); i++) {
        peer_table_get_known(table, i, &peer);
        good = write_peer(out, &peer);
    }
    size_t size = peer_table_size(table);
    for (size_t i = 1; good && i < size; i++) {
        peer_table_get(table, i, &peer);
        good = peer_table_was_known(table, i) || write_peer(out, &peer);
    }
    return good && fflush(out) == 0;
}

/* The rename itself must outlive a loss of power too. */
static int sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash == NULL   ? mem_strdup(".")
                      : slash == path ? mem_strdup("/")
                                      : mem_strndup(path, (size_t)(slash - path));
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd < 0 ? -1 : fsync(fd);
    int error = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    mem_free(directory);
    errno = error;
    return result;
}

/* A new file, which only we have: what a crash may have left is ours to remove. */
static FILE *make_new(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT) {
        return NULL;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return NULL;
    }
    FILE *out = fchmod(fd, FILE_MODE) == 0 ? fdopen(fd, "w") : NULL;
    if (out == NULL) {
        int error = errno;
        (void)close(fd);
        errno = error;
    }
    return out;
}

static int write_new(const char *path, const struct peer_table *table)
{
    FILE *out = make_new(path);
    if (out == NULL) {
        return -1;
    }
    int result = write_all(out, table) && fsync(fileno(out)) == 0 ? 0 : -1;
    int error = errno;
    if (fclose(out) != 0 && result == 0) {
        error = errno;
        result = -1;
    }
    errno = error;
    return result;
}

int first_seen_file_write(const char *path, const struct peer_table *table, struct errbuf *err)
{
    char new_path[FIRST_SEEN_PATH_SIZE];
    int len = snprintf(new_path, sizeof(new_path), "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof(new_path)) {
        errbuf_set(err, "its path is too long");
        return -1;
    }
    if (write_new(new_path, table) != 0 || rename(new_path, path) != 0) {
        errbuf_set_errno(err, "can't write %s", new_path);
        return -1;
    }
    if (sync_directory(path) != 0) {
        errbuf_set_errno(err, "can't sync the directory of %s", path);
        return -1;
    }
    return 0;
}
