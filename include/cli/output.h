/*
 * output: how a command ends. What it printed counts only when it has arrived.
 */
#ifndef BULKHEAD_CLI_OUTPUT_H
#define BULKHEAD_CLI_OUTPUT_H

/* Writes out what is left for stdout. code, or 1, said on stderr, when any of it was lost. */
int output_finish(const char *command, int code);

#endif
