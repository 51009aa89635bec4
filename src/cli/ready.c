/*
 * One GET of /readyz, at the place that the configuration names or at a URL.
 */
#include "cli/ready.h"

#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/config_input.h"
#include "cli/output.h"
#include "config/address.h"
#include "config/config.h"
#include "config/http_url.h"
#include "config/scalar.h"
#include "net/http_client.h"

enum { EXIT_READY = 0, EXIT_NOT_READY = 1, EXIT_WRONG = 2 };
enum { STATUS_OK = 200, TIMEOUT_MS = 5000, SHOWN_MAX = 4096 };

struct options {
    const char *config;
    const char *url;
    uint64_t timeout_ms;
};

static void print_help(FILE *out)
{
    fputs("usage: bulkhead ready [-c FILE | --url URL] [--timeout DURATION]\n"
          "\n"
          "Asks a running bulkhead whether it is ready, as a probe would, for where there is no\n"
          "other client: an exec probe in an image without a shell, HEALTHCHECK.\n"
          "\n"
          "  -c, --config FILE  the configuration that it runs with: asks GET /readyz at\n"
          "                     probes.listen (of all addresses, the loopback), or else at\n"
          "                     admin.listen\n"
          "      --url URL      http://IP:PORT[/PATH] or http://unix:/SOCKET[:/PATH]; the path is\n"
          "                     /readyz unless it says another\n"
          "      --timeout D    for the whole answer; 5s unless it says another\n"
          "  -h, --help         this text\n"
          "\n" CONFIG_INPUT_HELP "\n"
          "What it is told goes to stdout when it is ready, to stderr when not.\n"
          "\n"
          "Examples:\n"
          "  bulkhead ready -c /etc/bulkhead/bulkhead.yaml\n"
          "  bulkhead ready --url http://127.0.0.1:8081\n"
          "  bulkhead ready --url http://127.0.0.1:8081/livez --timeout 1s\n"
          "\n"
          "Exit code: 0 ready, 1 not ready or no answer, 2 wrong usage or configuration.\n",
          out);
}

static bool wrong_usage(const char *message)
{
    fprintf(stderr, "bulkhead ready: %s; try: bulkhead ready --help\n", message);
    return false;
}

static bool take_timeout(struct options *options, const char *text)
{
    const char *why = NULL;
    if (scalar_parse_duration(text, &options->timeout_ms, &why) && options->timeout_ms > 0) {
        return true;
    }
    fprintf(stderr, "bulkhead ready: --timeout \"%s\" %s; try: bulkhead ready --help\n", text,
            why != NULL ? why : "must be longer than nothing");
    return false;
}

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"url", required_argument, NULL, 'u'},
        {"timeout", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.timeout_ms = TIMEOUT_MS};
    *code = EXIT_WRONG;
    int option;
    while ((option = getopt_long(argc, argv, "c:h", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 'u':
            options->url = optarg;
            break;
        case 't':
            if (!take_timeout(options, optarg)) {
                return false;
            }
            break;
        case 'h':
            print_help(stdout);
            *code = output_finish("ready", EXIT_READY);
            return false;
        default:
            fputs("try: bulkhead ready --help\n", stderr);
            return false;
        }
    }
    if (optind != argc) {
        return wrong_usage("too many arguments");
    }
    return options->config == NULL || options->url == NULL ||
           wrong_usage("one of -c and --url is needed");
}

/* --- whom to ask ----------------------------------------------------------------------------- */

/* What listens on all addresses answers on the loopback too. */
static void to_loopback(struct netaddr *addr)
{
    if (netaddr_is_any(addr)) {
        bool is_ipv6 =
            addr->u.sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&addr->u.in6.sin6_addr);
        (void)netaddr_from_ip(addr, is_ipv6 ? "::1" : "127.0.0.1", netaddr_port(addr));
    }
}

