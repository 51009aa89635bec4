#include "cli/ctl_verbs.h"

#include <string.h>

#include "base/strview.h"
#include "cli/ctl_print.h"

const struct ctl_option_info ctl_options[CTL_OPTION_COUNT] = {
    [CTL_OPTION_DRY_RUN] = {"dry-run", "dry_run", "1"},
    [CTL_OPTION_IDENTITY] = {"identity", "identity", NULL},
    [CTL_OPTION_RULE] = {"rule", "rule", NULL},
    [CTL_OPTION_LISTENER] = {"listener", "listener", NULL},
    [CTL_OPTION_SESSION] = {"session", "session", NULL},
    [CTL_OPTION_LIMIT] = {"limit", "limit", NULL},
    [CTL_OPTION_ALL] = {"all", "all", "true"},
};

#define FILTER_HELP                                                                                \
    "  --identity P    a SPIFFE ID, or a pattern as in a rule's `from`: matches whoever dialled\n" \
    "                  and whoever was dialled, once a handshake has proved it\n"                  \
    "  --rule NAME     the rule that lets it in (\"expect\" on an originating listener)\n"         \
    "  --listener NAME the listener that accepted it\n"                                            \
    "  --session N     its number, as here and in the access log\n"

static const struct ctl_verb verbs[] = {
    {
        .name = "reload",
        .method = HTTP_METHOD_POST,
        .path = "/reload",
        .options = "dry-run",
        .print = ctl_print_reload,
        .code = ctl_reload_code,
        .summary = "read all files anew, or say what that would do (--dry-run)",
        .usage = "reload [--dry-run] [--json]",
        .help =
            "Reads all files anew, as SIGHUP does, and says what changed and which sessions\n"
            "ended for it.\n"
            "\n"
            "  --dry-run       what that would do: sessions kept and ended, by rule and\n"
            "                  identity; changes nothing\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c /etc/bulkhead/bulkhead.yaml reload --dry-run\n"
            "  bulkhead ctl -c /etc/bulkhead/bulkhead.yaml reload --json | jq .sessions\n"
            "\n"
            "Exit code: 0 done, 1 failed, refused, or a file was broken and its last good state\n"
            "kept, 2 wrong usage or configuration.\n",
    },
    {
        .name = "check",
        .method = HTTP_METHOD_POST,
        .path = "/check",
        .operand = CTL_OPERAND_FILE,
        .parameter = "file",
        .print = ctl_print_reload,
        .code = ctl_reload_code,
        .summary = "what a reload with another configuration would do",
        .usage = "check FILE [--json]",
        .help =
            "Says what a reload with FILE as the configuration would change, which live\n"
            "sessions it would end, and whether this process could take it. Changes nothing.\n"
            "Only root and the user that bulkhead runs as may ask.\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c /etc/bulkhead/bulkhead.yaml check new.yaml\n"
            "\n"
            "Exit code: 0 it could be brought into force, 1 failed or refused, 2 wrong usage or\n"
            "configuration.\n",
    },
    {
        .name = "sessions",
        .method = HTTP_METHOD_GET,
        .path = "/sessions",
        .options = "identity rule listener session limit",
        .print = ctl_print_sessions,
        .summary = "the live sessions, and when and by what their authority ends",
        .usage = "sessions [--identity P] [--rule NAME] [--listener NAME]\n"
                 "                    [--session N] [--limit N] [--json]",
        .help =
            "The live sessions that match all that is given, the oldest first: both SPIFFE IDs,\n"
            "the rule, both addresses, age, bytes each way, TLS version, whether the handshake\n"
            "resumed an earlier one, and when their authority ends by time and by what.\n"
            "\n" FILTER_HELP
            "  --limit N       at most so many (1000; 10000 at most); what is left out is said\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c FILE sessions --identity 'spiffe://prod.example/ns/shop/**'\n"
            "  bulkhead ctl -c FILE sessions --listener in --json | jq '.sessions[].rule'\n"
            "\n"
            "Exit code: 0 done, also when there are none; 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "terminate",
        .method = HTTP_METHOD_POST,
        .path = "/sessions/terminate",
        .options = "identity rule listener session all",
        .print = ctl_print_terminated,
        .summary = "end live sessions, by identity, rule, listener or number",
        .usage = "terminate [--identity P] [--rule NAME] [--listener NAME]\n"
                 "                    [--session N] [--all] [--json]",
        .help =
            "Ends the live sessions that match all that is given, with a reset to both sides and\n"
            "the reason `terminated`, and says how many. Whoever was cut may dial again at once:\n"
            "to keep a peer out, put it into the quarantine.\n"
            "\n" FILTER_HELP
            "  --all           every session; stands alone. Without it and without a filter\n"
            "                  nothing is ended\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c FILE terminate --identity spiffe://prod.example/ns/shop/sa/web\n"
            "  bulkhead ctl -c FILE terminate --rule batch-tries-orders --listener orders\n"
            "\n"
            "Exit code: 0 done, also when none matched; 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "rules",
        .method = HTTP_METHOD_GET,
        .path = "/rules",
        .is_paged = true,
        .summary = "what each rule decided, when last, when it ends, whose it is",
        .usage = "rules [--json]",
        .help =
            "Each rule: how often it decided, or as a shadow rule would have, when last, when it\n"
            "ends, whose it is and where it stands; and what audit let through.\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c FILE rules\n"
            "  bulkhead ctl -c FILE rules --json | jq -r '.rules[] | select(.last_hit == "
            "null).name'\n"
            "\n"
            "Exit code: 0 done, 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "identity",
        .method = HTTP_METHOD_GET,
        .path = "/identity",
        .print = ctl_print_identity,
        .summary = "our own SVID: ID, dates, serial, fingerprint, where it comes from",
        .usage = "identity [--json]",
        .help = "The X.509-SVID in force: its SPIFFE ID, dates, serial and fingerprint, its chain, "
                "where\n"
                "it comes from and since when. Never the key.\n"
                "\n"
                "Examples:\n"
                "  bulkhead ctl -c FILE identity\n"
                "  bulkhead ctl -c FILE identity --json | jq -r '.identities[].not_after'\n"
                "\n"
                "Exit code: 0 done, 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "trust",
        .method = HTTP_METHOD_GET,
        .path = "/trust",
        .print = ctl_print_trust,
        .summary = "each trust domain's anchors and CRLs, and when they were read",
        .usage = "trust [--json]",
        .help =
            "Of each trust domain the anchors with their dates and fingerprints, the CRLs with\n"
            "their dates and how many certificates they revoke, which anchors' peers are refused\n"
            "for want of a CRL, the files, and since when what they held is in force.\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c FILE trust\n"
            "  bulkhead ctl -c FILE trust --json | jq '.domains[] | {trust_domain, crls}'\n"
            "\n"
            "Exit code: 0 done, 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "peers",
        .method = HTTP_METHOD_GET,
        .path = "/peers",
        .options = "identity limit",
        .print = ctl_print_peers,
        .summary = "who was seen, first and last, and how often let in and denied",
        .usage = "peers [--identity P] [--limit N] [--json]",
        .help =
            "Each SPIFFE ID that a decision was made about since the start: when it was first and\n"
            "last seen, how often it was let in and denied, and when first denied; CALLS is "
            "\"no\"\n"
            "for a server that was only dialled. With first_seen_file, those that are known from\n"
            "earlier runs stand behind.\n"
            "\n"
            "  --identity P    a SPIFFE ID, or a pattern as in a rule's `from`\n"
            "  --limit N       at most so many (1000; 10000 at most); what is left out is said\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c FILE peers\n"
            "  bulkhead ctl -c FILE peers --json | jq '.peers[] | select(.denied > 0)'\n"
            "\n"
            "Exit code: 0 done, 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "config",
        .method = HTTP_METHOD_GET,
        .path = "/config",
        .print = ctl_print_config,
        .summary = "the configuration in force, with what is a default",
        .usage = "config [--json]",
        .help =
            "The configuration in force, key by key, included files and variables resolved: its\n"
            "value, whether that is the default, and whether a reload or only a restart changes\n"
            "it. Of rules, groups and tests, keys without a value are left out.\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c FILE config | grep timeouts\n"
            "  bulkhead ctl -c FILE config --json | jq '.keys[] | select(.default | not)'\n"
            "\n"
            "Exit code: 0 done, 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "log-level",
        .method = HTTP_METHOD_GET,
        .path = "/log-level",
        .operand = CTL_OPERAND_VALUE,
        .parameter = "level",
        .print = ctl_print_log_level,
        .summary = "what the process log tells, or change it",
        .usage = "log-level [error|warn|info|debug] [--json]",
        .help =
            "The level of the process log: the least severe lines that are written. With a level,\n"
            "changes it, until `log.level` in the configuration is changed or the process ends.\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl -c FILE log-level\n"
            "  bulkhead ctl -c FILE log-level debug\n"
            "\n"
            "Exit code: 0 done, 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "drain",
        .method = HTTP_METHOD_POST,
        .path = "/drain",
        .print = ctl_print_drain,
        .summary = "drain and end, as the first SIGTERM does",
        .usage = "drain [--json]",
        .help = "Begins what the first SIGTERM begins: readiness fails, accepting goes on for\n"
                "drain.delay, then sessions may end until drain.timeout, and the process ends. A\n"
                "SIGTERM that follows cuts nobody. Once it has begun, nothing changes.\n"
                "\n"
                "Examples:\n"
                "  bulkhead ctl -c FILE drain\n"
                "\n"
                "Exit code: 0 it has begun, or had before; 1 failed or refused, 2 wrong usage.\n",
    },
    {
        .name = "metrics",
        .method = HTTP_METHOD_GET,
        .path = "/metrics",
        .is_text = true,
        .summary = "all metrics, in Prometheus' text format",
        .usage = "metrics",
        .help =
            "All metrics, in Prometheus' text format; see METRICS.md.\n"
            "\n"
            "Examples:\n"
            "  bulkhead ctl --socket /run/bulkhead/admin.sock metrics | grep handshake_failures\n"
            "\n"
            "Exit code: 0 done, 1 failed or refused, 2 wrong usage.\n",
    },
};

const struct ctl_verb *ctl_verbs(size_t *count)
{
    *count = sizeof(verbs) / sizeof(verbs[0]);
    return verbs;
}

const struct ctl_verb *ctl_verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

bool ctl_verb_takes(const struct ctl_verb *verb, enum ctl_option option)
{
    return verb->options != NULL &&
           strview_is_one_of(strview_from(ctl_options[option].name), verb->options);
}
