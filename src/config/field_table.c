/*
 * The rows. A key that has no row does not exist; a row that nothing reads must not stand here.
 * Order is the order of the reference.
 */
#include "config/field_table.h"

#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "config/config.h"

#define MS     UINT64_C(1)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define YEARS  (3650 * DAY)
#define KIB    (UINT64_C(1) << 10)
#define GIB    (UINT64_C(1) << 30)

#define TABLE(rows) .fields = (rows), .count = sizeof(rows) / sizeof((rows)[0])

/* What a table of a named or unnamed struct inside struct config starts from: itself. */
#define IN_CONFIG(member) offsetof(struct config, member)

enum { MAX_ALPN = 16, MAX_INCLUDE = 1000 };

/* clang-format off */
static const struct field_choice log_levels[] = {
    {"error", LOG_ERROR}, {"warn", LOG_WARN}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}, {NULL, 0},
};
static const struct field_choice log_formats[] = {
    {"text", LOG_FORMAT_TEXT}, {"json", LOG_FORMAT_JSON}, {NULL, 0},
};
static const struct field_choice actions[] = {
    {"allow", CONFIG_ACTION_ALLOW}, {"deny", CONFIG_ACTION_DENY}, {NULL, 0},
};
static const struct field_choice truncations[] = {
    {"abort", CONFIG_TRUNCATION_ABORT}, {"tolerate", CONFIG_TRUNCATION_TOLERATE}, {NULL, 0},
};

static const struct field_choice proxy_protocols[] = {
    {"none", CONFIG_PROXY_PROTOCOL_NONE}, {"v2", CONFIG_PROXY_PROTOCOL_V2}, {NULL, 0},
};
static const struct field_choice modes[] = {
    {"enforce", CONFIG_MODE_ENFORCE}, {"shadow", CONFIG_MODE_SHADOW}, {"disabled", CONFIG_MODE_DISABLED}, {NULL, 0},
};
static const struct field_choice enforcements[] = {
    {"enforce", CONFIG_ENFORCEMENT_ENFORCE}, {"audit", CONFIG_ENFORCEMENT_AUDIT}, {NULL, 0},
};
static const struct field_choice resumptions[] = {
    {"memory", CONFIG_RESUMPTION_MEMORY}, {"none", CONFIG_RESUMPTION_NONE}, {NULL, 0},
};
static const struct field_choice crl_checks[] = {
    {"leaf", CONFIG_CRL_CHECK_LEAF}, {"chain", CONFIG_CRL_CHECK_CHAIN}, {NULL, 0},
};
static const struct field_choice crl_expireds[] = {
    {"keep", CONFIG_CRL_EXPIRED_KEEP}, {"cut", CONFIG_CRL_EXPIRED_CUT}, {NULL, 0},
};
static const struct field_choice own_expiries[] = {
    {"refuse_new", CONFIG_OWN_EXPIRY_REFUSE_NEW}, {"close", CONFIG_OWN_EXPIRY_CLOSE}, {NULL, 0},
};
static const struct field_choice watches[] = {
    {"atomic", CONFIG_WATCH_ATOMIC}, {"none", CONFIG_WATCH_NONE}, {NULL, 0},
};

static const struct field identity_files_fields[] = {
    {.name = "certificate", .type = FIELD_PATH, .required = true,
     .offset = IN_CONFIG(identity.certificate), .example = "/run/bulkhead/svid.pem",
     .sentence = "PEM file of this workload's X.509-SVID: the leaf first, then its intermediates."},
    {.name = "private_key", .type = FIELD_PATH, .required = true,
     .offset = IN_CONFIG(identity.private_key), .example = "/run/bulkhead/svid.key",
     .sentence = "PEM file of the leaf's private key, readable by bulkhead alone."},
};
static const struct field_table identity_files_table = {
    .title = "identity.files", TABLE(identity_files_fields), .pos_offset = SIZE_MAX,
};

static const struct field identity_fields[] = {
    {.name = "spiffe_id", .type = FIELD_STRING, .offset = IN_CONFIG(identity.spiffe_id),
     .default_note = "whatever the certificate says", .example = "spiffe://prod.example/ns/shop/sa/orders",
     .sentence = "The only SPIFFE ID that this process may have: a certificate with another one is refused. Of several SVIDs of the Workload API it chooses this one."},
    {.name = "files", .type = FIELD_STRUCT, .table = &identity_files_table,
     .sentence = "The files that hold this workload's credentials; `workload_api` is the other source."},
    {.name = "workload_api", .type = FIELD_STRING, .offset = IN_CONFIG(identity.workload_api),
     .default_note = "without `files`: what SPIFFE_ENDPOINT_SOCKET says", .example = "unix:///run/spire/agent.sock",
     .sentence = "Where a SPIFFE Workload API gives this workload its SVID and the bundles: unix:///PATH, or tcp://IP:PORT."},
    {.name = "hint", .type = FIELD_STRING, .offset = IN_CONFIG(identity.hint),
     .default_note = "the first SVID", .example = "internal",
     .sentence = "Of several SVIDs of the Workload API, the first with this hint."},
    {.name = "start_timeout", .type = FIELD_DURATION, .offset = IN_CONFIG(identity.start_timeout_ms), .max = DAY, .zero_ok = true,
     .min = SECOND, .default_text = "0s", .pos_offset = IN_CONFIG(identity.start_timeout_pos),
     .sentence = "How long a start waits for the first SVID of the Workload API before it fails; `0s` waits for ever. No listener is open until then."},
};
static const struct field_table identity_table = {
    .title = "identity", TABLE(identity_fields), .pos_offset = IN_CONFIG(identity.pos),
};

