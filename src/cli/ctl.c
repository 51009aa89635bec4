/*
 * Talks to the admin socket of a running bulkhead: one request, one answer, printed for people or
 * as it came (--json).
 */
#include "cli/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/bytebuf.h"
#include "base/memory.h"
#include "cli/ctl_rules.h"
#include "cli/ctl_verbs.h"
#include "cli/output.h"
#include "config/address.h"
#include "config/config.h"
#include "net/http_client.h"
#include "net/http_guard.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_WRONG = 2 };
enum { STATUS_OK = 200, STATUS_REDIRECTS = 300, TIMEOUT_MS = 60 * 1000 };
enum { OPTION_BASE = 256 }; /* of a verb's options, beyond any character */

struct options {
    const char *socket;
    const char *admin;
    const char *config;
    const struct ctl_verb *verb;
    const char *operand;
    const char *values[CTL_OPTION_COUNT]; /* NULL: not given */
    bool json;
    bool help;
};

/* --- help ------------------------------------------------------------------------------------ */

static void print_help(FILE *out)
{
    size_t count = 0;
    const struct ctl_verb *verbs = ctl_verbs(&count);
    fputs("usage: bulkhead ctl [--socket PATH | -c FILE] COMMAND [OPTIONS]\n"
          "\n"
          "Asks a running bulkhead through its admin socket (admin.listen): a Unix socket, or TCP "
          "on\n"
          "the loopback.\n"
          "\n"
          "Commands (`bulkhead ctl COMMAND --help` says more):\n",
          out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
    }
    fputs(
        "\n"
        "  -s, --socket PATH   the admin socket\n"
        "  -a, --admin ADDRESS the same as unix:///PATH, or tcp://127.0.0.1:PORT\n"
        "  -c, --config FILE   the configuration that names it\n"
        "      --json          the answer as JSON\n"
        "  -h, --help          this text, or that of COMMAND\n"
        "\n"
        "Examples:\n"
        "  bulkhead ctl -c /etc/bulkhead/bulkhead.yaml reload --dry-run\n"
        "  bulkhead ctl --socket /run/bulkhead/admin.sock sessions --json | jq '.sessions[].rule'\n"
        "\n"
        "Exit code: 0 done, 1 failed, refused, or a file was broken and its last good state kept,\n"
        "2 wrong usage or configuration.\n",
        out);
}

static void print_verb_help(const struct ctl_verb *verb, FILE *out)
{
    fprintf(out, "usage: bulkhead ctl [--socket PATH | -c FILE] %s\n\n%s", verb->usage, verb->help);
}

/* --- options --------------------------------------------------------------------------------- */

static bool wrong_usage(const char *message)
{
    fprintf(stderr, "bulkhead ctl: %s; try: bulkhead ctl --help\n", message);
    return false;
}

static bool unknown_verb(const char *name)
{
    size_t count = 0;
    const struct ctl_verb *verbs = ctl_verbs(&count);
    fprintf(stderr, "bulkhead ctl: unknown command \"%s\"; there are ", name);
    for (size_t i = 0; i < count; i++) {
        fprintf(stderr, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " and ", verbs[i].name);
    }
    fputs("; try: bulkhead ctl --help\n", stderr);
    return false;
}

static bool take_operand(int argc, char **argv, struct options *options)
{
    const struct ctl_verb *verb = options->verb;
    if (verb->operand == CTL_OPERAND_FILE && optind == argc) {
        fprintf(stderr, "bulkhead ctl: %s needs a file; try: bulkhead ctl --help\n", verb->name);
        return false;
    }
    if (verb->operand != CTL_OPERAND_NONE && optind < argc) {
        options->operand = argv[optind++];
    }
    return optind == argc || wrong_usage("too many arguments");
}

/* What was given beside the verb must be its own. */
static bool check_options(const struct options *options)
{
    const struct ctl_verb *verb = options->verb;
    for (int i = 0; i < CTL_OPTION_COUNT; i++) {
        if (options->values[i] != NULL && !ctl_verb_takes(verb, (enum ctl_option)i)) {
            fprintf(stderr, "bulkhead ctl: %s has no option --%s; try: bulkhead ctl --help\n",
                    verb->name, ctl_options[i].name);
            return false;
        }
    }
    if (options->json && verb->is_text) {
        fprintf(stderr, "bulkhead ctl: %s are text, not JSON; try: bulkhead ctl --help\n",
                verb->name);
        return false;
    }
    if ((options->socket != NULL) + (options->admin != NULL) + (options->config != NULL) != 1) {
        return wrong_usage("one of --socket, --admin and -c is needed");
    }
    return true;
}

static bool take_operands(int argc, char **argv, struct options *options)
{
    if (optind == argc) {
        return wrong_usage("a command is missing");
    }
    options->verb = ctl_verb_find(argv[optind++]);
    if (options->verb == NULL) {
        return unknown_verb(argv[optind - 1]);
    }
    return take_operand(argc, argv, options) && check_options(options);
}

