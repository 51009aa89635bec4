/*
 * config: the configuration file, decoded into C.
 *
 * config_load reads and decodes one YAML file by the key tables (config/field_table.h) and checks
 * what can be seen without any other file: syntax, unknown and duplicate keys, types, ranges,
 * addresses, names, variables, references between sections. What strings mean elsewhere (SPIFFE
 * IDs, patterns, trust domains, certificates) is checked by policy_load and when the snapshot is
 * built: they get the strings with their positions. Control thread and cli; immutable afterwards,
 * read by all.
 */
#ifndef BULKHEAD_CONFIG_CONFIG_H
#define BULKHEAD_CONFIG_CONFIG_H

#include "config/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_string {
    char *text; /* NULL: absent */
    struct config_pos pos;
};

struct config_strings {
    struct config_string *items;
    size_t count;
    struct config_pos pos; /* of the key's value; line 0: absent */
    bool broken;           /* something in it could not be read, which was reported */
};

/* A moment: a date is the beginning of that day in UTC. text NULL: absent. */
struct config_time {
    struct config_string text;
    int64_t s; /* since 1970-01-01T00:00:00Z */
};

enum config_scheme {
    CONFIG_SCHEME_NONE = 0,
    CONFIG_SCHEME_TCP,      /* tcp://HOST:PORT, plaintext */
    CONFIG_SCHEME_MTLS,     /* mtls://HOST:PORT */
    CONFIG_SCHEME_UNIX,     /* unix:///PATH, plaintext */
    CONFIG_SCHEME_MTLS_UNIX /* mtls+unix:///PATH */
};

struct config_address {
    struct config_string text; /* as written */
    enum config_scheme scheme;
    char *host;       /* without brackets; NULL for Unix */
    bool host_is_ip;  /* an IPv4 or IPv6 literal */
    uint16_t port;    /* 0 in accept: the kernel chooses */
    char *path;       /* Unix only, absolute */
    char *activation; /* instead of host or path: the name of a socket that the service manager
                         passes */
};

enum config_kind { CONFIG_KIND_TERMINATE = 0, CONFIG_KIND_ORIGINATE, CONFIG_KIND_BRIDGE };
enum config_resumption { CONFIG_RESUMPTION_MEMORY = 0, CONFIG_RESUMPTION_NONE };
enum config_crl_check { CONFIG_CRL_CHECK_UNSET = 0, CONFIG_CRL_CHECK_LEAF, CONFIG_CRL_CHECK_CHAIN };
enum config_crl_expired { CONFIG_CRL_EXPIRED_KEEP = 0, CONFIG_CRL_EXPIRED_CUT };
enum config_provider {
    CONFIG_PROVIDER_FILTERED = 0,
    CONFIG_PROVIDER_STOCK,
    CONFIG_PROVIDER_SYSTEM
};
enum config_own_expiry { CONFIG_OWN_EXPIRY_REFUSE_NEW = 0, CONFIG_OWN_EXPIRY_CLOSE };
enum config_watch { CONFIG_WATCH_ATOMIC = 0, CONFIG_WATCH_NONE };
/* audit: what no rule matched is let through, logged and counted. Nothing else is softened. */
enum config_enforcement { CONFIG_ENFORCEMENT_ENFORCE = 0, CONFIG_ENFORCEMENT_AUDIT };
enum config_proxy_protocol { CONFIG_PROXY_PROTOCOL_NONE = 0, CONFIG_PROXY_PROTOCOL_V2 };
/* What the access log tells of, as a set. */
enum config_access { CONFIG_ACCESS_DENY = 1, CONFIG_ACCESS_CLOSE = 2, CONFIG_ACCESS_OPEN = 4 };
enum config_truncation { CONFIG_TRUNCATION_ABORT = 0, CONFIG_TRUNCATION_TOLERATE };

struct config_timeouts {
    uint64_t handshake_ms;
    uint64_t connect_ms;
    uint64_t idle_ms;
    uint64_t half_close_ms;
};

/* 0 means: no bound of its own. */
struct config_limits {
    uint64_t connections;
    uint64_t handshakes;
    uint64_t buffered_bytes;
};

struct config_socket {
    uint32_t mode;              /* default 0600 */
    struct config_string owner; /* a user's name or number; text NULL: leave */
    struct config_string group;
    struct config_pos pos; /* line 0: absent */
};

