/* cli/ready: `bulkhead ready`. argv[0] is the subcommand; returns the exit code. */
#ifndef BULKHEAD_CLI_READY_H
#define BULKHEAD_CLI_READY_H

int ready_main(int argc, char **argv);

#endif