static const struct field trust_fields[] = {
    {.name = "bundle", .type = FIELD_PATH,
     .offset = offsetof(struct config_trust, bundle), .example = "/run/bulkhead/prod.pem",
     .default_note = "required with identity.files; else the Workload API's",
     .sentence = "CA certificates of this trust domain, and of no other: a PEM file, or a SPIFFE bundle document (JSON), of 256 certificates at most. Where the Workload API has a bundle for the domain too, only anchors in both count, and an error says so."},
    {.name = "crl", .type = FIELD_PATH, .offset = offsetof(struct config_trust, crl),
     .default_note = "none: nothing is revoked", .example = "/run/bulkhead/prod.crl",
     .sentence = "PEM or DER file of the domain's certificate revocation lists; missing, expired or unsigned, it refuses the domain's peers."},
    {.name = "crl_check", .type = FIELD_CHOICE, .offset = offsetof(struct config_trust, crl_check), .choices = crl_checks,
     .default_note = "with `crl`: leaf; of the Workload API: those that are there", .pos_offset = offsetof(struct config_trust, crl_check_pos),
     .sentence = "Which certificates of a peer's chain need a CRL of their issuer: the leaf, or all of the chain. CRLs of the Workload API count where they are, and are demanded only where this is written."},
    {.name = "crl_expired", .type = FIELD_CHOICE, .offset = offsetof(struct config_trust, crl_expired), .choices = crl_expireds,
     .default_text = "keep", .pos_offset = offsetof(struct config_trust, crl_expired_pos),
     .sentence = "Whether live sessions stay when the CRL passes its nextUpdate; new peers are refused either way."},
};
static const struct field_table trust_table = {
    .title = "trust.<domain>", TABLE(trust_fields), .size = sizeof(struct config_trust),
    .key_offset = offsetof(struct config_trust, domain),
    .pos_offset = offsetof(struct config_trust, pos),
};

#define TIMEOUT(key, member, text, note, most, words)                                              \
    {.name = key, .type = FIELD_DURATION, .offset = offsetof(struct config_timeouts, member),      \
     .min = MS, .max = most, .default_text = text, .default_note = note, .sentence = words}
#define HANDSHAKE_WORDS "For a whole TLS handshake, however many bytes arrive; counted for each side by itself."
#define CONNECT_WORDS "To connect to one address of `forward`; looking a host name up may take as long again."
#define IDLE_WORDS "A session ends when no byte has moved in either direction for so long."
#define HALF_CLOSE_WORDS "A session of which one side has finished ends when no byte has moved for so long."

static const struct field timeouts_fields[] = {
    TIMEOUT("handshake", handshake_ms, "10s", NULL, HOUR, HANDSHAKE_WORDS),
    TIMEOUT("connect", connect_ms, "5s", NULL, HOUR, CONNECT_WORDS),
    TIMEOUT("idle", idle_ms, "1h", NULL, YEARS, IDLE_WORDS),
    TIMEOUT("half_close", half_close_ms, "60s", NULL, YEARS, HALF_CLOSE_WORDS),
};
static const struct field_table timeouts_table = {
    .title = "timeouts", TABLE(timeouts_fields), .pos_offset = SIZE_MAX,
};
static const struct field listener_timeouts_fields[] = {
    TIMEOUT("handshake", handshake_ms, NULL, "`timeouts.handshake`", HOUR, HANDSHAKE_WORDS),
    TIMEOUT("connect", connect_ms, NULL, "`timeouts.connect`", HOUR, CONNECT_WORDS),
    TIMEOUT("idle", idle_ms, NULL, "`timeouts.idle`", YEARS, IDLE_WORDS),
    TIMEOUT("half_close", half_close_ms, NULL, "`timeouts.half_close`", YEARS, HALF_CLOSE_WORDS),
};
static const struct field_table listener_timeouts_table = {
    .title = "listeners[].timeouts", TABLE(listener_timeouts_fields), .pos_offset = SIZE_MAX,
};

#define LIMIT(key, kind, member, least, most, text, note, words)                                   \
    {.name = key, .type = kind, .offset = offsetof(struct config_limits, member), .min = least,    \
     .max = most, .default_text = text, .default_note = note, .sentence = words}

