/*
 * Loads the configuration alone, asks the policy as the proxy would, and has the answer printed.
 */
#include "cli/explain.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/config_input.h"
#include "cli/explain_print.h"
#include "cli/output.h"
#include "cli/vars.h"
#include "config/config.h"
#include "config/scalar.h"
#include "config/suggest.h"
#include "control/quarantine_source.h"
#include "policy/explain.h"
#include "policy/lint.h"
#include "policy/quarantine.h"

enum { EXIT_ALLOWED = 0, EXIT_DENIED = 1, EXIT_FAILED = 1, EXIT_WRONG = 2 };
enum { WARNINGS_SHOWN = 10 };

struct options {
    const char *file;
    const char *from;
    const char *to;
    const char *server;
    const char *sha256; /* as an entry of the quarantine */
    int64_t now_s;
    bool json;
    struct vars vars;
    struct config_input input;
    char *sha256_text;
    uint8_t leaf[QUARANTINE_SHA256_SIZE];
};

static void print_help(FILE *out)
{
    fputs(
        "usage: bulkhead explain [-c FILE] --from ID --to LISTENER [--server ID] [--at TIME]\n"
        "                        [--sha256 FINGERPRINT] [--var NAME=VALUE]... [--json]\n"
        "\n"
        "Says whether a peer of this SPIFFE ID may use a listener, which rule decides, where it\n"
        "stands, and which rules came near and in what they differ: the sentence of the access\n"
        "log, before there is a connection. Reads the configuration, what it includes and the\n"
        "quarantine file, no certificate, key or bundle: that the peer has a valid certificate is\n"
        "taken for granted.\n"
        "\n"
        "  -c, --config FILE   the configuration file; - is standard input\n"
        "      --from ID       the caller's SPIFFE ID; not for a listener that accepts plaintext\n"
        "      --to LISTENER   the listener's name\n"
        "      --server ID     the server's SPIFFE ID, where the listener forwards to mtls: is it\n"
        "                      in `expect`?\n"
        "      --at TIME       as of then: 2027-01-31, 2027-01-31T18:00:00Z; else as of now\n"
        "      --sha256 F      the SHA-256 of the caller's leaf certificate (of the server's, "
        "where\n"
        "                      there is no --from), for a quarantine of single certificates\n"
        "      --var N=VALUE   the trust domain that ${N} stands for; over `variables` of the\n"
        "                      file; may be given several times\n"
        "      --json          one JSON object instead of lines\n"
        "  -h, --help          this text\n"
        "\n" CONFIG_INPUT_HELP "\n"
        "Examples:\n"
        "  bulkhead explain -c bulkhead.yaml --from spiffe://prod.example/ns/shop/sa/web --to "
        "orders\n"
        "  bulkhead explain -c bulkhead.yaml --to to-payments \\\n"
        "      --server spiffe://prod.example/ns/shop/sa/payments\n"
        "  bulkhead explain -c bulkhead.yaml --from spiffe://prod.example/ns/batch/sa/job \\\n"
        "      --to orders --at 2027-01-31 --json | jq .detail\n"
        "\n"
        "Exit code: 0 it is let through, 1 it is refused (or stdout failed), 2 wrong usage or\n"
        "configuration.\n",
        out);
}

static bool wrong_usage(const char *message)
{
    fprintf(stderr, "bulkhead explain: %s; try: bulkhead explain --help\n", message);
    return false;
}

/* --- options --------------------------------------------------------------------------------- */

static bool take_once(const char **place, const char *value, const char *name)
{
    if (*place != NULL) {
        fprintf(stderr, "bulkhead explain: --%s is given twice\n", name);
        return false;
    }
    *place = value;
    return true;
}

static bool take_time(struct options *options, const char *text)
{
    const char *why = NULL;
    if (scalar_parse_time(text, &options->now_s, &why)) {
        return true;
    }
    fprintf(stderr, "bulkhead explain: --at \"%s\": %s\n", text, why);
    return false;
}

