/* `bulkhead svid`: what each file's first certificate is, and which SPIFFE rule it breaks. */
#include "cli/svid.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "spiffe/crypto.h"
#include "spiffe/svid_facts.h"

enum { EXIT_VALID = 0, EXIT_BREAKS_A_RULE = 1, EXIT_WRONG = 2 };
enum { FILE_MAX = 4 * 1024 * 1024, JSON_SIZE = 32 * 1024, DAY_S = 24 * 60 * 60 };

static void print_help(FILE *out)
{
    fputs(
        "usage: bulkhead svid [--json] FILE...\n"
        "\n"
        "Says what a certificate is: its SPIFFE ID, validity, key, and which rule of the "
        "X509-SVID\n"
        "standard it breaks. The first certificate of each PEM file is judged as a leaf; whether\n"
        "a trust bundle vouches for it is not asked. \"-\" is the standard input.\n"
        "\n"
        "      --json  one JSON object per file and line\n"
        "  -h, --help  this text\n"
        "\n"
        "Examples:\n"
        "  bulkhead svid /run/bulkhead/svid.pem\n"
        "  openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | bulkhead svid -\n"
        "\n"
        "Exit code: 0 all are valid leaves, 1 one breaks a rule or has expired, 2 wrong usage or\n"
        "no certificate.\n",
        out);
}

/* Certificate-supplied bytes never reach a terminal raw. */
static void print_field(const char *name, const char *text)
{
    printf("  %-12s ", name);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c >= ' ' && *c <= '~') {
            putchar(*c);
        } else {
            printf("\\x%02x", (unsigned)(unsigned char)*c);
        }
    }
    putchar('\n');
}

enum validity { VALIDITY_NOW = 0, VALIDITY_EXPIRED, VALIDITY_NOT_YET };

static enum validity validity_of(const struct svid_facts *facts)
{
    int64_t now = clock_wall_s();
    if (now > facts->not_after) {
        return VALIDITY_EXPIRED;
    }
    return now < facts->not_before ? VALIDITY_NOT_YET : VALIDITY_NOW;
}

static void print_validity(const struct svid_facts *facts)
{
    char from[CLOCK_TEXT_SIZE];
    char to[CLOCK_TEXT_SIZE];
    printf("  %-12s %s to %s", "valid", clock_format_s(facts->not_before, from),
           clock_format_s(facts->not_after, to));
    switch (validity_of(facts)) {
    case VALIDITY_EXPIRED:
        puts(" (expired)");
        break;
    case VALIDITY_NOT_YET:
        puts(" (not yet valid)");
        break;
    case VALIDITY_NOW:
        printf(" (%lld days left)\n", (long long)((facts->not_after - clock_wall_s()) / DAY_S));
        break;
    }
}

static void print_facts(const char *path, const struct svid_facts *facts)
{
    const struct svid_failure *failure = &facts->failure;
    printf("%s:\n", path);
    if (facts->id[0] != '\0') {
        print_field("SPIFFE ID", facts->id);
    } else if (failure->claimed[0] != '\0') {
        print_field("claims", failure->claimed);
    }
    print_field("subject", facts->subject);
    print_field("issuer", facts->issuer);
    print_field("serial", facts->serial);
    print_field("key", facts->key);
    print_validity(facts);
    printf("  %-12s %zu certificate%s\n", "chain", facts->chain_length,
           facts->chain_length == 1 ? "" : "s");
    if (failure->reason == REASON_NONE) {
        print_field("verdict", "a valid X509-SVID leaf");
        return;
    }
    print_field("verdict", facts->is_signing
                               ? "a signing (CA) certificate: for a trust bundle, no SVID leaf"
                               : "no valid X509-SVID");
    print_field("rule", reason_label(failure->reason));
    print_field("", reason_sentence(failure->reason));
    if (failure->detail[0] != '\0') {
        print_field("found", failure->detail);
    }
}

static void print_json(const char *path, const struct svid_facts *facts)
{
    static const char *const validity_names[] = {"now", "expired", "not_yet"};
    char *buf = mem_alloc(JSON_SIZE);
    char time[CLOCK_TEXT_SIZE];
    struct json_writer w;
    json_writer_init(&w, buf, JSON_SIZE);
    json_object_begin(&w);
    json_field_string(&w, "file", path);
    json_field_bool(&w, "valid_svid", facts->failure.reason == REASON_NONE);
    json_field_string(&w, "spiffe_id", facts->id[0] == '\0' ? NULL : facts->id);
    json_field_string(&w, "claimed_id", facts->failure.claimed);
    json_field_string(&w, "subject", facts->subject);
    json_field_string(&w, "issuer", facts->issuer);
    json_field_string(&w, "serial", facts->serial);
    json_field_string(&w, "key", facts->key);
    json_field_string(&w, "not_before", clock_format_s(facts->not_before, time));
    json_field_string(&w, "not_after", clock_format_s(facts->not_after, time));
    json_field_string(&w, "validity", validity_names[validity_of(facts)]);
    json_field_u64(&w, "chain_length", facts->chain_length);
    json_field_bool(&w, "signing", facts->is_signing);
    if (facts->failure.reason != REASON_NONE) {
        json_field_string(&w, "reason", reason_label(facts->failure.reason));
        json_field_string(&w, "why", reason_sentence(facts->failure.reason));
        json_field_string(&w, "detail", facts->failure.detail);
    }
    json_object_end(&w);
    if (json_writer_finish(&w) != 0) {
        puts(buf);
    }
    mem_free(buf);
}

static int judge_file(const struct crypto *crypto, const char *path, bool json)
{
    char *pem = NULL;
    size_t len = 0;
    struct errbuf err;
    struct svid_facts facts;
    const char *from = strcmp(path, "-") == 0 ? "/dev/stdin" : path;
    if (file_read(from, FILE_MAX, &pem, &len, &err) != 0) {
        fprintf(stderr, "bulkhead svid: %s\n", err.text);
        return EXIT_WRONG;
    }
    int result = svid_facts_from_pem(crypto, pem, len, &facts, &err);
    explicit_bzero(pem, len); /* a key may stand beside the certificate */
    mem_free(pem);
    if (result != 0) {
        fprintf(stderr, "bulkhead svid: %s: %s\n", path, err.text);
        return EXIT_WRONG;
    }
    if (json) {
        print_json(path, &facts);
    } else {
        print_facts(path, &facts);
    }
    bool good = facts.failure.reason == REASON_NONE && validity_of(&facts) == VALIDITY_NOW;
    return good ? EXIT_VALID : EXIT_BREAKS_A_RULE;
}

static int judge_all(int count, char **paths, bool json)
{
    struct errbuf err;
    struct crypto *crypto = crypto_new(&err);
    if (crypto == NULL) {
        fprintf(stderr, "bulkhead svid: %s\n", err.text);
        return EXIT_BREAKS_A_RULE;
    }
    int worst = EXIT_VALID;
    for (int i = 0; i < count; i++) {
        int code = judge_file(crypto, paths[i], json);
        worst = code > worst ? code : worst;
    }
    crypto_free(crypto);
    return worst;
}

int svid_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool json = false;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            json = true;
            break;
        case 'h':
            print_help(stdout);
            return EXIT_VALID;
        default:
            fputs("Try: bulkhead svid --help\n", stderr);
            return EXIT_WRONG;
        }
    }
    if (optind == argc) {
        fputs("bulkhead svid: a certificate file is needed: bulkhead svid FILE...\n", stderr);
        return EXIT_WRONG;
    }
    return judge_all(argc - optind, argv + optind, json);
}