struct config_listener {
    struct config_string name;
    struct config_address accept;
    struct config_address forward;
    enum config_kind kind; /* from the two schemes */
    struct config_strings alpn;
    bool alpn_required;
    struct config_pos alpn_required_pos;
    struct config_strings expect;
    struct config_string sni; /* overrides the host of forward */
    enum config_truncation truncation;
    struct config_string tcp_congestion;
    bool unsafe_plaintext;
    bool close_on_expiry;
    struct config_pos close_on_expiry_pos;
    uint64_t max_age_ms; /* 0: none */
    enum config_resumption resumption;
    enum config_enforcement enforcement; /* the file's, or the listener's over it */
    struct config_pos enforcement_pos;   /* line 0: the file's */
    struct config_timeouts timeouts;     /* the file's, with the listener's over them */
    struct config_limits limits;         /* the listener's own; 0 where it sets none */
    struct config_socket socket;         /* for a Unix accept */
    enum config_proxy_protocol proxy_protocol;
    struct config_pos proxy_protocol_pos;
    bool proxy_protocol_certificate;
    struct config_pos proxy_protocol_certificate_pos;
    struct config_pos pos;
};

enum config_action { CONFIG_ACTION_ALLOW = 0, CONFIG_ACTION_DENY };
/* shadow: evaluated beside the enforced rules, counted and logged; grants and takes nothing. */
enum config_mode { CONFIG_MODE_ENFORCE = 0, CONFIG_MODE_SHADOW, CONFIG_MODE_DISABLED };

struct config_rule {
    struct config_string name;
    enum config_action action;
    struct config_strings from;
    struct config_strings to; /* listener names or "all"; checked to exist and not to originate */
    enum config_mode mode;
    struct config_time expires; /* from then on the rule is not there */
    struct config_string owner;
    struct config_string note;
    struct config_pos pos;
};

/* What a load and `check` demand of the rules: no quarantine, and no `expires` unless `at` is set.
 */
struct config_test {
    struct config_string from; /* a SPIFFE ID, no pattern */
    struct config_string to;   /* one listener's name */
    enum config_action decision;
    struct config_pos decision_pos;
    struct config_string rule; /* that must decide; text NULL: any */
    struct config_time at;
    struct config_pos pos;
};

/* As written. What stands elsewhere has its values in it already. */
struct config_variable {
    struct config_string name;
    struct config_string value; /* a trust domain */
};

struct config_trust {
    struct config_string domain;
    struct config_string bundle; /* path; text NULL: the Workload API's, if it has one */
    struct config_string crl;    /* path; text NULL: no revocation for this domain */
    enum config_crl_check crl_check;
    struct config_pos crl_check_pos;
    enum config_crl_expired crl_expired;
    struct config_pos crl_expired_pos;
    struct config_pos pos;
};

struct config_group {
    struct config_string name;
    struct config_strings members; /* as in a rule's `from` */
};

/* Where files come from that match a pattern of `include`. */
struct config_directory {
    char *path;
    char *pattern; /* of the names in it */
};

/* Bytes of the name that gRPC's health is asked for. */
enum { CONFIG_HEALTH_SERVICE_MAX = 200 };

/* One question to the application, by `get`, `connect` or `grpc`. */
struct config_app_probe {
    struct config_string path;
    struct config_string get; /* a URL (config/http_url.h) */
    struct config_address connect;
    struct config_address grpc;
    struct config_string service; /* with grpc only; NULL: the server as a whole */
    uint64_t timeout_ms;
    struct config_pos pos;
};