/* With or without "sha256:" before it. */
static bool take_sha256(struct options *options)
{
    struct quarantine_item item;
    const char *why = NULL;
    bool has_prefix =
        strncmp(options->sha256, QUARANTINE_SHA256_PREFIX, strlen(QUARANTINE_SHA256_PREFIX)) == 0;
    size_t size = strlen(options->sha256) + sizeof(QUARANTINE_SHA256_PREFIX);
    options->sha256_text = mem_alloc(size);
    (void)snprintf(options->sha256_text, size, "%s%s", has_prefix ? "" : QUARANTINE_SHA256_PREFIX,
                   options->sha256);
    if (quarantine_item_parse(strview_from(options->sha256_text), &item, &why) != 0) {
        fprintf(stderr, "bulkhead explain: --sha256 \"%s\": %s\n", options->sha256, why);
        return false;
    }
    memcpy(options->leaf, item.sha256, sizeof(options->leaf));
    return true;
}

static bool parse_one(struct options *options, int option)
{
    switch (option) {
    case 'c':
        return take_once(&options->file, optarg, "config");
    case 'f':
        return take_once(&options->from, optarg, "from");
    case 't':
        return take_once(&options->to, optarg, "to");
    case 's':
        return take_once(&options->server, optarg, "server");
    case 'F':
        return take_once(&options->sha256, optarg, "sha256") && take_sha256(options);
    case 'a':
        return take_time(options, optarg);
    case 'v':
        return vars_add(&options->vars, "explain", optarg);
    case 'j':
        options->json = true;
        return true;
    default:
        fputs("try: bulkhead explain --help\n", stderr);
        return false;
    }
}

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"from", required_argument, NULL, 'f'},
        {"to", required_argument, NULL, 't'},     {"server", required_argument, NULL, 's'},
        {"at", required_argument, NULL, 'a'},     {"sha256", required_argument, NULL, 'F'},
        {"var", required_argument, NULL, 'v'},    {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    *options = (struct options){.now_s = clock_wall_s()};
    *code = EXIT_WRONG;
    int option;
    while ((option = getopt_long(argc, argv, "c:h", known, NULL)) != -1) {
        if (option == 'h') {
            print_help(stdout);
            *code = output_finish("explain", EXIT_ALLOWED);
            return false;
        }
        if (!parse_one(options, option)) {
            return false;
        }
    }
    if (optind < argc) {
        fprintf(stderr,
                "bulkhead explain: unexpected argument \"%s\"; try: bulkhead explain --help\n",
                argv[optind]);
        return false;
    }
    enum config_input_result result = config_input_take(&options->input, "explain", options->file);
    options->file = options->input.name;
    if (result != CONFIG_INPUT_TAKEN) {
        return result == CONFIG_INPUT_NONE && wrong_usage("which file? -c FILE is needed");
    }
    if (options->to == NULL) {
        return wrong_usage("which listener? --to is needed");
    }
    return (options->from != NULL || options->server != NULL) ||
           wrong_usage("who? --from or --server is needed");
}

/* --- what is asked --------------------------------------------------------------------------- */

/* What is loaded, and the answers. */
struct inquiry {
    const struct options *options;
    struct diag_list diags;
    struct config *config;
    struct policy *policy;
    struct quarantine *quarantine;
    struct spiffe_id from;
    struct spiffe_id server;
    struct explain_report report;
};

/* The first of them: `bulkhead check` has all. */
static void print_diags(const struct inquiry *inquiry, enum diag_severity severity)
{
    size_t shown = 0;
    size_t left_out = 0;
    for (size_t i = 0; i < inquiry->diags.count; i++) {
        const struct diag *diag = &inquiry->diags.items[i];
        char line[4096];
        if (diag->severity != severity) {
            continue;
        }
        if (shown == WARNINGS_SHOWN) {
            left_out++;
            continue;
        }
        shown++;
        diag_format(&inquiry->diags, diag, line, sizeof(line));
        fprintf(stderr, "%s\n", line);
    }
    if (left_out > 0) {
        fprintf(stderr, "and %zu more: bulkhead check -c %s\n", left_out, inquiry->options->file);
    }
}

