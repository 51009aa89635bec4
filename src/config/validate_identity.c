/* Where our SVID comes from, and what follows from it for `trust`. */
#include "validate_private.h"

#include <string.h>

enum { HINT_MAX = 1024 }; /* SPIFFE Workload API 5.2.1 */

static void check_source(struct checker *c)
{
    const struct config *config = c->config;
    bool has_files = config_has_identity_files(config);
    if (has_files && config->identity.workload_api.text != NULL) {
        diag_error(c->diags, config->identity.workload_api.pos,
                   "identity: `files` and `workload_api` are both there; an SVID has one source");
    }
    if (has_files && config->identity.hint.text != NULL) {
        diag_error(c->diags, config->identity.hint.pos,
                   "identity.hint: chooses among the SVIDs of the Workload API; `files` hold one");
    }
    if (has_files && validate_is_present(config->identity.start_timeout_pos)) {
        diag_error(c->diags, config->identity.start_timeout_pos,
                   "identity.start_timeout: `files` are there or are not; nothing is waited for");
    }
}

static void check_hint(struct checker *c)
{
    const struct config_string *hint = &c->config->identity.hint;
    if (hint->text != NULL && strlen(hint->text) > HINT_MAX) {
        diag_error(c->diags, hint->pos, "identity.hint: has %zu bytes; a hint has at most %d",
                   strlen(hint->text), HINT_MAX);
    }
}

/* With files nobody else brings a bundle. */
static void check_bundles(struct checker *c)
{
    const struct config *config = c->config;
    if (!config_has_identity_files(config)) {
        return;
    }
    /* After an error what could not be read is missing as well. */
    if (config->trust_count == 0 && !diag_has_errors(c->diags)) {
        diag_error(c->diags, config->identity.pos,
                   "required key \"trust\" is missing: `identity.files` bring no bundle");
    }
    for (size_t i = 0; i < config->trust_count; i++) {
        const struct config_trust *trust = &config->trust[i];
        if (trust->bundle.text == NULL && !validate_is_present(trust->bundle.pos) &&
            validate_is_present(trust->pos)) {
            diag_error(c->diags, trust->pos, "trust.%s: required key \"bundle\" is missing",
                       trust->domain.text);
        }
    }
}

void validate_identity(struct checker *c)
{
    check_source(c);
    check_hint(c);
    check_bundles(c);
}
