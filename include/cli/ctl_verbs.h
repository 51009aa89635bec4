/*
 * ctl_verbs: what `bulkhead ctl` can be told, one row for each verb: its path, the options that it
 * takes, how its answer is shown, its help.
 */
#ifndef BULKHEAD_CLI_CTL_VERBS_H
#define BULKHEAD_CLI_CTL_VERBS_H

#include "net/http_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct json_t;

/* Options of verbs; each becomes a parameter of the request. */
enum ctl_option {
    CTL_OPTION_DRY_RUN = 0,
    CTL_OPTION_IDENTITY,
    CTL_OPTION_RULE,
    CTL_OPTION_LISTENER,
    CTL_OPTION_SESSION,
    CTL_OPTION_LIMIT,
    CTL_OPTION_ALL,
    CTL_OPTION_COUNT
};

struct ctl_option_info {
    const char *name;      /* without the dashes */
    const char *parameter; /* of the request */
    const char *fixed;     /* the parameter's value; NULL: the option's argument */
};
extern const struct ctl_option_info ctl_options[CTL_OPTION_COUNT];

/* What stands behind the verb. */
enum ctl_operand {
    CTL_OPERAND_NONE = 0,
    CTL_OPERAND_FILE,
    CTL_OPERAND_VALUE /* may be left out; with it the request is a POST */
};

struct ctl_verb {
    const char *name;
    enum http_method method;
    const char *path;
    enum ctl_operand operand;
    const char *parameter; /* for the operand */
    const char *options;   /* the names of those that it takes, a blank between two; NULL: none */
    bool is_text;          /* the answer is no JSON */
    bool is_paged;         /* asked for by ctl_rules.h */
    void (*print)(struct json_t *answer, FILE *out); /* for people */
    int (*code)(struct json_t *answer);              /* the exit code; NULL: 0 */
    const char *summary;
    const char *usage; /* what stands behind "bulkhead ctl [--socket PATH | -c FILE]" */
    const char *help;  /* paragraphs, options and examples; ends with a newline */
};

/* In the order of the help; *count of them. */
const struct ctl_verb *ctl_verbs(size_t *count);
const struct ctl_verb *ctl_verb_find(const char *name); /* NULL: there is none */
bool ctl_verb_takes(const struct ctl_verb *verb, enum ctl_option option);

#endif