static const struct field limits_fields[] = {
    LIMIT("connections", FIELD_COUNT, connections, 1, 10000000, NULL, "from the limit of open files",
          "Sessions at one time; further connections wait in the kernel's queue until one ends. "
          "Unfinished handshakes have at most half of the places that the others leave."),
    LIMIT("handshakes", FIELD_COUNT, handshakes, 1, 1000000, "1024", NULL,
          "TLS handshakes of clients in flight at one time; for a newcomer beyond them the one that is longest overdue (400 ms without a whole ClientHello, 1 s after it) is ended, and while none is, newcomers wait."),
    LIMIT("buffered", FIELD_SIZE, buffered_bytes, 64 * KIB, 1024 * GIB, "256MiB", NULL,
          "Bytes that all sessions together may hold for slow receivers; one that needs more is cut."),
};
static const struct field_table limits_table = {
    .title = "limits", TABLE(limits_fields), .pos_offset = SIZE_MAX,
};
static const struct field listener_limits_fields[] = {
    LIMIT("connections", FIELD_COUNT, connections, 1, 10000000, NULL, "no bound of its own",
          "Sessions on this listener; further connections to it wait, and unfinished handshakes have at most half of the places that the others leave. `limits.connections` counts besides."),
    LIMIT("handshakes", FIELD_COUNT, handshakes, 1, 1000000, NULL, "no bound of its own",
          "TLS handshakes in flight on this listener; beyond them one of its own gives way, as with `limits.handshakes`, which counts besides."),
    LIMIT("buffered", FIELD_SIZE, buffered_bytes, 64 * KIB, 1024 * GIB, NULL, "no bound of its own",
          "Bytes held on this listener; `limits.buffered` counts besides."),
};
static const struct field_table listener_limits_table = {
    .title = "listeners[].limits", TABLE(listener_limits_fields), .pos_offset = SIZE_MAX,
};

static const struct field socket_fields[] = {
    {.name = "mode", .type = FIELD_MODE, .offset = offsetof(struct config_socket, mode),
     .default_text = "0600", .sentence = "Permissions of the socket, octal."},
    {.name = "owner", .type = FIELD_ACCOUNT, .offset = offsetof(struct config_socket, owner),
     .default_note = "the user that bulkhead runs as", .example = "app",
     .sentence = "User, by name or number, who owns the socket."},
    {.name = "group", .type = FIELD_ACCOUNT, .offset = offsetof(struct config_socket, group),
     .default_note = "the group that bulkhead runs as", .example = "app",
     .sentence = "Group, by name or number, that owns the socket."},
};
static const struct field_table socket_table = {
    .title = "listeners[].socket", TABLE(socket_fields), .pos_offset = offsetof(struct config_socket, pos),
};

