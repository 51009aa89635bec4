/* `bulkhead --version`: our version, and each library's at build time and at run time. */
#include "cli/version.h"

#include <stdio.h>
#include <yaml.h>

#include "net/loop.h"
#include "net/resolver.h"
#include "tls/tls_context.h"

int version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    int major = 0;
    int minor = 0;
    int patch = 0;
    yaml_get_version(&major, &minor, &patch);
    printf("bulkhead %s\n", BULKHEAD_VERSION);
    printf("  OpenSSL   built with %s, running with %s\n", tls_build_version(), tls_run_version());
    printf("  libevent  built with %s, running with %s\n", loop_build_version(),
           loop_run_version());
    printf("  c-ares    built with %s, running with %s\n", resolver_build_version(),
           resolver_run_version());
    printf("  libyaml   running with %d.%d.%d\n", major, minor, patch);
    return 0;
}
