/*
 * One block of lines (or one JSON object) per file. What comes from a certificate is written by
 * somebody else: everything is escaped before it reaches a terminal.
 */
#include "cli/svid.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "cli/output.h"
#include "cli/svid_workload.h"
#include "spiffe/credentials.h"
#include "spiffe/crypto.h"
#include "spiffe/svid_inspect.h"
#include "spiffe/trust_bundle.h"

enum { EXIT_GOOD = 0, EXIT_BROKEN_RULE = 1, EXIT_WRONG = 2 };
enum { FILE_MAX = 1 << 20, BUNDLE_MAX = 64 << 20, JSON_SIZE = 256 * 1024 };

struct options {
    bool json;
    bool workload_api;
    const char *bundle;
    const char *trust_domain;
    char **files;
    int file_count;
};

static void print_help(FILE *out)
{
    fputs(
        "usage: bulkhead svid [--json] [--bundle FILE --trust-domain NAME] FILE...\n"
        "       bulkhead svid [--json] --workload-api [ADDRESS]\n"
        "\n"
        "Says what a certificate is: its SPIFFE ID, validity and key, and every rule of the\n"
        "X509-SVID standard that it breaks (of a malformed one, only that). FILE is PEM (leaf\n"
        "first, then intermediates), one DER certificate, or - for stdin.\n"
        "With --workload-api: the same of all that a SPIFFE Workload API gives this process, "
        "SVIDs\n"
        "with their hints, and bundles; never a key. What to do when it gives nothing.\n"
        "\n"
        "      --json               one JSON object per file and line\n"
        "      --bundle FILE        verify the chain of a leaf that breaks no rule against these\n"
        "                           CA certificates (PEM, or a SPIFFE bundle document)\n"
        "      --trust-domain NAME  the trust domain that the bundle belongs to\n"
        "      --workload-api       ask the API at ADDRESS (unix:///PATH, tcp://IP:PORT), or "
        "where\n"
        "                           SPIFFE_ENDPOINT_SOCKET says\n"
        "  -h, --help               this text\n"
        "\n"
        "Examples:\n"
        "  bulkhead svid /run/bulkhead/svid.pem\n"
        "  bulkhead svid --bundle prod.pem --trust-domain prod.example svid.pem\n"
        "  openssl s_client -connect orders:8443 </dev/null | bulkhead svid -\n"
        "  bulkhead svid --workload-api unix:///run/spire/agent.sock\n"
        "  bulkhead svid --json *.pem | jq 'select(.valid | not) | .file'\n"
        "\n"
        "Exit code: 0 all are valid, 1 one breaks a rule, or the API gives none (or stdout "
        "failed),\n"
        "2 wrong usage, unreadable, or nobody to ask.\n",
        out);
}

static bool check_workload(const struct options *options)
{
    if (options->bundle != NULL || options->file_count > 1) {
        fputs("bulkhead svid: --workload-api takes one address at most, and no --bundle; try: "
              "bulkhead svid --help\n",
              stderr);
        return false;
    }
    return true;
}

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    static const struct option known[] = {
        {"json", no_argument, NULL, 'j'},
        {"bundle", required_argument, NULL, 'b'},
        {"trust-domain", required_argument, NULL, 't'},
        {"workload-api", no_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){0};
    *code = EXIT_WRONG;
    for (;;) {
        int option = getopt_long(argc, argv, "h", known, NULL);
        if (option == -1) {
            break;
        }
        switch (option) {
        case 'j':
            options->json = true;
            break;
        case 'w':
            options->workload_api = true;
            break;
        case 'b':
            options->bundle = optarg;
            break;
        case 't':
            options->trust_domain = optarg;
            break;
        case 'h':
            print_help(stdout);
            *code = output_finish("svid", EXIT_GOOD);
            return false;
        default:
            fputs("try: bulkhead svid --help\n", stderr);
            return false;
        }
    }
    options->files = argv + optind;
    options->file_count = argc - optind;
    if ((options->bundle == NULL) != (options->trust_domain == NULL)) {
        fputs("bulkhead svid: --bundle and --trust-domain belong together; try: bulkhead svid "
              "--help\n",
              stderr);
        return false;
    }
    if (options->workload_api) {
        return check_workload(options);
    }
    if (options->file_count == 0) {
        fputs("bulkhead svid: which file? try: bulkhead svid /run/bulkhead/svid.pem\n", stderr);
        return false;
    }
    return true;
}

/* Printable characters as they are; controls, deceptive ones and broken UTF-8 as \xNN. */
static void print_escaped(const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        uint32_t code = 0;
        size_t len = utf8_decode(text, left, &code);
        if (len > 0 && !utf8_is_deceptive(code)) {
            fwrite(text, 1, len, stdout);
        } else {
            len = len > 0 ? len : 1;
            for (size_t i = 0; i < len; i++) {
                printf("\\x%02x", (unsigned)(unsigned char)text[i]);
            }
        }
        text += len;
        left -= len;
    }
}

