/*
 * variables: `${name}` in place of a whole trust domain, so that one folder of rules serves all
 * environments.
 *
 *   spiffe://${prod}/ns/shop/sa/web      ${prod}: {bundle: prod.pem}
 *
 * Valued in the main file's `variables` or on the command line, which takes precedence. Nothing
 * but a whole trust domain may come from one: an ID whose path is put together from pieces can't
 * be read any more by who answers for it. Cold path.
 */
#ifndef BULKHEAD_CONFIG_VARIABLES_H
#define BULKHEAD_CONFIG_VARIABLES_H

#include "base/errbuf.h"
#include "config/config.h"
#include "config/scalar.h"

/*
 * Puts the values into every SPIFFE ID, pattern and trust domain of config, whose included files
 * have been read. Places stay. What can't be expanded is reported and taken out of its list, so
 * that nobody complains about it again and the rest can be used: a quarantine takes effect without
 * its broken entries. options may be NULL.
 */
void variables_expand(struct config *config, const struct config_options *options,
                      struct diag_list *diags);

struct variables_option {
    char name[SCALAR_NAME_MAX + 1];
    const char *value; /* in the text */
};
/* "NAME=VALUE", as `--var` takes it. The value is looked at when a file is loaded. -1 with err,
   which says what would be right. */
int variables_option_parse(const char *text, struct variables_option *option, struct errbuf *err)
    __attribute__((warn_unused_result));

#endif
