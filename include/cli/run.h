/* cli/run: `bulkhead run`. argv[0] is the subcommand; returns the exit code. */
#ifndef BULKHEAD_CLI_RUN_H
#define BULKHEAD_CLI_RUN_H

int run_main(int argc, char **argv);

#endif
