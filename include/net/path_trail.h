/*
 * path_trail: the way a path takes through directories and symbolic links to its file.
 *
 * For those who watch the way: whoever replaces a file replaces one name on it. Kubernetes, for
 * one, gives file -> ..data/file and ..data -> ..2026_01_01, and swaps ..data by a rename. Nothing
 * is opened; links are read and followed by the kernel's rules (40 at most). Any thread.
 */
#ifndef BULKHEAD_NET_PATH_TRAIL_H
#define BULKHEAD_NET_PATH_TRAIL_H

#include <limits.h>
#include <stdbool.h>

enum path_step {
    PATH_STEP_DIRECTORY, /* dir is on the way; name is NULL */
    PATH_STEP_ENTRY,     /* name in dir is a link, or missing, or what path_trail_walk was told */
    PATH_STEP_FILE       /* name in dir is the last of the way; may be missing */
};
/*
 * dir has no link in it: absolute, or relative to the working directory when the path is. Called
 * before the name is looked up for good: what is armed here misses no change that the result of
 * the walk does not show. Both texts are good during the call.
 */
typedef void path_step_fn(void *arg, enum path_step step, const char *dir, const char *name);

enum path_names {
    PATH_NAMES_LINKS, /* PATH_STEP_ENTRY for links and for what is missing */
    PATH_NAMES_ALL    /* and for each directory in its parent */
};
/*
 * True when the way leads to something; `resolved` is then its path without links. False when a
 * name is missing (or is no directory, or may not be looked at, or links go round): `resolved` ends
 * with that name. What a link in /proc leads to has no path: false too.
 */
bool path_trail_walk(const char *path, enum path_names names, path_step_fn *visit, void *arg,
                     char resolved[PATH_MAX]);

#endif