struct config {
    /* No error was found. Otherwise what could not be read is absent or holds its default, and the
     * rest is there only to be checked as well: no snapshot is built from it. */
    bool valid;
    bool from_text; /* path is only what messages call it */
    char *path;
    uint64_t text_hash[2]; /* of all files as read */
    struct config_strings include;
    /* All files that were read: the main file, then the included ones. config_pos.file of what
       stands in files[i] is first_file + i. */
    char **files;
    size_t file_count;
    uint32_t first_file;
    struct config_directory *directories;
    size_t directory_count;
    struct {
        struct config_string spiffe_id; /* text NULL: no pin */
        struct config_string certificate;
        struct config_string private_key;
        struct config_string workload_api; /* text NULL: SPIFFE_ENDPOINT_SOCKET, without files */
        struct config_string hint;
        uint64_t start_timeout_ms; /* 0: none */
        struct config_pos start_timeout_pos;
        struct config_pos pos;
    } identity;
    struct config_trust *trust;
    size_t trust_count;
    struct config_listener *listeners;
    size_t listener_count;
    struct config_rule *rules; /* of all files, in the order of files */
    size_t rule_count;
    struct config_pos rules_pos; /* line 0: absent */
    struct config_group *groups; /* of all files, by name */
    size_t group_count;
    struct config_strings quarantine; /* of all files; also what could be read after errors */
    struct config_string quarantine_file;
    struct config_string first_seen_file;
    struct config_test *tests; /* of all files */
    size_t test_count;
    struct config_variable *variables;
    size_t variable_count;
    enum config_enforcement enforcement;
    struct config_timeouts timeouts;
    struct {
        uint64_t time_ms; /* 0: off */
    } keepalive;
    struct {
        uint64_t delay_ms;
        uint64_t timeout_ms;
    } drain;
    struct config_limits limits; /* of the process; connections 0: from RLIMIT_NOFILE */
    uint64_t workers;            /* 0: the CPUs that this process may use */
    struct {
        enum config_provider provider;
        struct config_pos provider_pos; /* line 0: not written */
    } tls;
    enum config_own_expiry own_expiry;
    struct {
        enum config_watch watch;
        uint64_t max_cut_percent; /* 0: no bound */
    } reload;
    struct {
        struct config_address listen; /* scheme NONE: no admin socket */
    } admin;
    struct {
        struct config_address listen; /* scheme NONE: no probes */
        bool metrics;
        struct config_app_probe *app;
        size_t app_count;
    } probes;
    struct {
        uint64_t peers; /* 0: no metrics by peer */
    } metrics;
    struct {
        int level;  /* enum log_level */
        int format; /* enum log_format */
    } log;
    struct {
        struct config_string to; /* "stdout", "none" or a path */
        unsigned events;         /* CONFIG_ACCESS_*, or-ed */
        uint64_t fold_ms;        /* 0: each refusal has its line */
    } access_log;
};

/* What the command line says about a configuration. The texts are the caller's. */
struct config_variable_value {
    const char *name;
    const char *value;
};
struct config_options {
    const struct config_variable_value *variables; /* over those of the file; no name twice */
    size_t variable_count;
    /* The main file's text, where it is in no file; the caller's. The path is then what messages
       call it, and relative paths start at the working directory. NULL: the file is read. */
    const char *text;
    size_t text_len;
};

enum { CONFIG_MAX_BYTES = 64 * 1024 * 1024, CONFIG_MAX_LISTENERS = 1024 };

/*
 * Reads the file, and those that its `include` names. Everything wrong goes into diags with its
 * place. NULL when the file can't be read as YAML; after any other error a configuration whose
 * `valid` is false. Relative paths in the file are taken from the file's directory. The caller
 * frees the result. options may be NULL.
 */
struct config *config_load(const char *path, const struct config_options *options,
                           struct diag_list *diags);
/* The same with the main file from memory; name is what the messages call it. */
struct config *config_parse(const char *name, const char *text, size_t len,
                            const struct config_options *options, struct diag_list *diags);
/* When config_load has given NULL: the files that `former` includes, alone and as they are now.
   Their quarantine counts even so; nothing else may be made of the result, which is not valid. */
struct config *config_load_included(const struct config *former,
                                    const struct config_options *options, struct diag_list *diags);
void config_free(struct config *config);
const char *config_kind_name(enum config_kind kind); /* "terminate", … */
bool config_scheme_is_mtls(enum config_scheme scheme);
bool config_scheme_is_unix(enum config_scheme scheme);
/* Our SVID comes from files; else from the Workload API. */
bool config_has_identity_files(const struct config *config);
/* Did it stand in an included file? Such a file may be shared with processes that have other
   listeners and trust domains. */
bool config_is_included(const struct config *config, struct config_pos pos);
/* The group that a member of `from`, `expect` or another group names ("group:NAME"), or NULL. */
const struct config_group *config_find_group(const struct config *config, const char *reference);
bool config_is_group_reference(const char *text);
#define CONFIG_GROUP_PREFIX "group:"
/* Of rule i in the `rules` of its own file, for messages, from that of rule i - 1. */
static inline size_t config_rule_index(const struct config *config, size_t i, size_t former)
{
    bool same = i > 0 && config->rules[i].pos.file == config->rules[i - 1].pos.file;
    return same ? former + 1 : 0;
}
/* The same for tests. */
static inline size_t config_test_index(const struct config *config, size_t i, size_t former)
{
    bool same = i > 0 && config->tests[i].pos.file == config->tests[i - 1].pos.file;
    return same ? former + 1 : 0;
}
/* The listener of that name, or NULL. */
const struct config_listener *config_find_listener(const struct config *config, const char *name);

#endif
