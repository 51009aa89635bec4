#include "telemetry/access_reopen.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "telemetry/access_file.h"

void access_reopen_init(struct access_reopen *reopen, const char *path)
{
    *reopen = (struct access_reopen){.path = path == NULL ? NULL : mem_strdup(path)};
}

void access_reopen_fini(struct access_reopen *reopen)
{
    mem_free(reopen->path);
    reopen->path = NULL;
}

bool access_reopen_is_due(const struct access_reopen *reopen, int fd)
{
    struct stat open_one;
    struct stat named;
    /* A pipe or device has no other file behind its name; its own is opened anew when asked. */
    if (reopen->path == NULL || fstat(fd, &open_one) != 0 || !S_ISREG(open_one.st_mode)) {
        return false;
    }
    if (stat(reopen->path, &named) != 0) {
        return errno == ENOENT || errno == ENOTDIR;
    }
    return named.st_dev != open_one.st_dev || named.st_ino != open_one.st_ino;
}

static bool fail(struct access_reopen *reopen, struct log *log, const char *error)
{
    if (!reopen->failing) {
        log_begin(log, LOG_ERROR, "access_log_not_reopened");
        log_str(log, "file", reopen->path);
        log_str(log, "error", error);
        log_end(log);
    }
    reopen->failing = true;
    return false;
}

bool access_reopen_now(struct access_reopen *reopen, int fd, struct log *log)
{
    struct errbuf err;
    if (reopen->path == NULL) {
        return false;
    }
    int fresh = access_file_open(reopen->path, &err);
    if (fresh < 0) {
        return fail(reopen, log, err.text);
    }
    int placed = dup3(fresh, fd, O_CLOEXEC);
    if (placed < 0) {
        errbuf_set_errno(&err, "can't put it in the place of the former");
    }
    (void)close(fresh); /* another name of what is written to from now on */
    if (placed < 0) {
        return fail(reopen, log, err.text);
    }
    reopen->failing = false;
    log_begin(log, LOG_INFO, "access_log_reopened");
    log_str(log, "file", reopen->path);
    log_end(log);
    return true;
}
