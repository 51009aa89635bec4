/*
 * path_trail: done | rest, a component at a time.
 *
 *     done (no links)   next component     rest
 *     /run/certs        ..data             /tls.crt
 *
 * A directory moves to `done`; a link is replaced by its text in front of `rest`, and done falls
 * back to "/" when that is absolute. ".." takes a component off `done`, which is right because
 * there is no link in it.
 */
#include "net/path_trail.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

/* path_resolution(7). */
enum { MAX_LINKS = 40 };

struct walk {
    char done[PATH_MAX];
    char rest[PATH_MAX];
    char name[NAME_MAX + 1];
    char full[PATH_MAX]; /* done/name */
    enum path_names names;
    path_step_fn *visit;
    void *arg;
    unsigned links;
};

enum advance { ADVANCE_ON, ADVANCE_FOUND, ADVANCE_LOST };

static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
    const char *between = dir[strlen(dir) - 1] == '/' ? "" : "/";
    int len = snprintf(out, PATH_MAX, "%s%s%s", dir, between, name);
    return len > 0 && len < PATH_MAX;
}

/* The next component goes to walk->name, "" when none is left. False: longer than any name. */
static bool take_component(struct walk *walk)
{
    const char *start = walk->rest + strspn(walk->rest, "/");
    size_t len = strcspn(start, "/");
    if (len > NAME_MAX) {
        return false;
    }
    memcpy(walk->name, start, len);
    walk->name[len] = '\0';
    memmove(walk->rest, start + len, strlen(start + len) + 1);
    return true;
}

static bool nothing_follows(const struct walk *walk)
{
    return walk->rest[strspn(walk->rest, "/")] == '\0';
}

static bool go_up(struct walk *walk)
{
    char *slash = strrchr(walk->done, '/');
    const char *last = slash != NULL ? slash + 1 : walk->done;
    if (strcmp(walk->done, "/") == 0) {
        return true;
    }
    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
        char up[PATH_MAX];
        if (!join(up, walk->done, "..")) {
            return false;
        }
        memcpy(walk->done, up, sizeof(up));
        return true;
    }
    ASSERT(slash != NULL); /* done begins with "/" or "./" */
    if (slash == walk->done) {
        slash++; /* "/run" becomes "/" */
    }
    *slash = '\0';
    return true;
}

static void start_at(struct walk *walk, const char *path)
{
    (void)snprintf(walk->done, sizeof(walk->done), "%s", path[0] == '/' ? "/" : ".");
}

static bool follow_link(struct walk *walk)
{
    char text[PATH_MAX];
    ssize_t len = readlink(walk->full, text, sizeof(text) - 1);
    if (len <= 0 || ++walk->links > MAX_LINKS) {
        return false;
    }
    text[len] = '\0';
    char rest[PATH_MAX];
    int total = snprintf(rest, sizeof(rest), "%s/%s", text, walk->rest);
    if (total < 0 || total >= PATH_MAX) {
        return false;
    }
    memcpy(walk->rest, rest, (size_t)total + 1);
    if (text[0] == '/') {
        start_at(walk, text);
    }
    return true;
}

static void visit(const struct walk *walk, enum path_step step)
{
    walk->visit(walk->arg, step, walk->done, walk->name);
}

static enum advance enter_directory(struct walk *walk)
{
    memcpy(walk->done, walk->full, sizeof(walk->done));
    walk->visit(walk->arg, PATH_STEP_DIRECTORY, walk->done, NULL);
    return ADVANCE_ON;
}

/* The name is looked up again after the visit: it may have changed before somebody watched. */
static enum advance step_on_name(struct walk *walk)
{
    struct stat info;
    bool is_last = nothing_follows(walk);
    bool exists = lstat(walk->full, &info) == 0;
    if (exists && S_ISDIR(info.st_mode) && !is_last && walk->names == PATH_NAMES_LINKS) {
        return enter_directory(walk);
    }
    bool may_be_link = exists && S_ISLNK(info.st_mode);
    visit(walk, is_last && !may_be_link ? PATH_STEP_FILE : PATH_STEP_ENTRY);
    if (lstat(walk->full, &info) != 0) {
        return ADVANCE_LOST;
    }
    if (S_ISLNK(info.st_mode)) {
        return follow_link(walk) ? ADVANCE_ON : ADVANCE_LOST;
    }
    if (is_last) {
        return ADVANCE_FOUND;
    }
    return S_ISDIR(info.st_mode) ? enter_directory(walk) : ADVANCE_LOST;
}

static enum advance advance(struct walk *walk)
{
    walk->full[0] = '\0';
    if (!take_component(walk)) {
        return ADVANCE_LOST;
    }
    if (walk->name[0] == '\0') {
        memcpy(walk->full, walk->done, sizeof(walk->full)); /* "/", or a path that ends in "/.." */
        return ADVANCE_FOUND;
    }
    if (strcmp(walk->name, ".") == 0) {
        return ADVANCE_ON;
    }
    if (strcmp(walk->name, "..") == 0) {
        return go_up(walk) ? ADVANCE_ON : ADVANCE_LOST;
    }
    return join(walk->full, walk->done, walk->name) ? step_on_name(walk) : ADVANCE_LOST;
}

bool path_trail_walk(const char *path, enum path_names names, path_step_fn *visit_fn, void *arg,
                     char resolved[PATH_MAX])
{
    struct walk walk = {.names = names, .visit = visit_fn, .arg = arg};
    resolved[0] = '\0';
    size_t len = strlen(path);
    if (len == 0 || len >= PATH_MAX) {
        return false;
    }
    memcpy(walk.rest, path, len + 1);
    start_at(&walk, path);
    enum advance result;
    do {
        result = advance(&walk);
    } while (result == ADVANCE_ON);
    memcpy(resolved, walk.full, sizeof(walk.full));
    return result == ADVANCE_FOUND;
}