static bool take_address(const struct config *config, const char *path, struct netaddr *out)
{
    bool probes = config->probes.listen.scheme != CONFIG_SCHEME_NONE;
    const struct config_address *listen = probes ? &config->probes.listen : &config->admin.listen;
    if (listen->scheme == CONFIG_SCHEME_NONE || !address_to_netaddr(listen, out)) {
        fprintf(stderr,
                "bulkhead ready: %s has neither probes.listen nor admin.listen: add `probes: "
                "{listen: tcp://0.0.0.0:8081}` and restart\n",
                path);
        return false;
    }
    if (!netaddr_is_unix(out) && netaddr_port(out) == 0) {
        fprintf(stderr,
                "bulkhead ready: %s lets the kernel choose the port: write one, or say --url\n",
                path);
        return false;
    }
    to_loopback(out);
    return true;
}

/* A configuration with errors elsewhere may still be that of a process that runs. */
static bool find_in(const struct config_input *input, struct netaddr *out)
{
    struct config_options options = {.variables = NULL};
    struct diag_list diags;
    diag_list_init(&diags);
    config_input_set(input, &options);
    struct config *config = config_load(input->name, &options, &diags);
    bool found = false;
    if (config == NULL) {
        char line[1024];
        diag_format(&diags, &diags.items[0], line, sizeof(line));
        fprintf(stderr, "bulkhead ready: %s\n", line);
    } else {
        found = take_address(config, input->name, out);
    }
    config_free(config);
    diag_list_fini(&diags);
    return found;
}

static bool find_by_config(const char *file, struct netaddr *out)
{
    struct config_input input;
    enum config_input_result result = config_input_take(&input, "ready", file);
    bool found = result == CONFIG_INPUT_TAKEN && find_in(&input, out);
    if (result == CONFIG_INPUT_NONE) {
        (void)wrong_usage("one of -c and --url is needed");
    }
    config_input_fini(&input);
    return found;
}

static bool find_by_url(const char *text, struct http_url *url)
{
    struct errbuf err;
    if (http_url_parse(text, url, &err)) {
        return true;
    }
    fprintf(stderr, "bulkhead ready: --url \"%s\": %s\n", text, err.text);
    return false;
}

/* --- what it says ---------------------------------------------------------------------------- */

/* A URL may lead anywhere: no byte of it may steer the terminal. */
static void print_body(FILE *out, struct strview body)
{
    size_t len = body.len < SHOWN_MAX ? body.len : SHOWN_MAX;
    for (size_t i = 0; i < len; i++) {
        char c = body.ptr[i];
        fputc((c >= ' ' && c <= '~') || c == '\n' ? c : '?', out);
    }
    if (len > 0 && body.ptr[len - 1] != '\n') {
        fputc('\n', out);
    }
}

static int ask(const struct options *options, const struct http_url *url)
{
    const struct http_client_request request = {
        .address = &url->addr,
        .method = HTTP_METHOD_GET,
        .target = url->target[0] == '\0' ? "/readyz" : url->target,
        .timeout_ms = options->timeout_ms,
    };
    struct http_reply reply;
    struct errbuf err;
    char *memory = NULL;
    if (http_client_send(&request, &reply, &memory, &err) != 0) {
        fprintf(stderr, "bulkhead ready: %s\n", err.text);
        return EXIT_NOT_READY;
    }
    bool ready = reply.status == STATUS_OK;
    if (!ready) {
        fprintf(stderr, "bulkhead ready: not ready (status %d)\n", reply.status);
    }
    print_body(ready ? stdout : stderr, reply.body);
    mem_free(memory);
    return ready ? output_finish("ready", EXIT_READY) : EXIT_NOT_READY;
}

int ready_main(int argc, char **argv)
{
    struct options options;
    struct http_url url = {.target = ""};
    int code = EXIT_WRONG;
    if (!parse_options(argc, argv, &options, &code)) {
        return code;
    }
    bool found = options.url != NULL ? find_by_url(options.url, &url)
                                     : find_by_config(options.config, &url.addr);
    return found ? ask(&options, &url) : EXIT_WRONG;
}
