/*
 * load: the load generator of the benchmark, and the backend behind what it measures. See --help,
 * client.h and backend.h. An independent peer: nothing of src/tls/ or src/proxy/ is in it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "load/backend.h"
#include "load/client.h"
#include "load/options.h"
#include "load/stream.h"

enum { SPARE_DESCRIPTORS = 16 };

/* As many as the hard limit allows; false when that is too few for the client's connections. */
static bool raise_descriptors(const struct options *o)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return true;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    rlim_t wanted = (rlim_t)o->connections + SPARE_DESCRIPTORS;
    if (wanted <= limit.rlim_max) {
        return true;
    }
    fprintf(stderr,
            "load: --connections %u needs %ju file descriptors, the hard limit is %ju: raise it "
            "(ulimit -Hn) or ask for fewer\n",
            o->connections, (uintmax_t)wanted, (uintmax_t)limit.rlim_max);
    return false;
}

int main(int argc, char **argv)
{
    struct options o;
    enum said said = options_parse(&o, argc, argv);
    if (said != SAID_NOTHING) {
        return said == SAID_HELP ? 0 : 2;
    }
    if (!raise_descriptors(&o)) {
        return 1;
    }
    stream_pattern_init();
    return o.verb == VERB_BACKEND ? backend_run(&o) : client_run(&o);
}
