/*
 * fuzz_config: a configuration file from memory, as `bulkhead check` reads it: the tree, the
 * decoder, the validation, and the patterns, which are looked at after errors too.
 *
 * What is refused has an error that says so; what is accepted keeps what the rest of the program
 * takes for granted. The quarantine of what is refused is built too: it takes effect then. The
 * variable `v` is given as on the command line.
 */
#include "base/assert.h"
#include "config/address.h"
#include "config/config.h"
#include "config/scalar.h"
#include "policy/policy.h"
#include "policy/quarantine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_place(const struct diag *a, const struct diag *b)
{
    ASSERT(a->pos.file <= b->pos.file);
    ASSERT(a->pos.line <= b->pos.line);
    ASSERT(a->pos.line < b->pos.line || a->pos.column <= b->pos.column);
}

static void check_diags(const struct diag_list *diags)
{
    size_t errors = 0;
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->items[i];
        char text[4096];
        diag_format(diags, diag, text, sizeof text);
        ASSERT(diag->message[0] != '\0' && strpbrk(text, "\n\r\x1b") == NULL);
        ASSERT((diag->pos.line == 0) == (diag->pos.column == 0));
        errors += diag->severity == DIAG_ERROR;
        if (i > 0) {
            check_place(&diags->items[i - 1], diag);
        }
    }
    ASSERT(errors == diags->error_count && diags->count == errors + diags->warning_count);
}

static void check_strings(const struct config_strings *strings)
{
    ASSERT(strings->count == 0 || strings->pos.line > 0);
    for (size_t i = 0; i < strings->count; i++) {
        ASSERT(strings->items[i].text[0] != '\0' && strings->items[i].pos.line > 0);
    }
}

/* Lists of IDs and patterns: no variable is left in them. */
static void check_ids(const struct config_strings *strings)
{
    check_strings(strings);
    for (size_t i = 0; i < strings->count; i++) {
        ASSERT(strchr(strings->items[i].text, '$') == NULL);
    }
}

static void check_id(const struct config_string *string)
{
    ASSERT(string->text == NULL || strchr(string->text, '$') == NULL);
}

static void check_time(const struct config_time *time)
{
    int64_t seconds = 0;
    const char *why = NULL;
    ASSERT(time->text.text == NULL
               ? time->s == 0
               : scalar_parse_time(time->text.text, &seconds, &why) && seconds == time->s);
    /* A day of slack for zones, and the last moment of the year 9999. */
    ASSERT(time->s >= -86400 && time->s < INT64_C(253402300800) + 86400);
}

static void check_server_name(const struct config_listener *listener)
{
    const char *why = NULL;
    const struct config_address *forward = &listener->forward;
    if (listener->sni.text != NULL) {
        ASSERT(address_check_dns_name(listener->sni.text, &why));
    }
    if (forward->host != NULL && !forward->host_is_ip) {
        ASSERT(address_check_dns_name(forward->host, &why));
    }
}

static void check_listener(const struct config *config, const struct config_listener *listener)
{
    struct netaddr addr;
    bool accepts_mtls = config_scheme_is_mtls(listener->accept.scheme);
    bool forwards_mtls = config_scheme_is_mtls(listener->forward.scheme);
    ASSERT(listener->name.text != NULL && strcmp(listener->name.text, "all") != 0);
    ASSERT(config_find_listener(config, listener->name.text) == listener);
    ASSERT(listener->accept.scheme != CONFIG_SCHEME_NONE);
    ASSERT(listener->forward.scheme != CONFIG_SCHEME_NONE);
    ASSERT(accepts_mtls || forwards_mtls);
    ASSERT(listener->kind == (!accepts_mtls    ? CONFIG_KIND_ORIGINATE
                              : !forwards_mtls ? CONFIG_KIND_TERMINATE
                                               : CONFIG_KIND_BRIDGE));
    ASSERT(address_to_netaddr(&listener->accept, &addr));
    ASSERT(address_to_netaddr(&listener->forward, &addr) || listener->forward.host != NULL);
    ASSERT((listener->expect.count > 0) == forwards_mtls);
    ASSERT(accepts_mtls || listener->alpn.count <= 1);
    ASSERT(listener->timeouts.handshake_ms > 0 && listener->timeouts.connect_ms > 0);
    ASSERT(listener->timeouts.idle_ms > 0 && listener->timeouts.half_close_ms > 0);
    ASSERT(listener->socket.mode <= 0777);
    check_strings(&listener->alpn);
    check_ids(&listener->expect);
    check_server_name(listener);
    ASSERT(accepts_mtls || listener->enforcement_pos.line == 0);
}

