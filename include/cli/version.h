/* cli/version: `bulkhead --version`. argv[0] is the subcommand; returns the exit code. */
#ifndef BULKHEAD_CLI_VERSION_H
#define BULKHEAD_CLI_VERSION_H

int version_main(int argc, char **argv);

#endif