#define LISTENER(member) offsetof(struct config_listener, member)
static const struct field listener_fields[] = {
    {.name = "name", .type = FIELD_NAME, .required = true, .offset = LISTENER(name), .example = "orders",
     .sentence = "The listener's name in rules and logs; unique, and not `all`."},
    {.name = "accept", .type = FIELD_ACCEPT, .required = true, .offset = LISTENER(accept),
     .example = "mtls://0.0.0.0:8443",
     .sentence = "Where to listen; with `mtls` the caller must show a certificate that `rules` let through."},
    {.name = "forward", .type = FIELD_FORWARD, .required = true, .offset = LISTENER(forward),
     .example = "tcp://127.0.0.1:8080",
     .sentence = "Where to connect to; with `mtls` the server must show a certificate that `expect` names."},
    {.name = "alpn", .type = FIELD_STRINGS, .offset = LISTENER(alpn), .max = MAX_ALPN,
     .default_note = "none", .example = "[h2, http/1.1]",
     .sentence = "Application protocols, the preferred one first; a listener that accepts plaintext offers exactly one."},
    {.name = "alpn_required", .type = FIELD_BOOL, .offset = LISTENER(alpn_required), .default_text = "false",
     .pos_offset = LISTENER(alpn_required_pos),
     .sentence = "Whether a caller that offers no application protocol at all is refused."},
    {.name = "expect", .type = FIELD_STRINGS, .offset = LISTENER(expect), .default_note = "none",
     .example = "spiffe://prod.example/ns/shop/sa/payments",
     .sentence = "SPIFFE IDs, patterns or `group:NAME` that the server must match one of; required when `forward` is `mtls`."},
    {.name = "sni", .type = FIELD_DNS_NAME, .offset = LISTENER(sni), .default_note = "the host of `forward`",
     .example = "payments.shop.svc",
     .sentence = "Server name to ask for in the TLS handshake with the server."},
    {.name = "truncation", .type = FIELD_CHOICE, .offset = LISTENER(truncation), .choices = truncations,
     .default_text = "abort",
     .sentence = "What a TLS peer's end without close_notify becomes on the other side: a reset, or (`tolerate`) a normal end."},
    {.name = "tcp_congestion", .type = FIELD_WORD, .offset = LISTENER(tcp_congestion),
     .default_note = "the system's", .example = "bbr",
     .sentence = "TCP congestion control of both sides, by the name that the kernel gives it."},
    {.name = "unsafe_plaintext", .type = FIELD_BOOL, .offset = LISTENER(unsafe_plaintext), .default_text = "false",
     .sentence = "Allows `tcp` addresses off the loopback: whoever reaches the network there passes by all checks."},
    {.name = "close_on_expiry", .type = FIELD_BOOL, .offset = LISTENER(close_on_expiry), .default_text = "true",
     .pos_offset = LISTENER(close_on_expiry_pos),
     .sentence = "Whether a session ends when the peer's certificate chain does; `false` needs `max_age`."},
    {.name = "max_age", .type = FIELD_DURATION, .offset = LISTENER(max_age_ms), .min = SECOND, .max = YEARS,
     .default_note = "none",
     .sentence = "A session ends at this age, up to a tenth earlier."},
    {.name = "resumption", .type = FIELD_CHOICE, .offset = LISTENER(resumption), .choices = resumptions,
     .default_text = "memory",
     .sentence = "Whether TLS 1.3 sessions may be resumed, from this process's memory alone; every session is authorised by itself."},
    {.name = "enforcement", .type = FIELD_CHOICE, .offset = LISTENER(enforcement), .choices = enforcements,
     .pos_offset = LISTENER(enforcement_pos), .default_note = "the file's `enforcement`",
     .sentence = "In place of the file's `enforcement`, for this listener."},
    {.name = "timeouts", .type = FIELD_STRUCT, .offset = LISTENER(timeouts), .table = &listener_timeouts_table,
     .sentence = "Time limits of this listener, each in place of the file's."},
    {.name = "limits", .type = FIELD_STRUCT, .offset = LISTENER(limits), .table = &listener_limits_table,
     .sentence = "Bounds of this listener, besides those of the process."},
    {.name = "socket", .type = FIELD_STRUCT, .offset = LISTENER(socket), .table = &socket_table,
     .sentence = "Who may connect to the Unix socket in `accept`."},
    {.name = "proxy_protocol", .type = FIELD_CHOICE, .offset = LISTENER(proxy_protocol), .choices = proxy_protocols,
     .default_text = "none", .pos_offset = LISTENER(proxy_protocol_pos),
     .sentence = "`v2`: the server is told who called, in a PROXY protocol header before the first byte (`config/PROXY.md`); a bridge sends it inside its TLS. Needs an mtls `accept`."},
    {.name = "proxy_protocol_certificate", .type = FIELD_BOOL, .offset = LISTENER(proxy_protocol_certificate),
     .default_text = "false", .pos_offset = LISTENER(proxy_protocol_certificate_pos),
     .sentence = "Whether that header has the caller's certificate in it; some servers read no header of more than 4 KiB."},
};
static const struct field_table listener_table = {
    .title = "listeners[]", TABLE(listener_fields), .size = sizeof(struct config_listener),
    .pos_offset = LISTENER(pos),
};

static const struct field rule_fields[] = {
    {.name = "name", .type = FIELD_NAME, .required = true, .offset = offsetof(struct config_rule, name),
     .example = "web-uses-orders", .sentence = "The rule's name in logs; unique."},
    {.name = "action", .type = FIELD_CHOICE, .offset = offsetof(struct config_rule, action), .choices = actions,
     .default_text = "allow", .sentence = "What the rule does; a `deny` that matches wins wherever it stands."},
    {.name = "from", .type = FIELD_STRINGS, .required = true, .offset = offsetof(struct config_rule, from),
     .example = "spiffe://prod.example/ns/shop/sa/web",
     .sentence = "SPIFFE IDs, patterns or `group:NAME` of callers: `*` is one whole path segment, `**` (last only) one or more."},
    {.name = "to", .type = FIELD_STRINGS, .required = true, .offset = offsetof(struct config_rule, to),
     .example = "[orders]", .sentence = "Listeners that accept `mtls`, by name, or `all`."},
    {.name = "mode", .type = FIELD_CHOICE, .offset = offsetof(struct config_rule, mode), .choices = modes,
     .default_text = "enforce",
     .sentence = "`shadow`: what the rule would do is counted and logged, and it grants and takes nothing; `disabled`: it is not there."},
    {.name = "expires", .type = FIELD_TIME, .offset = offsetof(struct config_rule, expires),
     .default_note = "never", .example = "2027-01-31",
     .sentence = "When the rule ends by itself, and with it the sessions that no other rule lets in; a date means its beginning in UTC."},
    {.name = "owner", .type = FIELD_STRING, .remark = true, .offset = offsetof(struct config_rule, owner),
     .default_note = "none", .example = "shop-team", .sentence = "Who answers for the rule."},
    {.name = "note", .type = FIELD_STRING, .remark = true, .offset = offsetof(struct config_rule, note),
     .default_note = "none", .example = "until the new checkout is live", .sentence = "Free text for people."},
};
static const struct field_table rule_table = {
    .title = "rules[]", TABLE(rule_fields), .size = sizeof(struct config_rule),
    .pos_offset = offsetof(struct config_rule, pos),
};

