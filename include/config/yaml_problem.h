/*
 * yaml_problem: what is wrong with a text that is no YAML, in words for its author.
 *
 * Part of yaml_doc: libyaml's own messages name its grammar, not what to write instead.
 */
#ifndef BULKHEAD_CONFIG_YAML_PROBLEM_H
#define BULKHEAD_CONFIG_YAML_PROBLEM_H

#include "config/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct yaml_parser_s;

struct yaml_source {
    const char *text; /* not owned */
    size_t len;
    uint32_t file;
    struct diag_list *diags;
};

/* Skips a UTF-8 byte order mark. False, and reported, when the text is UTF-16, UTF-32 or no
   UTF-8. */
bool yaml_source_check_encoding(struct yaml_source *source);
/* Reports why the parser stopped. */
void yaml_problem_report(const struct yaml_source *source, const struct yaml_parser_s *parser);

#endif
