/* The program: finds the subcommand. Everything else is in the archive, so that tests link it. */
#include <stdio.h>
#include <string.h>

#include "cli/check.h"
#include "cli/ctl.h"
#include "cli/explain.h"
#include "cli/output.h"
#include "cli/ready.h"
#include "cli/reasons.h"
#include "cli/run.h"
#include "cli/svid.h"
#include "cli/version.h"

struct command {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *summary;
};

static const struct command commands[] = {
    {"run", run_main, "run the proxy"},
    {"check", check_main, "say everything that is wrong in a configuration"},
    {"explain", explain_main, "say whether a peer may use a listener, and which rule decides"},
    {"ctl", ctl_main, "ask a running bulkhead: reload, preview a reload, sessions"},
    {"ready", ready_main, "ask a running bulkhead whether it is ready: exit code 0 or 1"},
    {"svid", svid_main, "say what a certificate is: its SPIFFE ID, validity, broken rules"},
    {"reasons", reasons_main, "say what a reason in the access log means, and what to do"},
    {"version", version_main, "print versions (also --version)"},
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *out)
{
    fputs("usage: bulkhead COMMAND [OPTIONS]\n"
          "\n"
          "A mutual-TLS proxy that admits by SPIFFE ID: it stands beside a service or before a\n"
          "group of them and forwards only what an allow-list grants.\n"
          "\n"
          "Commands:\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n"
          "Examples:\n"
          "  bulkhead check -c bulkhead.yaml\n"
          "  bulkhead run -c bulkhead.yaml\n"
          "  bulkhead svid /run/bulkhead/svid.pem\n"
          "  bulkhead COMMAND --help\n"
          "\n"
          "Exit code: 0 done, 1 failed, 2 wrong usage or configuration.\n",
          out);
}

/* getopt begins its messages with argv[0]: so they begin as ours do. */
static int run_command(const struct command *command, int argc, char **argv)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "bulkhead %s", command->name);
    argv[0] = name;
    return command->main(argc, argv);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return output_finish("help", 0);
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return run_command(&commands[i], argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "bulkhead: unknown command \"%s\"; try: bulkhead --help\n", argv[1]);
    return 2;
}
