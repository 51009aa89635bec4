/* `bulkhead run`: parse the arguments, hand over to control. */
#include "cli/run.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/config_input.h"
#include "cli/output.h"
#include "cli/vars.h"
#include "control/control.h"

static void print_help(FILE *out)
{
    fputs("usage: bulkhead run [-c FILE] [--var NAME=VALUE]...\n"
          "\n"
          "Runs the proxy in the foreground until SIGTERM or SIGINT. The first signal drains:\n"
          "after drain.delay no more is accepted, and open sessions may end within\n"
          "drain.timeout. A second one stops at once.\n"
          "The process log goes to stderr, the access log to stdout (access_log.to).\n"
          "\n"
          "  -c, --config FILE   the configuration (see config/REFERENCE.md); - is standard input\n"
          "      --var N=VALUE   the trust domain that ${N} stands for; over `variables` of the\n"
          "                      file, for every reload too; may be given several times\n"
          "  -h, --help          this text\n"
          "\n" CONFIG_INPUT_HELP
          "Such a text stays for as long as it runs; the files that it names are followed.\n"
          "\n"
          "Examples:\n"
          "  bulkhead run -c /etc/bulkhead/bulkhead.yaml\n"
          "  bulkhead run -c sidecar.yaml > access.jsonl\n"
          "  bulkhead run -c sidecar.yaml --var domain=prod.example\n"
          "\n"
          "Exit code: 0 stopped as told, 1 could not start, 2 wrong usage or configuration.\n",
          out);
}

struct options {
    const char *file;
    struct vars vars;
};

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"var", required_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    unsigned files = 0;
    int option;
    *code = 2;
    while ((option = getopt_long(argc, argv, "c:h", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            files++;
            options->file = optarg;
            break;
        case 'v':
            if (!vars_add(&options->vars, "run", optarg)) {
                return false;
            }
            break;
        case 'h':
            print_help(stdout);
            *code = output_finish("run", 0);
            return false;
        default:
            fputs("try: bulkhead run --help\n", stderr);
            return false;
        }
    }
    if (files > 1 || optind != argc) {
        fputs("bulkhead run: one configuration is needed: bulkhead run -c FILE; try: bulkhead run "
              "--help\n",
              stderr);
        return false;
    }
    return true;
}

static bool take_config(const struct options *options, struct config_input *input)
{
    enum config_input_result result = config_input_take(input, "run", options->file);
    if (result == CONFIG_INPUT_NONE) {
        fputs("bulkhead run: one configuration is needed: bulkhead run -c FILE; try: bulkhead run "
              "--help\n",
              stderr);
    }
    return result == CONFIG_INPUT_TAKEN;
}

int run_main(int argc, char **argv)
{
    struct options options = {.file = NULL};
    struct config_input input = {.name = NULL};
    int code = 2;
    if (parse_options(argc, argv, &options, &code) && take_config(&options, &input)) {
        struct config_options config = vars_options(&options.vars);
        config_input_set(&input, &config);
        code = control_run(input.name, &config);
    }
    config_input_fini(&input);
    vars_fini(&options.vars);
    return code;
}
