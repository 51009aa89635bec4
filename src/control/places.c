/*
 * In a directory that everyone may write to, without the sticky bit, everyone may remove a socket
 * and put his own in its place: callers would then talk to him.
 */
#include "control/places.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "config/config.h"
#include "telemetry/access_file.h"

void places_check_logs(const struct config *config, struct diag_list *diags)
{
    const struct config_string *to = &config->access_log.to;
    struct errbuf err;
    if (to->text == NULL || strcmp(to->text, "stdout") == 0 || strcmp(to->text, "none") == 0) {
        return;
    }
    if (access_file_check(to->text, &err) != 0) {
        diag_error(diags, to->pos, "access_log.to: %s", err.text);
    }
}

/* The directory of an absolute path, if everyone may rename in it; NULL if not. The caller's. */
static char *open_directory(const char *path)
{
    struct stat info;
    char *directory = mem_strdup(path);
    char *slash = strrchr(directory, '/');
    if (slash != NULL) {
        slash[slash == directory] = '\0';
        if (stat(directory, &info) == 0 && (info.st_mode & S_IWOTH) != 0 &&
            (info.st_mode & S_ISVTX) == 0) {
            return directory;
        }
    }
    mem_free(directory);
    return NULL;
}

static void warn_socket(const struct config_address *address, const char *what,
                        struct diag_list *diags)
{
    char *directory = address->path == NULL ? NULL : open_directory(address->path);
    if (directory != NULL) {
        diag_warning(diags, address->text.pos,
                     "%s: everyone may write to %s, and so put another socket in the place of "
                     "this one: chmod o-w",
                     what, directory);
        mem_free(directory);
    }
}

void places_warn_sockets(const struct config *config, struct diag_list *diags)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        warn_socket(&config->listeners[i].accept, "accept", diags);
    }
    warn_socket(&config->admin.listen, "admin.listen", diags);
    warn_socket(&config->probes.listen, "probes.listen", diags);
}