static void print_row(const char *name, const char *text)
{
    printf("  %-10s ", name);
    print_escaped(text[0] != '\0' ? text : "(none)");
    putchar('\n');
}

/* "3 days": the largest unit that says enough. */
static void format_span(int64_t seconds, char *out, size_t size)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    size_t unit = 0;
    while (unit < 3 && seconds < 2 * units[unit].seconds) {
        unit++;
    }
    int64_t count = seconds / units[unit].seconds;
    (void)snprintf(out, size, "%" PRId64 " %s%s", count, units[unit].name, count == 1 ? "" : "s");
}

static void format_expiry(const struct svid_inspection *inspection, int64_t now_s, char *out,
                          size_t size)
{
    char span[48];
    if (now_s >= inspection->facts.not_after) {
        format_span(now_s - inspection->facts.not_after, span, sizeof span);
        (void)snprintf(out, size, "expired %s ago", span);
    } else if (now_s < inspection->facts.not_before) {
        format_span(inspection->facts.not_before - now_s, span, sizeof span);
        (void)snprintf(out, size, "valid in %s", span);
    } else {
        format_span(inspection->facts.not_after - now_s, span, sizeof span);
        (void)snprintf(out, size, "expires in %s", span);
    }
}

static void print_validity(const struct svid_inspection *inspection, int64_t now_s)
{
    char from[CLOCK_TEXT_SIZE];
    char until[CLOCK_TEXT_SIZE];
    char expiry[80];
    if (!inspection->facts.has_validity) {
        print_row("validity", "can't be read");
        return;
    }
    format_expiry(inspection, now_s, expiry, sizeof expiry);
    printf("  %-10s %s to %s, %s\n", "validity", clock_format_s(inspection->facts.not_before, from),
           clock_format_s(inspection->facts.not_after, until), expiry);
}

/* What it is when no rule is broken. */
static const char *verdict(const struct svid_inspection *inspection)
{
    switch (inspection->kind) {
    case SVID_KIND_LEAF:
        return "valid X509-SVID (leaf)";
    case SVID_KIND_SIGNING:
        return "CA certificate (signing), not a leaf";
    }
    return "";
}

static void print_text(const char *file, const struct svid_inspection *inspection, bool verified,
                       int64_t now_s)
{
    print_escaped(file);
    puts(":");
    print_row("SPIFFE ID", inspection->claimed);
    print_row("subject", inspection->facts.subject);
    print_row("issuer", inspection->facts.issuer);
    print_row("serial", inspection->facts.serial);
    print_row("sha256", inspection->facts.sha256);
    print_validity(inspection, now_s);
    print_row("key", inspection->facts.key);
    printf("  %-10s %zu certificate%s\n", "chain", inspection->chain_length,
           inspection->chain_length == 1 ? "" : "s");
    for (size_t i = 0; i < inspection->fault_count; i++) {
        const struct svid_failure *fault = &inspection->faults[i];
        printf("  %-10s %s: %s", "broken", reason_label(fault->reason),
               reason_sentence(fault->reason));
        if (fault->detail[0] != '\0') {
            fputs(" (", stdout);
            print_escaped(fault->detail);
            putchar(')');
        }
        putchar('\n');
    }
    if (inspection->fault_count == 0) {
        printf("  %-10s %s%s\n", "verdict", verdict(inspection),
               verified && inspection->kind == SVID_KIND_LEAF ? ", chain verified" : "");
    }
}

static void write_faults(struct json_writer *w, const struct svid_inspection *inspection)
{
    json_array_begin(w);
    for (size_t i = 0; i < inspection->fault_count; i++) {
        const struct svid_failure *fault = &inspection->faults[i];
        json_object_begin(w);
        json_field_string(w, "reason", reason_label(fault->reason));
        json_field_string(w, "sentence", reason_sentence(fault->reason));
        json_field_string(w, "detail", fault->detail);
        json_object_end(w);
    }
    json_array_end(w);
}