static const struct field test_fields[] = {
    {.name = "from", .type = FIELD_STRING, .required = true, .offset = offsetof(struct config_test, from),
     .example = "spiffe://prod.example/ns/shop/sa/web", .sentence = "The SPIFFE ID of a caller."},
    {.name = "to", .type = FIELD_STRING, .required = true, .offset = offsetof(struct config_test, to),
     .example = "orders", .sentence = "The listener that it calls."},
    {.name = "decision", .type = FIELD_CHOICE, .required = true, .choices = actions,
     .offset = offsetof(struct config_test, decision), .pos_offset = offsetof(struct config_test, decision_pos),
     .example = "allow", .sentence = "What the rules must decide, as if `enforcement` were `enforce`."},
    {.name = "rule", .type = FIELD_NAME, .offset = offsetof(struct config_test, rule), .default_note = "any",
     .example = "web-uses-orders", .sentence = "The rule that must decide."},
    {.name = "at", .type = FIELD_TIME, .offset = offsetof(struct config_test, at),
     .default_note = "`expires` does not count", .example = "2027-02-01",
     .sentence = "The moment to decide for."},
};
static const struct field_table test_table = {
    .title = "tests[]", TABLE(test_fields), .size = sizeof(struct config_test),
    .pos_offset = offsetof(struct config_test, pos),
};

static const struct field variable_fields[] = {
    {.name = "value", .type = FIELD_STRING, .offset = offsetof(struct config_variable, value),
     .example = "prod.example", .sentence = "A trust domain."},
};
static const struct field_table variable_table = {
    .title = "variables.<name>", TABLE(variable_fields), .size = sizeof(struct config_variable),
    .key_offset = offsetof(struct config_variable, name), .pos_offset = SIZE_MAX, .bare = true,
};

static const struct field drain_fields[] = {
    {.name = "delay", .type = FIELD_DURATION, .offset = IN_CONFIG(drain.delay_ms), .max = HOUR,
     .default_text = "0s", .sentence = "How long accepting goes on after the signal to stop."},
    {.name = "timeout", .type = FIELD_DURATION, .offset = IN_CONFIG(drain.timeout_ms), .max = DAY,
     .default_text = "25s", .sentence = "How long sessions may take to end by themselves after that; then they are cut."},
};
static const struct field_table drain_table = {
    .title = "drain", TABLE(drain_fields), .pos_offset = SIZE_MAX,
};

static const struct field log_fields[] = {
    {.name = "level", .type = FIELD_CHOICE, .offset = IN_CONFIG(log.level), .choices = log_levels,
     .default_text = "info", .sentence = "The least severe lines that are written to stderr."},
    {.name = "format", .type = FIELD_CHOICE, .offset = IN_CONFIG(log.format), .choices = log_formats,
     .default_text = "text", .fixed = true, .sentence = "key=value pairs or one JSON object, a line each."},
};
static const struct field_table log_table = {
    .title = "log", TABLE(log_fields), .pos_offset = SIZE_MAX,
};

static const struct field_choice access_events[] = {
    {"deny", CONFIG_ACCESS_DENY}, {"close", CONFIG_ACCESS_CLOSE}, {"open", CONFIG_ACCESS_OPEN}, {NULL, 0},
};
static const struct field access_log_fields[] = {
    {.name = "to", .type = FIELD_OUTPUT, .offset = IN_CONFIG(access_log.to), .default_text = "stdout", .fixed = true,
     .example = "/var/log/bulkhead/access.log",
     .sentence = "`stdout`, `none` or a file: one JSON line for each session and each refusal."},
    {.name = "events", .type = FIELD_SET, .offset = IN_CONFIG(access_log.events), .choices = access_events,
     .default_text = "[deny, close]", .example = "[deny, open, close]",
     .sentence = "What has a line: `deny`, a refusal; `close`, the end of a session that was let through, for whatever reason; `open`, its beginning."},
    {.name = "fold", .type = FIELD_DURATION, .offset = IN_CONFIG(access_log.fold_ms), .min = SECOND, .max = HOUR,
     .zero_ok = true, .default_text = "10s",
     .sentence = "The first of equal refusals (listener, reason, shadow rule, and the caller's verified ID, or its address and what it claims) has its line at once; those that follow are told every so often in one line, with their number (`repeats`). Each worker folds by itself. `0s`: each refusal has its line."},
};
static const struct field_table access_log_table = {
    .title = "access_log", TABLE(access_log_fields), .pos_offset = SIZE_MAX,
};