static void check_rule(const struct config *config, const struct config_rule *rule)
{
    ASSERT(rule->name.text != NULL);
    check_ids(&rule->from);
    check_time(&rule->expires);
    check_strings(&rule->to);
    for (size_t i = 0; i < rule->to.count; i++) {
        const struct config_listener *listener =
            config_find_listener(config, rule->to.items[i].text);
        ASSERT(listener != NULL ? listener->kind != CONFIG_KIND_ORIGINATE
                                : strcmp(rule->to.items[i].text, "all") == 0);
    }
}

static void check_test(const struct config *config, const struct config_test *test)
{
    ASSERT(test->from.text != NULL && test->to.text != NULL && test->decision_pos.line > 0);
    check_id(&test->from);
    check_time(&test->at);
    const struct config_listener *listener = config_find_listener(config, test->to.text);
    ASSERT(listener != NULL && listener->kind != CONFIG_KIND_ORIGINATE);
    const struct config_rule *rule = NULL;
    for (size_t i = 0; test->rule.text != NULL && i < config->rule_count; i++) {
        rule = strcmp(config->rules[i].name.text, test->rule.text) == 0 ? &config->rules[i] : rule;
    }
    ASSERT((rule == NULL) == (test->rule.text == NULL));
    ASSERT(rule == NULL || (rule->mode == CONFIG_MODE_ENFORCE && rule->action == test->decision));
}

static void check_trust(const struct config *config)
{
    for (size_t i = 0; i < config->trust_count; i++) {
        ASSERT(config->trust[i].domain.text != NULL && config->trust[i].bundle.text != NULL);
        check_id(&config->trust[i].domain);
        for (size_t k = 0; k < i && i < 16; k++) {
            ASSERT(strcmp(config->trust[i].domain.text, config->trust[k].domain.text) != 0);
        }
    }
}

/* Of what is refused, too: no entry that can be read is held back by one that can't. */
static void check_quarantine(const struct config *config)
{
    const char **entries = calloc(config->quarantine.count + 1, sizeof *entries);
    size_t good = 0;
    ASSERT(entries != NULL);
    check_ids(&config->quarantine);
    for (size_t i = 0; i < config->quarantine.count; i++) {
        struct quarantine_item item;
        const char *why = NULL;
        entries[i] = config->quarantine.items[i].text;
        good += quarantine_item_parse(strview_from(entries[i]), &item, &why) == 0;
    }
    struct quarantine *quarantine = quarantine_build(entries, config->quarantine.count);
    ASSERT(quarantine_count(quarantine) <= good &&
           (quarantine_count(quarantine) > 0) == (good > 0));
    quarantine_unref(quarantine);
    free(entries);
}

static void check_valid(const struct config *config)
{
    ASSERT(config->identity.certificate.text != NULL && config->identity.private_key.text != NULL);
    ASSERT(config->trust_count > 0 && config->listener_count > 0);
    check_trust(config);
    check_id(&config->identity.spiffe_id);
    for (size_t i = 0; i < config->listener_count; i++) {
        check_listener(config, &config->listeners[i]);
    }
    for (size_t i = 0; i < config->rule_count; i++) {
        check_rule(config, &config->rules[i]);
    }
    for (size_t i = 0; i < config->group_count; i++) {
        check_ids(&config->groups[i].members);
    }
    for (size_t i = 0; i < config->test_count; i++) {
        check_test(config, &config->tests[i]);
    }
    ASSERT(config->timeouts.handshake_ms > 0 && config->limits.handshakes > 0);
    ASSERT(config->limits.buffered_bytes > 0 && config->access_log.to.text != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag_list diags;
    diag_list_init(&diags);
    static const struct config_variable_value values[] = {{"v", "var.example"}};
    static const struct config_options options = {.variables = values, .variable_count = 1};
    struct config *config = config_parse("dir/f.yaml", (const char *)data, size, &options, &diags);
    bool valid = config != NULL && config->valid;
    ASSERT(valid == !diag_has_errors(&diags));
    if (valid) {
        check_valid(config);
    }
    if (config != NULL) {
        check_quarantine(config);
        size_t errors = diags.error_count;
        struct policy *policy = policy_load(config, &diags);
        ASSERT((policy != NULL) == (diags.error_count == errors));
        policy_free(policy);
    }
    diag_sort(&diags);
    check_diags(&diags);
    config_free(config);
    diag_list_fini(&diags);
    return 0;
}
