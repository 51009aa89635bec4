/* `bulkhead --version`: our version, and each library's at build time and at run time. */
#include "cli/version.h"

#include <stdio.h>

#include "config/yaml_doc.h"
#include "net/loop.h"
#include "net/resolver.h"
#include "spiffe/trust_bundle.h"
#include "tls/tls_context.h"

int version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("bulkhead %s\n", BULKHEAD_VERSION);
    printf("  OpenSSL   built with %s, running with %s\n", tls_build_version(), tls_run_version());
    printf("  libevent  built with %s, running with %s\n", loop_build_version(),
           loop_run_version());
    printf("  c-ares    built with %s, running with %s\n", resolver_build_version(),
           resolver_run_version());
    printf("  libyaml   running with %s\n", yaml_doc_run_version());
    printf("  jansson   built with %s, running with %s\n", trust_bundle_json_build_version(),
           trust_bundle_json_run_version());
    return 0;
}