static const struct field reload_fields[] = {
    {.name = "watch", .type = FIELD_CHOICE, .offset = IN_CONFIG(reload.watch), .choices = watches,
     .default_text = "atomic",
     .sentence = "Whether this file takes effect by itself when it is replaced as a whole (renamed over, or a symbolic link swapped); credentials, bundles and CRLs are watched always."},
    {.name = "max_cut", .type = FIELD_PERCENT, .offset = IN_CONFIG(reload.max_cut_percent), .min = 1, .max = 100,
     .default_note = "no bound",
     .sentence = "A reload that would end more than this share of the live sessions is refused; written denies and revocations don't count."},
};
static const struct field_table reload_table = {
    .title = "reload", TABLE(reload_fields), .pos_offset = SIZE_MAX,
};

static const struct field admin_fields[] = {
    {.name = "listen", .type = FIELD_LOCAL, .required = true, .offset = IN_CONFIG(admin.listen), .fixed = true,
     .example = "unix:///run/bulkhead/admin.sock",
     .sentence = "A Unix socket, permissions 0660: whoever may connect to it may look, reload and end sessions; "
                 "`ctl check` is for root and the user that bulkhead runs as. Or `tcp` on `127.0.0.0/8` or `[::1]`: "
                 "then that is every user of this host, and `ctl check` is nobody's; a POST needs the header `Bulkhead-Admin: 1`."},
};
static const struct field_table admin_table = {
    .title = "admin", TABLE(admin_fields), .pos_offset = SIZE_MAX,
};

enum { MAX_APP_PROBES = 16 };
static const struct field app_probe_fields[] = {
    {.name = "path", .type = FIELD_STRING, .required = true, .offset = offsetof(struct config_app_probe, path),
     .example = "/app/ready", .sentence = "Where it is asked for on `probes.listen`: `/app/` and more."},
    {.name = "get", .type = FIELD_STRING, .offset = offsetof(struct config_app_probe, get),
     .default_note = "none", .example = "http://127.0.0.1:8080/healthz",
     .sentence = "What we ask the application for, on the loopback or a Unix socket (`http://unix:/run/app.sock:/healthz`); its status is the answer, a redirect too."},
    {.name = "connect", .type = FIELD_FORWARD, .offset = offsetof(struct config_app_probe, connect),
     .default_note = "none", .example = "tcp://127.0.0.1:8080",
     .sentence = "Instead of `get`: an address on the loopback, or a Unix socket, that must accept a connection."},
    {.name = "grpc", .type = FIELD_FORWARD, .offset = offsetof(struct config_app_probe, grpc),
     .default_note = "none", .example = "tcp://127.0.0.1:9090",
     .sentence = "Instead of `get`: an address on the loopback, or a Unix socket, whose gRPC health (`grpc.health.v1.Health/Check`, HTTP/2 without TLS) is asked: 200 for `SERVING`, 503 for all else, a timeout too."},
    {.name = "service", .type = FIELD_STRING, .offset = offsetof(struct config_app_probe, service),
     .default_note = "the server as a whole", .example = "orders.v1.Orders",
     .sentence = "With `grpc`: the name whose health is asked for, 1 to 200 letters, digits, `.`, `_`, `-`, `/`."},
    {.name = "timeout", .type = FIELD_DURATION, .offset = offsetof(struct config_app_probe, timeout_ms),
     .min = 10 * MS, .max = MINUTE, .default_text = "5s", .sentence = "For the whole answer; then it is 504 (503 with `grpc`)."},
};
static const struct field_table app_probe_table = {
    .title = "probes.app[]", TABLE(app_probe_fields), .size = sizeof(struct config_app_probe),
    .pos_offset = offsetof(struct config_app_probe, pos),
};

static const struct field probes_fields[] = {
    {.name = "listen", .type = FIELD_ACCEPT, .required = true, .offset = IN_CONFIG(probes.listen), .fixed = true,
     .example = "tcp://0.0.0.0:8081",
     .sentence = "Where `GET /livez` and `GET /readyz` are answered, plaintext and to whoever can connect; nothing else is there, and nothing that changes anything. `tcp` or `unix`; a Unix socket has permissions 0660."},
    {.name = "metrics", .type = FIELD_BOOL, .offset = IN_CONFIG(probes.metrics), .default_text = "false",
     .sentence = "`GET /metrics` too: names of rules and trust domains, our SPIFFE ID, and with `metrics.peers` those of peers."},
    {.name = "app", .type = FIELD_LIST, .table = &app_probe_table, .max = MAX_APP_PROBES, .default_note = "none",
     .offset = IN_CONFIG(probes.app), .count_offset = IN_CONFIG(probes.app_count),
     .sentence = "Health of the application, which so can stay on the loopback: we ask a fixed question, whoever asks us, and tell the status alone."},
};
static const struct field_table probes_table = {
    .title = "probes", TABLE(probes_fields), .pos_offset = SIZE_MAX,
};

