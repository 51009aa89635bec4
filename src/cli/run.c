/* `bulkhead run`: parse the arguments, hand over to control. */
#include "cli/run.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/output.h"
#include "control/control.h"

static void print_help(FILE *out)
{
    fputs("usage: bulkhead run -c FILE\n"
          "\n"
          "Runs the proxy in the foreground until SIGTERM or SIGINT. The first signal drains:\n"
          "no more is accepted, open sessions may end within drain.timeout. A second one stops\n"
          "at once. The process log goes to stderr, the access log to stdout (access_log.to).\n"
          "\n"
          "  -c, --config FILE   the configuration (see config/REFERENCE.md)\n"
          "  -h, --help          this text\n"
          "\n"
          "Examples:\n"
          "  bulkhead run -c /etc/bulkhead/bulkhead.yaml\n"
          "  bulkhead run -c sidecar.yaml > access.jsonl\n"
          "\n"
          "Exit code: 0 stopped as told, 1 could not start, 2 wrong usage or configuration.\n",
          out);
}

int run_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *config_path = NULL;
    unsigned files = 0;
    int option;
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            files++;
            config_path = optarg;
            break;
        case 'h':
            print_help(stdout);
            return output_finish("run", 0);
        default:
            fputs("try: bulkhead run --help\n", stderr);
            return 2;
        }
    }
    if (files != 1 || optind != argc) {
        fputs("bulkhead run: one configuration is needed: bulkhead run -c FILE; try: bulkhead run "
              "--help\n",
              stderr);
        return 2;
    }
    return control_run(config_path);
}
