/*
 * Small questions to the kernel at start, and the few things that protect the process before it
 * parses anything.
 */
#include "control/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <malloc.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* A socket that took the place of a closed standard descriptor would be written to as a log. */
static void open_standard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

enum { OWN_PAGES_FROM = 128 * 1024 };

void process_prepare(void)
{
    /* glibc's own first threshold, but fixed: it would grow with the first large block that is
       freed, and from then on tables of some hundred KiB, of which little is ever written, would be
       cut from the heap, zeroed page by page, and stay in it when they are freed. Before any of
       them. */
    (void)mallopt(M_MMAP_THRESHOLD, OWN_PAGES_FROM);
    open_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    /* Best effort: what a kernel refuses here takes nothing from the checks. */
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    /* RLIMIT_CORE does not stop a core_pattern that is a pipe; this does, and keeps processes of
       the same user from reading our memory through ptrace or /proc. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* A kernel before 5.9 and some seccomp filters have no close_range(2). */
static void close_each_from(int first)
{
    struct rlimit limit = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    for (rlim_t fd = (rlim_t)first; fd < limit.rlim_cur && fd < INT_MAX; fd++) {
        (void)close((int)fd); /* most are not open */
    }
}

void process_close_inherited(size_t passed)
{
    unsigned first = STDERR_FILENO + 1 + (unsigned)passed;
    if (close_range(first, ~0U, 0) != 0) {
        close_each_from((int)first);
    }
}

uint64_t process_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    struct rlimit raised = {limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        return raised.rlim_cur;
    }
    return limit.rlim_cur;
}

uint64_t process_open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return 64; /* no /proc: a number on the safe side */
    }
    uint64_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            count++;
        }
    }
    closedir(dir);
    return count - 1; /* the directory's own */
}

/* "max 100000" or "150000 100000": quota and period. 0: no quota. */
static unsigned cgroup_cpus(void)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL) {
        return 0;
    }
    char line[64] = "";
    bool read = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    char *rest = NULL;
    unsigned long quota = read ? strtoul(line, &rest, 10) : 0; /* "max" reads as 0 */
    unsigned long period = quota != 0 ? strtoul(rest, NULL, 10) : 0;
    return period == 0 ? 0 : (unsigned)((quota + period - 1) / period);
}

unsigned process_usable_cpus(void)
{
    cpu_set_t set;
    unsigned cpus = 1;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        cpus = (unsigned)CPU_COUNT(&set);
    }
    unsigned quota = cgroup_cpus();
    if (quota != 0 && quota < cpus) {
        cpus = quota;
    }
    return cpus == 0 ? 1 : cpus;
}

/* A number, or -1. */
static long number_or_minus_one(const char *text)
{
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    return errno == 0 && *text != '\0' && *end == '\0' && value >= 0 && value < INT_MAX ? value
                                                                                        : -1;
}

static int find_user(const char *name, uid_t *uid, struct errbuf *err)
{
    long number = number_or_minus_one(name);
    if (number >= 0) {
        *uid = (uid_t)number;
        return 0;
    }
    const struct passwd *user = getpwnam(name);
    if (user == NULL) {
        errbuf_set(err, "socket.owner: there is no user \"%s\"", name);
        return -1;
    }
    *uid = user->pw_uid;
    return 0;
}

static int find_group(const char *name, gid_t *gid, struct errbuf *err)
{
    long number = number_or_minus_one(name);
    if (number >= 0) {
        *gid = (gid_t)number;
        return 0;
    }
    const struct group *group = getgrnam(name);
    if (group == NULL) {
        errbuf_set(err, "socket.group: there is no group \"%s\"", name);
        return -1;
    }
    *gid = group->gr_gid;
    return 0;
}

int process_socket_options(const struct config_socket *config, struct listen_options *options,
                           struct errbuf *err)
{
    *options = (struct listen_options){
        .mode = (mode_t)config->mode, .owner = (uid_t)-1, .group = (gid_t)-1};
    if (config->owner.text != NULL && find_user(config->owner.text, &options->owner, err) != 0) {
        return -1;
    }
    if (config->group.text != NULL && find_group(config->group.text, &options->group, err) != 0) {
        return -1;
    }
    return 0;
}