enum { METRICS_PEERS_MAX = 10000 };
static const struct field metrics_fields[] = {
    {.name = "peers", .type = FIELD_COUNT, .offset = IN_CONFIG(metrics.peers), .max = METRICS_PEERS_MAX,
     .zero_ok = true, .default_text = "0", .fixed = true,
     .sentence = "Decisions are also counted by the peer's SPIFFE ID, for so many IDs as were first seen; all others count as `other`. Each is two time series for whoever collects them. `0`: not at all."},
};
static const struct field_table metrics_table = {
    .title = "metrics", TABLE(metrics_fields), .pos_offset = SIZE_MAX,
};

static const struct field group_fields[] = {
    {.name = "members", .type = FIELD_STRINGS, .offset = offsetof(struct config_group, members),
     .example = "[spiffe://prod.example/ns/shop/sa/web, group:mobile]",
     .sentence = "SPIFFE IDs, patterns and `group:NAME`."},
};
static const struct field_table group_table = {
    .title = "groups.<name>", TABLE(group_fields), .size = sizeof(struct config_group),
    .key_offset = offsetof(struct config_group, name), .pos_offset = SIZE_MAX, .bare = true,
};

/* What the main file and included files have in common. */
#define GROUPS_FIELD                                                                               \
    {.name = "groups", .type = FIELD_MAP, .table = &group_table, .default_note = "none",           \
     .offset = offsetof(struct config, groups), .count_offset = offsetof(struct config, group_count), \
     .sentence = "Names for lists of SPIFFE IDs and patterns, for `from`, `expect` and other groups: `group:NAME`."}
#define RULES_FIELD                                                                                \
    {.name = "rules", .type = FIELD_LIST, .table = &rule_table, .default_note = "none: every caller is refused", \
     .offset = offsetof(struct config, rules), .count_offset = offsetof(struct config, rule_count), \
     .pos_offset = IN_CONFIG(rules_pos),                                                           \
     .sentence = "Who may use which listener that accepts mtls. What no rule allows is refused."}

#define QUARANTINE_FIELD                                                                           \
    {.name = "quarantine", .type = FIELD_STRINGS, .offset = offsetof(struct config, quarantine),   \
     .default_note = "none", .example = "[spiffe://prod.example/ns/shop/sa/wiki]",                 \
     .sentence = "SPIFFE IDs, patterns and `sha256:` fingerprints of leaf certificates that are refused and cut at once, as callers and as servers, above every rule. Takes effect even when the rest of the file is refused."}
#define TESTS_FIELD                                                                                \
    {.name = "tests", .type = FIELD_LIST, .table = &test_table, .default_note = "none",            \
     .offset = offsetof(struct config, tests), .count_offset = offsetof(struct config, test_count), \
     .sentence = "What the rules must decide; run at every load and by `check`. One that fails refuses a reload."}

