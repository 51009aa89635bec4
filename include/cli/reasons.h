/* `bulkhead reasons`: what the labels in the access log mean, and what to do. */
#ifndef BULKHEAD_CLI_REASONS_H
#define BULKHEAD_CLI_REASONS_H

int reasons_main(int argc, char **argv);

#endif
