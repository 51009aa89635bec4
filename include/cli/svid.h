/* cli/svid: `bulkhead svid`. argv[0] is the subcommand; returns the exit code. */
#ifndef BULKHEAD_CLI_SVID_H
#define BULKHEAD_CLI_SVID_H

int svid_main(int argc, char **argv);

#endif
