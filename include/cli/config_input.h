/*
 * config_input: where a command's configuration comes from: -c FILE, `-c -` (standard input), or
 * else BULKHEAD_CONFIG (its text) or BULKHEAD_CONFIG_FILE (its path) of the environment, for
 * platforms that give a container no volume.
 */
#ifndef BULKHEAD_CLI_CONFIG_INPUT_H
#define BULKHEAD_CLI_CONFIG_INPUT_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_INPUT_HELP                                                                   \
    "Without -c, BULKHEAD_CONFIG of the environment is the configuration's text, or\n"      \
    "BULKHEAD_CONFIG_FILE its path. Relative paths in a text that comes from there or by\n" \
    "`-c -` start at the working directory.\n"

struct config_input {
    const char *name; /* the path, or what messages call the text */
    char *text;       /* NULL: it is in the file */
    size_t len;
};

enum config_input_result {
    CONFIG_INPUT_TAKEN,
    CONFIG_INPUT_NONE,  /* nothing says where; the command has its own words for that */
    CONFIG_INPUT_FAILED /* printed */
};
/* file: the argument of -c, which must stay; NULL: not given, and the environment counts. */
enum config_input_result config_input_take(struct config_input *input, const char *command,
                                           const char *file);
/* For config_load(input->name, …): adds the text. Good until config_input_fini. */
void config_input_set(const struct config_input *input, struct config_options *options);
void config_input_fini(struct config_input *input); /* a zeroed one is fine */

#endif