/* False when it is too large, which is said. */
static bool print_json(const char *file, const struct svid_inspection *inspection, char *buf)
{
    struct json_writer w;
    char text[CLOCK_TEXT_SIZE];
    json_writer_init(&w, buf, JSON_SIZE);
    json_object_begin(&w);
    json_field_string(&w, "file", file);
    json_field_bool(&w, "valid", inspection->fault_count == 0);
    json_field_string(&w, "kind", inspection->kind == SVID_KIND_LEAF ? "leaf" : "signing");
    json_field_string(&w, "spiffe_id", inspection->claimed[0] != '\0' ? inspection->claimed : NULL);
    json_field_string(&w, "subject", inspection->facts.subject);
    json_field_string(&w, "issuer", inspection->facts.issuer);
    json_field_string(&w, "serial", inspection->facts.serial);
    json_field_string(&w, "sha256", inspection->facts.sha256);
    json_field_string(
        &w, "not_before",
        inspection->facts.has_validity ? clock_format_s(inspection->facts.not_before, text) : NULL);
    json_field_string(
        &w, "not_after",
        inspection->facts.has_validity ? clock_format_s(inspection->facts.not_after, text) : NULL);
    json_field_string(&w, "key", inspection->facts.key);
    json_field_u64(&w, "chain_length", inspection->chain_length);
    json_key(&w, "broken");
    write_faults(&w, inspection);
    json_object_end(&w);
    if (json_writer_finish(&w) == 0) {
        fprintf(stderr, "bulkhead svid: %s: the result is too large for JSON\n", file);
        return false;
    }
    puts(buf);
    return true;
}

static int inspect_file(const struct options *options, const char *file,
                        const struct crypto *crypto, const struct credentials *credentials,
                        char *buf)
{
    bool is_stdin = strcmp(file, "-") == 0;
    char *data = NULL;
    size_t len = 0;
    struct errbuf err;
    if (file_read(is_stdin ? "/dev/stdin" : file, FILE_MAX, &data, &len, &err) < 0) {
        fprintf(stderr, "bulkhead svid: %s\n", err.text);
        return EXIT_WRONG;
    }
    int64_t now_s = clock_wall_s();
    struct svid_inspection *inspection = mem_alloc(sizeof *inspection);
    int code = EXIT_WRONG;
    if (svid_inspect(crypto, data, len, credentials, now_s, inspection, &err) < 0) {
        fprintf(stderr, "bulkhead svid: %s: %s\n", file, err.text);
    } else {
        code = inspection->fault_count == 0 ? EXIT_GOOD : EXIT_BROKEN_RULE;
        if (!options->json) {
            print_text(file, inspection, credentials != NULL, now_s);
        } else if (!print_json(file, inspection, buf)) {
            code = EXIT_WRONG;
        }
    }
    mem_free(inspection);
    mem_free(data);
    return code;
}

static int load_credentials(const struct options *options, const struct crypto *crypto,
                            struct credentials **out)
{
    char *data = NULL;
    size_t len = 0;
    struct errbuf err;
    *out = NULL;
    if (options->bundle == NULL) {
        return 0;
    }
    if (file_read(options->bundle, BUNDLE_MAX, &data, &len, &err) < 0) {
        fprintf(stderr, "bulkhead svid: %s\n", err.text);
        return -1;
    }
    struct trust_bundle *bundle =
        trust_bundle_from_bytes(crypto, options->trust_domain, data, len, &err);
    mem_free(data);
    if (bundle == NULL) {
        fprintf(stderr, "bulkhead svid: %s: %s\n", options->bundle, err.text);
        return -1;
    }
    struct credentials_domain domain = {.bundle = bundle};
    struct credentials_parts parts = {.domains = &domain, .domain_count = 1};
    *out = credentials_build(&parts, &err);
    trust_bundle_unref(bundle);
    if (*out == NULL) {
        fprintf(stderr, "bulkhead svid: %s: %s\n", options->bundle, err.text);
        return -1;
    }
    return 0;
}

static int inspect_files(const struct options *options, const struct crypto *crypto)
{
    struct credentials *credentials = NULL;
    if (load_credentials(options, crypto, &credentials) < 0) {
        return EXIT_WRONG;
    }
    char *buf = mem_alloc(JSON_SIZE);
    int worst = EXIT_GOOD;
    for (int i = 0; i < options->file_count; i++) {
        int code = inspect_file(options, options->files[i], crypto, credentials, buf);
        worst = code > worst ? code : worst;
    }
    mem_free(buf);
    credentials_unref(credentials);
    return output_finish("svid", worst);
}

int svid_main(int argc, char **argv)
{
    struct options options;
    struct errbuf err;
    int code = EXIT_WRONG;
    if (!parse_options(argc, argv, &options, &code)) {
        return code;
    }
    if (options.workload_api) {
        return svid_workload(options.file_count == 1 ? options.files[0] : NULL, options.json);
    }
    struct crypto *crypto = crypto_new(CRYPTO_FILTERED, &err);
    if (crypto == NULL) {
        fprintf(stderr, "bulkhead svid: %s\n", err.text);
        return EXIT_WRONG;
    }
    code = inspect_files(&options, crypto);
    crypto_free(crypto);
    return code;
}