/* False when an entry in the configuration is wrong. The file may be elsewhere, or on its way: the
   answer says that it was not taken into account. */
static bool load_quarantine(struct inquiry *inquiry)
{
    size_t errors = inquiry->diags.error_count;
    bool broken = false;
    struct quarantine *in_files = quarantine_source_inline(inquiry->config, &inquiry->diags);
    if (inquiry->diags.error_count != errors) {
        quarantine_unref(in_files);
        return false;
    }
    struct quarantine *in_file =
        quarantine_source_file(inquiry->config, "", &inquiry->diags, &broken);
    inquiry->report.quarantine_known = in_file != NULL && !broken;
    inquiry->quarantine = quarantine_source_join(in_files, in_file);
    quarantine_unref(in_files);
    quarantine_unref(in_file);
    return true;
}

static bool load(struct inquiry *inquiry)
{
    struct config_options options = vars_options(&inquiry->options->vars);
    config_input_set(&inquiry->options->input, &options);
    inquiry->config = config_load(inquiry->options->file, &options, &inquiry->diags);
    if (inquiry->config != NULL) {
        inquiry->policy = policy_load(inquiry->config, &inquiry->diags);
    }
    if (inquiry->config == NULL || inquiry->policy == NULL || !inquiry->config->valid ||
        !load_quarantine(inquiry)) {
        diag_sort(&inquiry->diags);
        print_diags(inquiry, DIAG_ERROR);
        return false;
    }
    lint_run(inquiry->policy, inquiry->options->now_s, LINT_LOAD, &inquiry->diags);
    diag_sort(&inquiry->diags);
    print_diags(inquiry, DIAG_ERROR); /* of the quarantine file */
    print_diags(inquiry, DIAG_WARNING);
    return true;
}

static const struct config_listener *find_listener(const struct inquiry *inquiry)
{
    const struct config *config = inquiry->config;
    const char *name = inquiry->options->to;
    const struct config_listener *listener = config_find_listener(config, name);
    if (listener != NULL) {
        return listener;
    }
    struct suggest suggest;
    suggest_init(&suggest, name);
    for (size_t i = 0; i < config->listener_count; i++) {
        suggest_consider(&suggest, config->listeners[i].name.text);
    }
    fprintf(stderr, "bulkhead explain: there is no listener \"%s\"%s%s%s\n", name,
            suggest.best == NULL ? "" : "; did you mean \"",
            suggest.best == NULL ? "" : suggest.best, suggest.best == NULL ? "" : "\"?");
    return NULL;
}

/* Who can be asked about on a listener of this kind. */
static bool fits(const struct inquiry *inquiry, const struct config_listener *listener)
{
    const struct options *options = inquiry->options;
    const char *wrong = NULL;
    if (listener->kind == CONFIG_KIND_ORIGINATE && options->from != NULL) {
        wrong = "accepts plaintext: its callers have no ID; ask about the server, with --server";
    } else if (listener->kind != CONFIG_KIND_ORIGINATE && options->from == NULL) {
        wrong = "accepts mtls: ask about the caller, with --from";
    } else if (listener->kind == CONFIG_KIND_TERMINATE && options->server != NULL) {
        wrong = "forwards to plaintext: its server has no ID; leave out --server";
    }
    if (wrong != NULL) {
        fprintf(stderr, "bulkhead explain: listener \"%s\" %s\n", options->to, wrong);
    }
    return wrong == NULL;
}

static bool parse_id(const char *option, const char *text, struct spiffe_id *id)
{
    const char *why = NULL;
    if (text == NULL) {
        return true;
    }
    if (spiffe_id_parse(strview_from(text), id, &why) == 0 && id->path.len > 0) {
        return true;
    }
    fprintf(stderr, "bulkhead explain: --%s \"%s\": %s\n", option, text,
            why != NULL ? why : "an ID of a workload has a path");
    return false;
}

