/* Our identity, whom we trust, and the configuration. */
#include "cli/ctl_print.h"

#include <stdbool.h>

#include <jansson.h>

#include "cli/ctl_table.h"

#define COLUMNS(list) (list), sizeof(list) / sizeof((list)[0])

static void print_line(const char *name, const char *text, FILE *out)
{
    fprintf(out, "%-12s ", name);
    ctl_print_clean(text, out);
    putc('\n', out);
}

static const struct ctl_column certificate_columns[] = {
    {"SUBJECT", "subject"},     {"KEY", "key_type"},  {"NOT_BEFORE", "not_before"},
    {"NOT_AFTER", "not_after"}, {"SERIAL", "serial"}, {"SHA256", "sha256"},
};

void ctl_print_identity(json_t *answer, FILE *out)
{
    static const struct {
        const char *name;
        const char *key;
    } lines[] = {
        {"SPIFFE ID", "spiffe_id"}, {"source", "source"}, {"file", "file"},
        {"address", "address"},     {"loaded", "loaded"}, {"not before", "not_before"},
        {"not after", "not_after"}, {"key", "key_type"},  {"serial", "serial"},
        {"sha256", "sha256"},
    };
    size_t index = 0;
    json_t *identity = NULL;
    if (json_is_string(json_object_get(answer, "missing"))) {
        print_line("no SVID", ctl_text_of(answer, "missing"), out);
    }
    json_array_foreach(json_object_get(answer, "identities"), index, identity)
    {
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
            print_line(lines[i].name, ctl_text_of(identity, lines[i].key), out);
        }
        fputs("\nchain, the leaf first:\n", out);
        ctl_print_table(json_object_get(identity, "chain"), COLUMNS(certificate_columns), out);
    }
}

static void print_crls(json_t *domain, FILE *out)
{
    static const struct ctl_column columns[] = {
        {"CRL_ISSUER", "issuer"}, {"THIS_UPDATE", "this_update"}, {"NEXT_UPDATE", "next_update"},
        {"REVOKED", "revoked"},   {"REPLACED", "replaced"},
    };
    static const struct ctl_column gap_columns[] = {
        {"WITHOUT_CRL", "subject"},
        {"SERIAL", "serial"},
        {"REASON", "reason"},
    };
    print_line("crl", ctl_text_of(domain, "crl"), out);
    print_line("crl_check", ctl_text_of(domain, "crl_check"), out);
    print_line("crl loaded", ctl_text_of(domain, "crl_loaded"), out);
    if (json_array_size(json_object_get(domain, "crls")) > 0) {
        ctl_print_table(json_object_get(domain, "crls"), COLUMNS(columns), out);
    }
    json_t *gaps = json_object_get(domain, "anchors_without_crl");
    if (json_array_size(gaps) > 0) {
        ctl_print_table(gaps, COLUMNS(gap_columns), out);
    }
}

void ctl_print_trust(json_t *answer, FILE *out)
{
    size_t index = 0;
    json_t *domain = NULL;
    json_array_foreach(json_object_get(answer, "domains"), index, domain)
    {
        if (index > 0) {
            putc('\n', out);
        }
        print_line("trust domain", ctl_text_of(domain, "trust_domain"), out);
        print_line("bundle", ctl_text_of(domain, "bundle"), out);
        print_line("loaded", ctl_text_of(domain, "loaded"), out);
        ctl_print_table(json_object_get(domain, "anchors"), COLUMNS(certificate_columns), out);
        if (json_is_string(json_object_get(domain, "crl"))) {
            print_crls(domain, out);
        }
    }
}

void ctl_print_peers(json_t *answer, FILE *out)
{
    static const struct ctl_column columns[] = {
        {"PEER", "spiffe_id"},
        {"CALLS", "has_called"},
        {"FIRST_SEEN", "first_seen"},
        {"LAST_SEEN", "last_seen"},
        {"ALLOWED", "allowed"},
        {"DENIED", "denied"},
        {"FIRST_DENIED", "first_denied"},
    };
    json_t *peers = json_object_get(answer, "peers");
    ctl_print_table(peers, COLUMNS(columns), out);
    size_t count = json_array_size(peers);
    fprintf(out, "%zu peer%s, counted since %s\n", count, count == 1 ? "" : "s",
            ctl_text_of(answer, "since"));
    if (json_is_true(json_object_get(answer, "truncated"))) {
        fprintf(out,
                "the first of %" JSON_INTEGER_FORMAT " that match: narrow it, or raise --limit\n",
                json_integer_value(json_object_get(answer, "matched")));
    }
}

void ctl_print_log_level(json_t *answer, FILE *out)
{
    fprintf(out, "log level %s, %s in the configuration\n", ctl_text_of(answer, "level"),
            ctl_text_of(answer, "configured"));
}

void ctl_print_drain(json_t *answer, FILE *out)
{
    bool before = json_is_true(json_object_get(answer, "begun_before"));
    fprintf(out,
            "the drain %s: after drain.delay (%" JSON_INTEGER_FORMAT " ms) no more is accepted, "
            "and open sessions may end within drain.timeout (%" JSON_INTEGER_FORMAT " ms)\n",
            before ? "had begun before" : "has begun",
            json_integer_value(json_object_get(answer, "delay_ms")),
            json_integer_value(json_object_get(answer, "timeout_ms")));
}

void ctl_print_config(json_t *answer, FILE *out)
{
    static const struct ctl_column columns[] = {
        {"KEY", "key"},
        {"VALUE", "value"},
        {"FROM", "from"},
        {"CHANGE_BY", "change_by"},
    };
    size_t index = 0;
    json_t *key = NULL;
    json_t *keys = json_object_get(answer, "keys");
    json_array_foreach(keys, index, key)
    {
        bool by_default = json_is_true(json_object_get(key, "default"));
        bool reloadable = json_is_true(json_object_get(key, "reloadable"));
        (void)json_object_set_new(key, "from", json_string(by_default ? "default" : "file"));
        (void)json_object_set_new(key, "change_by", json_string(reloadable ? "reload" : "restart"));
        if (json_is_null(json_object_get(key, "value")) && json_object_get(key, "note") != NULL) {
            (void)json_object_set_new(key, "value", json_sprintf("(%s)", ctl_text_of(key, "note")));
        }
    }
    ctl_print_table(keys, columns, sizeof(columns) / sizeof(columns[0]), out);
}
