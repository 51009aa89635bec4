/*
 * access_file: the file, pipe or device that `access_log.to` names.
 */
#ifndef BULKHEAD_TELEMETRY_ACCESS_FILE_H
#define BULKHEAD_TELEMETRY_ACCESS_FILE_H

#include "base/errbuf.h"

/* Opens for appending; makes a file that is not there, with mode 0640 whatever the umask says. The
   descriptor, or -1 with err. */
int access_file_open(const char *path, struct errbuf *err);
/* Whether access_file_open would do, without making anything. -1 with err. */
int access_file_check(const char *path, struct errbuf *err) __attribute__((warn_unused_result));

#endif
