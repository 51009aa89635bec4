/* cli/check: `bulkhead check`. argv[0] is the subcommand; returns the exit code. */
#ifndef BULKHEAD_CLI_CHECK_H
#define BULKHEAD_CLI_CHECK_H

int check_main(int argc, char **argv);

#endif
