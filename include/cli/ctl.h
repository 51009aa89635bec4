/* cli/ctl: `bulkhead ctl`. argv[0] is the subcommand; returns the exit code. */
#ifndef BULKHEAD_CLI_CTL_H
#define BULKHEAD_CLI_CTL_H

int ctl_main(int argc, char **argv);

#endif
