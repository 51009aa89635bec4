/*
 * fuzz_config: a configuration file from memory, as `bulkhead check` reads it: the tree, the
 * decoder, the validation, and the patterns, which are looked at after errors too.
 *
 * What is refused has an error that says so; what is accepted keeps what the rest of the program
 * takes for granted.
 */
#include "base/assert.h"
#include "config/address.h"
#include "config/config.h"
#include "policy/policy.h"

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
    check_strings(&listener->expect);
    check_server_name(listener);
}

static void check_rule(const struct config *config, const struct config_rule *rule)
{
    ASSERT(rule->name.text != NULL);
    check_strings(&rule->from);
    check_strings(&rule->to);
    for (size_t i = 0; i < rule->to.count; i++) {
        const struct config_listener *listener =
            config_find_listener(config, rule->to.items[i].text);
        ASSERT(listener != NULL ? listener->kind != CONFIG_KIND_ORIGINATE
                                : strcmp(rule->to.items[i].text, "all") == 0);
    }
}

static void check_valid(const struct config *config)
{
    ASSERT(config->identity.certificate.text != NULL && config->identity.private_key.text != NULL);
    ASSERT(config->trust_count > 0 && config->listener_count > 0);
    for (size_t i = 0; i < config->trust_count; i++) {
        ASSERT(config->trust[i].domain.text != NULL && config->trust[i].bundle.text != NULL);
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        check_listener(config, &config->listeners[i]);
    }
    for (size_t i = 0; i < config->rule_count; i++) {
        check_rule(config, &config->rules[i]);
    }
    ASSERT(config->timeouts.handshake_ms > 0 && config->limits.handshakes > 0);
    ASSERT(config->limits.buffered_bytes > 0 && config->access_log.to.text != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_parse("dir/f.yaml", (const char *)data, size, NULL, &diags);
    bool valid = config != NULL && config->valid;
    ASSERT(valid == !diag_has_errors(&diags));
    if (valid) {
        check_valid(config);
    }
    if (config != NULL) {
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
