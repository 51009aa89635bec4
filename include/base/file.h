/*
 * file: read small files whole, with every failure named. Cold paths only.
 */
#ifndef BULKHEAD_BASE_FILE_H
#define BULKHEAD_BASE_FILE_H

#include "base/errbuf.h"

#include <stddef.h>

/*
 * Reads a regular file of at most max_bytes, or a pipe by one of the names "-" (standard input),
 * /dev/stdin and /dev/fd/N; a pipe's writer must come to its end within ten seconds. Any other
 * FIFO or device is refused: it could hold a start or reload up for ever. *data is
 * NUL-terminated beyond *len and owned by the caller (mem_free). -1 with err: missing,
 * unreadable, a directory, too large. An empty file is no error here.
 */
int file_read(const char *path, size_t max_bytes, char **data, size_t *len, struct errbuf *err)
    __attribute__((warn_unused_result));
/*
 * The same, for private keys: a file that everyone may write is refused, and *others_may_read says
 * whether everyone may read it. The caller wipes and frees.
 */
int file_read_secret(const char *path, size_t max_bytes, char **data, size_t *len,
                     int *others_may_read, struct errbuf *err) __attribute__((warn_unused_result));

#endif
