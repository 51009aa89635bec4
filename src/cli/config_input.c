#include "cli/config_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

static const char variable_text[] = "BULKHEAD_CONFIG";
static const char variable_file[] = "BULKHEAD_CONFIG_FILE";

static enum config_input_result take_stdin(struct config_input *input, const char *command)
{
    struct errbuf err;
    input->name = "<stdin>";
    if (file_read("-", CONFIG_MAX_BYTES, &input->text, &input->len, &err) != 0) {
        fprintf(stderr, "bulkhead %s: %s: %s\n", command, input->name, err.text);
        return CONFIG_INPUT_FAILED;
    }
    return CONFIG_INPUT_TAKEN;
}

/* An empty variable is more likely a mistake than a wish for the next best. */
static bool is_empty(const char *name, const char *value, const char *command)
{
    if (value == NULL || value[0] != '\0') {
        return false;
    }
    fprintf(stderr, "bulkhead %s: %s is set in the environment, and empty\n", command, name);
    return true;
}

static enum config_input_result take_environment(struct config_input *input, const char *command)
{
    const char *text = getenv(variable_text);
    const char *file = getenv(variable_file);
    if (text != NULL && file != NULL) {
        fprintf(stderr, "bulkhead %s: %s and %s are both set in the environment: which one?\n",
                command, variable_text, variable_file);
        return CONFIG_INPUT_FAILED;
    }
    if (is_empty(variable_text, text, command) || is_empty(variable_file, file, command)) {
        return CONFIG_INPUT_FAILED;
    }
    if (text != NULL) {
        input->name = variable_text;
        input->text = mem_strdup(text);
        input->len = strlen(text);
        return CONFIG_INPUT_TAKEN;
    }
    if (file != NULL && strcmp(file, "-") == 0) {
        return take_stdin(input, command);
    }
    input->name = file;
    return file == NULL ? CONFIG_INPUT_NONE : CONFIG_INPUT_TAKEN;
}

enum config_input_result config_input_take(struct config_input *input, const char *command,
                                           const char *file)
{
    *input = (struct config_input){.name = file};
    if (file == NULL) {
        return take_environment(input, command);
    }
    return strcmp(file, "-") == 0 ? take_stdin(input, command) : CONFIG_INPUT_TAKEN;
}

void config_input_set(const struct config_input *input, struct config_options *options)
{
    options->text = input->text;
    options->text_len = input->len;
}

void config_input_fini(struct config_input *input)
{
    mem_free(input->text);
    input->text = NULL;
}
