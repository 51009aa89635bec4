/* cli/explain: `bulkhead explain`. argv[0] is the subcommand; returns the exit code. */
#ifndef BULKHEAD_CLI_EXPLAIN_H
#define BULKHEAD_CLI_EXPLAIN_H

int explain_main(int argc, char **argv);

#endif
