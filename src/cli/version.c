/* `bulkhead version`: ours, and each library's at build time and at run time. */
#include "cli/version.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/output.h"
#include "config/yaml_doc.h"
#include "net/grpc_call.h"
#include "net/loop.h"
#include "net/resolver.h"
#include "spiffe/trust_bundle.h"
#include "tls/tls_context.h"

static void print_help(FILE *out)
{
    fputs("usage: bulkhead version\n"
          "\n"
          "Prints the version of bulkhead, and of each library as it was built with and as it is\n"
          "now. `bulkhead --version` does the same.\n"
          "\n"
          "  -h, --help  this text\n"
          "\n"
          "Example:\n"
          "  bulkhead version\n"
          "\n"
          "Exit code: 0 done, 1 failed, 2 wrong usage.\n",
          out);
}

static void print_versions(void)
{
    printf("bulkhead %s\n", BULKHEAD_VERSION);
    printf("  OpenSSL   built with %s, running with %s\n", tls_build_version(), tls_run_version());
    printf("  libevent  built with %s, running with %s\n", loop_build_version(),
           loop_run_version());
    printf("  c-ares    built with %s, running with %s\n", resolver_build_version(),
           resolver_run_version());
    printf("  nghttp2   built with %s, running with %s\n", grpc_call_build_version(),
           grpc_call_run_version());
    printf("  libyaml   running with %s\n", yaml_doc_run_version());
    printf("  jansson   built with %s, running with %s\n", trust_bundle_json_build_version(),
           trust_bundle_json_run_version());
}

int version_main(int argc, char **argv)
{
    static const struct option known[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option = getopt_long(argc, argv, "h", known, NULL);
    if (option == 'h') {
        print_help(stdout);
        return output_finish("version", 0);
    }
    if (option != -1) {
        fputs("try: bulkhead version --help\n", stderr);
        return 2;
    }
    if (optind < argc) {
        fprintf(stderr,
                "bulkhead version: unexpected argument \"%s\"; try: bulkhead version --help\n",
                argv[optind]);
        return 2;
    }
    print_versions();
    return output_finish("version", 0);
}