static const struct field root_fields[] = {
    {.name = "version", .type = FIELD_VERSION, .required = true, .min = 1, .max = 1, .example = "1",
     .sentence = "Version of this language; 1."},
    {.name = "include", .type = FIELD_STRINGS, .offset = offsetof(struct config, include), .max = MAX_INCLUDE,
     .default_note = "none", .example = "[rules.d/*.yaml]",
     .sentence = "Files with more `rules`, `groups`, `quarantine` and `tests`, from this file's directory on; in a file's name `*`, `?` and `[ ]` match as in a shell. In them, what names a listener or trust domain that is not here has no effect."},
    {.name = "identity", .type = FIELD_STRUCT, .table = &identity_table,
     .sentence = "Who this process is: from files, or from a SPIFFE Workload API."},
    {.name = "trust", .type = FIELD_MAP, .table = &trust_table, .default_note = "required with identity.files; else what the Workload API gives",
     .offset = offsetof(struct config, trust), .count_offset = offsetof(struct config, trust_count),
     .sentence = "Whose certificates count: one bundle for each trust domain, never merged."},
    {.name = "listeners", .type = FIELD_LIST, .required = true, .min = 1, .max = CONFIG_MAX_LISTENERS, .table = &listener_table,
     .offset = offsetof(struct config, listeners), .count_offset = offsetof(struct config, listener_count),
     .sentence = "Where to accept and where to forward to. mtls to tcp terminates, tcp to mtls originates, mtls to mtls bridges."},
    {.name = "variables", .type = FIELD_MAP, .table = &variable_table, .default_note = "none",
     .offset = offsetof(struct config, variables), .count_offset = offsetof(struct config, variable_count),
     .sentence = "Trust domains by name: `${NAME}` may stand for a whole trust domain, in included files too. `--var NAME=VALUE` takes precedence."},
    GROUPS_FIELD,
    RULES_FIELD,
    {.name = "enforcement", .type = FIELD_CHOICE, .offset = offsetof(struct config, enforcement), .choices = enforcements,
     .default_text = "enforce",
     .sentence = "`audit` lets through what no rule matched, and logs and counts it (`would_deny`): for moving a running system towards default deny. A written deny, a quarantine and a failed handshake still refuse."},
    QUARANTINE_FIELD,
    {.name = "quarantine_file", .type = FIELD_PATH, .offset = offsetof(struct config, quarantine_file),
     .default_note = "none", .example = "/etc/bulkhead/quarantine",
     .sentence = "A file of more such entries, one on each line, with `#` comments; watched, and in force as soon as it is written."},
    TESTS_FIELD,
    {.name = "timeouts", .type = FIELD_STRUCT, .offset = offsetof(struct config, timeouts), .table = &timeouts_table,
     .sentence = "Time without progress after which things end; nothing bounds the whole time of a session."},
    {.name = "keepalive", .type = FIELD_DURATION, .offset = IN_CONFIG(keepalive.time_ms),
     .min = SECOND, .max = 9 * HOUR, .zero_ok = true, .default_text = "60s",
     .sentence = "On both sides: an idle peer is probed after so long, and one that acknowledges nothing for so long (2s at least) has vanished. A peer that only does not read is no such peer. `0s` turns both off."},
    {.name = "drain", .type = FIELD_STRUCT, .table = &drain_table,
     .sentence = "How the process ends after SIGTERM or SIGINT."},
    {.name = "limits", .type = FIELD_STRUCT, .offset = offsetof(struct config, limits), .table = &limits_table,
     .sentence = "Bounds of the whole process."},
    {.name = "workers", .type = FIELD_COUNT, .offset = offsetof(struct config, workers), .min = 1, .max = 1024,
     .default_note = "the CPUs that the process may use", .fixed = true,
     .sentence = "Threads that serve sessions."},
    {.name = "own_expiry", .type = FIELD_CHOICE, .offset = IN_CONFIG(own_expiry), .choices = own_expiries,
     .default_text = "refuse_new",
     .sentence = "What happens when our own certificate expires and no successor has come: no new sessions, or live ones are ended too."},
    {.name = "reload", .type = FIELD_STRUCT, .table = &reload_table,
     .sentence = "How changes of files come into force; SIGHUP and SIGUSR1 always read everything anew."},
    {.name = "admin", .type = FIELD_STRUCT, .table = &admin_table,
     .sentence = "The socket that `bulkhead ctl` talks to; without it there is none."},
    {.name = "probes", .type = FIELD_STRUCT, .table = &probes_table,
     .sentence = "A listener of its own for whoever asks whether this process lives and is ready; without it there is none."},
    {.name = "metrics", .type = FIELD_STRUCT, .table = &metrics_table,
     .sentence = "What is counted beyond config/METRICS.md's usual; `GET /metrics` on the admin socket tells it all."},
    {.name = "first_seen_file", .type = FIELD_PATH, .offset = offsetof(struct config, first_seen_file), .fixed = true,
     .default_note = "none: since the start", .example = "/var/lib/bulkhead/first-seen",
     .sentence = "Where it is kept which SPIFFE IDs have called, and when first (and when first denied), at most 100000 of them, so that `peer_first_seen` in the log means the first time ever. Of one process alone; written by it, permissions 0600."},
    {.name = "log", .type = FIELD_STRUCT, .table = &log_table, .sentence = "The process log, on stderr."},
    {.name = "access_log", .type = FIELD_STRUCT, .table = &access_log_table,
     .sentence = "The log of sessions and refusals."},
};
/* clang-format on */

static const struct field_table root_table = {
    .title = "",
    TABLE(root_fields),
    .size = sizeof(struct config),
    .pos_offset = SIZE_MAX,
};

static const struct field included_fields[] = {
    GROUPS_FIELD,
    RULES_FIELD,
    QUARANTINE_FIELD,
    TESTS_FIELD,
};
static const struct field_table included_table = {
    .title = "included file",
    TABLE(included_fields),
    .size = sizeof(struct config),
    .pos_offset = SIZE_MAX,
    .elsewhere = &root_table,
    .elsewhere_note = "stands in the main file only; an included file holds `rules`, `groups`, "
                      "`quarantine` and `tests`",
};

const struct field_table *field_table_included(void)
{
    return &included_table;
}

const struct field_table *field_table_root(void)
{
    return &root_table;
}

unsigned field_default_set(const struct field *field)
{
    unsigned set = 0;
    const char *at = field->default_text + strspn(field->default_text, "[, ]");
    while (*at != '\0') {
        size_t len = strcspn(at, "[, ]");
        const struct field_choice *choice = field->choices;
        while (strlen(choice->name) != len || strncmp(choice->name, at, len) != 0) {
            choice++;
            ASSERT(choice->name != NULL);
        }
        set |= (unsigned)choice->value;
        at += len;
        at += strspn(at, "[, ]");
    }
    return set;
}

const struct field *field_table_find(const struct field_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->fields[i].name, name) == 0) {
            return &table->fields[i];
        }
    }
    return NULL;
}