static bool knows_domain(const struct config *config, const struct spiffe_id *id)
{
    for (size_t i = 0; i < config->trust_count; i++) {
        if (strview_equal_text(id->trust_domain, config->trust[i].domain.text)) {
            return true;
        }
    }
    return false;
}

static struct policy_input input_of(const struct inquiry *inquiry,
                                    const struct config_listener *listener,
                                    const struct spiffe_id *id)
{
    return (struct policy_input){
        .id = id,
        .listener = (size_t)(listener - inquiry->config->listeners),
        .now_s = inquiry->options->now_s,
        .quarantine = inquiry->quarantine,
    };
}

static void ask_about_caller(struct inquiry *inquiry, const struct config_listener *listener)
{
    struct explain_report *report = &inquiry->report;
    struct explain_answer *answer = &report->caller;
    answer->asked = true;
    answer->id = inquiry->options->from;
    answer->known_domain = knows_domain(inquiry->config, &inquiry->from);
    answer->input = input_of(inquiry, listener, &inquiry->from);
    answer->input.leaf_sha256 = inquiry->options->sha256 == NULL ? NULL : inquiry->options->leaf;
    policy_decide(inquiry->policy, &answer->input, &answer->decision);
    explain_decision(inquiry->policy, &answer->input, &answer->decision, answer->detail,
                     sizeof(answer->detail));
    findings_collect(&report->findings, inquiry->policy, &answer->input);
}

static void ask_about_server(struct inquiry *inquiry, const struct config_listener *listener)
{
    struct explain_answer *answer = &inquiry->report.server;
    const struct options *options = inquiry->options;
    answer->asked = true;
    answer->id = options->server;
    answer->known_domain = knows_domain(inquiry->config, &inquiry->server);
    answer->input = input_of(inquiry, listener, &inquiry->server);
    answer->input.leaf_sha256 =
        options->sha256 == NULL || options->from != NULL ? NULL : options->leaf;
    policy_decide_upstream(inquiry->policy, &answer->input, &answer->decision);
    explain_upstream(inquiry->policy, &answer->input, &answer->decision, answer->detail,
                     sizeof(answer->detail));
}

/* The exit code. */
static int answer(struct inquiry *inquiry)
{
    const struct options *options = inquiry->options;
    if (!load(inquiry)) {
        return EXIT_WRONG;
    }
    const struct config_listener *listener = find_listener(inquiry);
    if (listener == NULL || !fits(inquiry, listener) ||
        !parse_id("from", options->from, &inquiry->from) ||
        !parse_id("server", options->server, &inquiry->server)) {
        return EXIT_WRONG;
    }
    struct explain_report *report = &inquiry->report;
    report->file = options->file;
    report->config = inquiry->config;
    report->policy = inquiry->policy;
    report->diags = &inquiry->diags;
    if (options->from != NULL) {
        ask_about_caller(inquiry, listener);
    }
    if (options->server != NULL) {
        ask_about_server(inquiry, listener);
    }
    bool printed = true;
    if (options->json) {
        printed = explain_print_json(report);
    } else {
        explain_print_text(report);
    }
    findings_fini(&report->findings);
    if (!printed) {
        return EXIT_FAILED;
    }
    return explain_is_allowed(report) ? EXIT_ALLOWED : EXIT_DENIED;
}

int explain_main(int argc, char **argv)
{
    struct options options;
    int code = EXIT_WRONG;
    if (parse_options(argc, argv, &options, &code)) {
        struct inquiry inquiry = {.options = &options};
        diag_list_init(&inquiry.diags);
        code = answer(&inquiry);
        quarantine_unref(inquiry.quarantine);
        policy_free(inquiry.policy);
        config_free(inquiry.config);
        diag_list_fini(&inquiry.diags);
        code = output_finish("explain", code);
    }
    mem_free(options.sha256_text);
    config_input_fini(&options.input);
    vars_fini(&options.vars);
    return code;
}