/* Prints it; the exit code. */
static int help(int argc, char **argv)
{
    const struct ctl_verb *verb = optind < argc ? ctl_verb_find(argv[optind]) : NULL;
    if (verb != NULL) {
        print_verb_help(verb, stdout);
    } else {
        print_help(stdout);
    }
    return output_finish("ctl", EXIT_GOOD);
}

/* False: said. An option of a verb is one that has a row in ctl_options. */
static bool take_option(int option, struct options *options)
{
    switch (option) {
    case 's':
        options->socket = optarg;
        return true;
    case 'a':
        options->admin = optarg;
        return true;
    case 'c':
        options->config = optarg;
        return true;
    case 'j':
        options->json = true;
        return true;
    case 'h':
        options->help = true;
        return true;
    default:
        break;
    }
    if (option < OPTION_BASE) {
        fputs("try: bulkhead ctl --help\n", stderr); /* getopt has said what is wrong */
        return false;
    }
    const struct ctl_option_info *info = &ctl_options[option - OPTION_BASE];
    options->values[option - OPTION_BASE] = info->fixed != NULL ? info->fixed : optarg;
    return true;
}

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    enum { COMMON = 5 };
    struct option known[COMMON + CTL_OPTION_COUNT + 1] = {
        {"socket", required_argument, NULL, 's'}, {"admin", required_argument, NULL, 'a'},
        {"config", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
    };
    for (int i = 0; i < CTL_OPTION_COUNT; i++) {
        bool has_argument = ctl_options[i].fixed == NULL;
        known[COMMON + i] =
            (struct option){ctl_options[i].name, has_argument ? required_argument : no_argument,
                            NULL, OPTION_BASE + i};
    }
    *options = (struct options){0};
    *code = EXIT_WRONG;
    int option;
    while ((option = getopt_long(argc, argv, "s:a:c:h", known, NULL)) != -1) {
        if (!take_option(option, options)) {
            return false;
        }
    }
    if (options->help) {
        *code = help(argc, argv);
        return false;
    }
    return take_operands(argc, argv, options);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* An address that was given as such. False: said. */
static bool take_address(const char *text, struct netaddr *server)
{
    struct config_address address = {.scheme = CONFIG_SCHEME_NONE};
    struct errbuf err;
    bool good = address_parse(text, ADDRESS_FORWARD, &address, &err);
    if (good) {
        good = !config_scheme_is_mtls(address.scheme) && address_to_netaddr(&address, server) &&
               netaddr_is_loopback(server);
        errbuf_set(&err, "must be unix:///PATH, or tcp:// with an address of the loopback");
    }
    if (!good) {
        fprintf(stderr, "bulkhead ctl: --admin: \"%s\": %s\n", text, err.text);
    }
    address_release(&address);
    return good;
}

static bool take_path(const char *path, struct netaddr *server)
{
    if (!netaddr_from_path(server, path)) {
        fprintf(stderr, "bulkhead ctl: the socket's path \"%s\" is empty or too long\n", path);
        return false;
    }
    return true;
}

static bool take_configured(const char *file, const struct config *config, struct netaddr *server)
{
    const struct config_address *listen = &config->admin.listen;
    if (listen->scheme == CONFIG_SCHEME_NONE || !address_to_netaddr(listen, server)) {
        fprintf(stderr,
                "bulkhead ctl: %s has no admin.listen: add `admin: {listen: "
                "unix:///run/bulkhead/admin.sock}` and restart\n",
                file);
        return false;
    }
    if (!netaddr_is_unix(server) && netaddr_port(server) == 0) {
        fprintf(stderr,
                "bulkhead ctl: %s lets the kernel choose admin.listen's port: write one, or say "
                "--admin tcp://127.0.0.1:PORT\n",
                file);
        return false;
    }
    return true;
}

/* Whom to ask. False: said. */
static bool find_server(const struct options *options, struct netaddr *server)
{
    if (options->socket != NULL) {
        return take_path(options->socket, server);
    }
    if (options->admin != NULL) {
        return take_address(options->admin, server);
    }
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_load(options->config, NULL, &diags);
    bool found = false;
    if (config == NULL) {
        char line[1024];
        diag_format(&diags, &diags.items[0], line, sizeof(line));
        fprintf(stderr, "bulkhead ctl: %s\n", line);
    } else {
        found = take_configured(options->config, config, server);
    }
    config_free(config);
    diag_list_fini(&diags);
    return found;
}

static void append(struct bytebuf *buf, const char *text)
{
    if (!bytebuf_append(buf, text, strlen(text))) {
        fputs("bulkhead ctl: memory is out\n", stderr);
        exit(EXIT_FAILED);
    }
}

static void add_parameter(struct bytebuf *target, const char *name, const char *value, bool *any)
{
    char *escaped = mem_alloc(HTTP_ESCAPED_PER_BYTE * strlen(value) + 1);
    append(target, *any ? "&" : "?");
    append(target, name);
    append(target, "=");
    append(target, http_escape(value, escaped));
    mem_free(escaped);
    *any = true;
}

/* Path and query, with a NUL. False: said. The caller clears it. */
static bool make_target(const struct options *options, struct bytebuf *target)
{
    const struct ctl_verb *verb = options->verb;
    bool any = false;
    append(target, verb->path);
    for (int i = 0; i < CTL_OPTION_COUNT; i++) {
        if (options->values[i] != NULL) {
            add_parameter(target, ctl_options[i].parameter, options->values[i], &any);
        }
    }
    if (verb->operand == CTL_OPERAND_FILE) {
        char *absolute = realpath(options->operand, NULL);
        if (absolute == NULL) {
            fprintf(stderr, "bulkhead ctl: %s: %s\n", options->operand, strerror(errno));
            return false;
        }
        add_parameter(target, verb->parameter, absolute, &any);
        free(absolute); /* realpath's own */
    }
    if (verb->operand == CTL_OPERAND_VALUE && options->operand != NULL) {
        add_parameter(target, verb->parameter, options->operand, &any);
    }
    if (!bytebuf_append(target, "", 1)) {
        fputs("bulkhead ctl: memory is out\n", stderr);
        return false;
    }
    return true;
}

/* --- answers --------------------------------------------------------------------------------- */

static int print_text(const struct http_reply *reply)
{
    bool whole = fwrite(reply->body.ptr, 1, reply->body.len, stdout) == reply->body.len;
    return whole && fflush(stdout) == 0 ? EXIT_GOOD : EXIT_FAILED;
}

static int print_answer(const struct options *options, const struct http_reply *reply)
{
    const struct ctl_verb *verb = options->verb;
    if (verb->is_text && reply->status == STATUS_OK) {
        return print_text(reply);
    }
    json_error_t error;
    json_t *answer = json_loadb(reply->body.ptr, reply->body.len, 0, &error);
    if (answer == NULL) {
        fprintf(stderr, "bulkhead ctl: the answer (status %d) is no JSON: %s\n", reply->status,
                error.text);
        return EXIT_FAILED;
    }
    int code = EXIT_FAILED;
    if (options->json) {
        bool ends = reply->body.len > 0 && reply->body.ptr[reply->body.len - 1] == '\n';
        printf("%.*s%s", (int)reply->body.len, reply->body.ptr, ends ? "" : "\n");
    }
    if (reply->status >= STATUS_REDIRECTS) {
        const char *why = json_string_value(json_object_get(answer, "error"));
        fprintf(stderr, "bulkhead ctl: %s\n", why == NULL ? "refused" : why);
    } else {
        if (!options->json) {
            verb->print(answer, stdout);
        }
        code = verb->code == NULL ? EXIT_GOOD : verb->code(answer);
    }
    json_decref(answer);
    return output_finish("ctl", code);
}

/* That nobody listens there has one cause mostly. */
static bool nobody_listens(const struct netaddr *server, int error)
{
    return error == ECONNREFUSED || (netaddr_is_unix(server) && error == ENOENT);
}

static int ask(const struct options *options, const struct netaddr *server, const char *target)
{
    bool changes = options->verb->operand == CTL_OPERAND_VALUE && options->operand != NULL;
    const struct http_client_request request = {
        .address = server,
        .method = changes ? HTTP_METHOD_POST : options->verb->method,
        .target = target,
        .headers = HTTP_GUARD_HEADER ": " HTTP_GUARD_VALUE "\r\n",
        .timeout_ms = TIMEOUT_MS,
    };
    struct http_reply reply;
    struct errbuf err;
    char *memory = NULL;
    errno = 0;
    if (http_client_send(&request, &reply, &memory, &err) != 0) {
        fprintf(stderr, "bulkhead ctl: %s%s\n", err.text,
                nobody_listens(server, errno)
                    ? "; does a bulkhead run that has had this admin.listen from its start?"
                    : "");
        return EXIT_FAILED;
    }
    int code = print_answer(options, &reply);
    mem_free(memory);
    return code;
}

int ctl_main(int argc, char **argv)
{
    struct options options;
    int code = EXIT_WRONG;
    if (!parse_options(argc, argv, &options, &code)) {
        return code;
    }
    struct netaddr server;
    struct bytebuf target = {0};
    if (!find_server(&options, &server)) {
        return EXIT_WRONG;
    }
    if (options.verb->is_paged) {
        code = ctl_rules(&server, options.json);
    } else if (make_target(&options, &target)) {
        code = ask(&options, &server, (const char *)bytebuf_data(&target));
    }
    bytebuf_clear(&target);
    return code;
}
