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
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "cli/ctl_print.h"
#include "cli/ctl_rules.h"
#include "cli/output.h"
#include "config/config.h"
#include "net/http_client.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_WRONG = 2 };
enum { STATUS_OK = 200, TIMEOUT_MS = 60 * 1000 };

struct options {
    const char *socket;
    const char *config;
    const char *command;
    const char *file; /* of `check` */
    bool dry_run;
    bool json;
};

static void print_help(FILE *out)
{
    fputs(
        "usage: bulkhead ctl [--socket PATH | -c FILE] COMMAND [OPTIONS]\n"
        "\n"
        "Asks a running bulkhead through its admin socket (admin.listen).\n"
        "\n"
        "Commands:\n"
        "  reload              read all files anew; say what changed and which sessions ended\n"
        "  reload --dry-run    what that would do: sessions kept and ended, by rule and identity;\n"
        "                      changes nothing\n"
        "  check FILE          the same for another configuration: what would change, and whether\n"
        "                      this process could take it\n"
        "  sessions            the live sessions, and when and by what their authority ends\n"
        "  rules               each rule: how often it decided, or as a shadow rule would have,\n"
        "                      when last, when it ends, whose it is and where it stands; what\n"
        "                      audit let through\n"
        "  metrics             all metrics, in Prometheus' text format (see METRICS.md)\n"
        "\n"
        "  -s, --socket PATH   the admin socket\n"
        "  -c, --config FILE   the configuration that names it\n"
        "      --json          the answer as JSON\n"
        "  -h, --help          this text\n"
        "\n"
        "Examples:\n"
        "  bulkhead ctl -c /etc/bulkhead/bulkhead.yaml reload --dry-run\n"
        "  bulkhead ctl --socket /run/bulkhead/admin.sock sessions --json | jq '.sessions[].rule'\n"
        "  bulkhead ctl -c FILE rules --json | jq -r '.rules[] | select(.last_hit == null).name'\n"
        "  bulkhead ctl --socket /run/bulkhead/admin.sock metrics | grep handshake_failures\n"
        "\n"
        "Exit code: 0 done, 1 failed, refused, or a file was broken and its last good state kept,\n"
        "2 wrong usage or configuration.\n",
        out);
}

static bool wrong_usage(const char *message)
{
    fprintf(stderr, "bulkhead ctl: %s; try: bulkhead ctl --help\n", message);
    return false;
}

static bool is_command(const struct options *options, const char *command)
{
    return strcmp(options->command, command) == 0;
}

/* Its path is the command's name, and it changes nothing. */
static bool is_look(const struct options *options)
{
    return is_command(options, "sessions") || is_command(options, "rules") ||
           is_command(options, "metrics");
}

static bool take_operands(int argc, char **argv, struct options *options)
{
    if (optind == argc) {
        return wrong_usage("a command is missing");
    }
    options->command = argv[optind++];
    if (strcmp(options->command, "check") == 0) {
        if (optind == argc) {
            return wrong_usage("check needs a file");
        }
        options->file = argv[optind++];
    } else if (strcmp(options->command, "reload") != 0 && !is_look(options)) {
        fprintf(stderr,
                "bulkhead ctl: unknown command \"%s\"; there are reload, check, sessions, rules "
                "and metrics; try: bulkhead ctl --help\n",
                options->command);
        return false;
    }
    if (optind != argc) {
        return wrong_usage("too many arguments");
    }
    if (options->dry_run && strcmp(options->command, "reload") != 0) {
        return wrong_usage("--dry-run belongs to reload");
    }
    if (options->json && is_command(options, "metrics")) {
        return wrong_usage("metrics are text, not JSON");
    }
    if ((options->socket == NULL) == (options->config == NULL)) {
        return wrong_usage("one of --socket and -c is needed");
    }
    return true;
}

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    static const struct option known[] = {
        {"socket", required_argument, NULL, 's'}, {"config", required_argument, NULL, 'c'},
        {"dry-run", no_argument, NULL, 'd'},      {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    *options = (struct options){0};
    *code = EXIT_WRONG;
    int option;
    while ((option = getopt_long(argc, argv, "s:c:h", known, NULL)) != -1) {
        switch (option) {
        case 's':
            options->socket = optarg;
            break;
        case 'c':
            options->config = optarg;
            break;
        case 'd':
            options->dry_run = true;
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            print_help(stdout);
            *code = output_finish("ctl", EXIT_GOOD);
            return false;
        default:
            fputs("try: bulkhead ctl --help\n", stderr);
            return false;
        }
    }
    return take_operands(argc, argv, options);
}

/* The path in admin.listen; NULL, reported. The caller frees it. */
static char *find_socket(const struct options *options)
{
    if (options->socket != NULL) {
        return mem_strdup(options->socket);
    }
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_load(options->config, NULL, &diags);
    char *path = NULL;
    if (config == NULL) {
        char line[1024];
        diag_format(&diags, &diags.items[0], line, sizeof(line));
        fprintf(stderr, "bulkhead ctl: %s\n", line);
    } else if (config->admin.listen.path == NULL) {
        fprintf(stderr,
                "bulkhead ctl: %s has no admin.listen: add `admin: {listen: "
                "unix:///run/bulkhead/admin.sock}` and restart\n",
                options->config);
    } else {
        path = mem_strdup(config->admin.listen.path);
    }
    config_free(config);
    diag_list_fini(&diags);
    return path;
}

/* What to ask for; NULL, reported. The caller frees it. */
static char *make_target(const struct options *options)
{
    if (options->file == NULL) {
        return mem_strdup(is_command(options, "sessions")  ? "/sessions"
                          : is_command(options, "metrics") ? "/metrics"
                          : options->dry_run               ? "/reload?dry_run=1"
                                                           : "/reload");
    }
    char *absolute = realpath(options->file, NULL);
    if (absolute == NULL) {
        fprintf(stderr, "bulkhead ctl: %s: %s\n", options->file, strerror(errno));
        return NULL;
    }
    static const char path[] = "/check?file=";
    char *target = mem_alloc(sizeof(path) + HTTP_ESCAPED_PER_BYTE * strlen(absolute));
    memcpy(target, path, sizeof(path));
    (void)http_escape(absolute, target + sizeof(path) - 1);
    free(absolute); /* realpath's own */
    return target;
}

static int print_metrics(const struct http_reply *reply)
{
    bool whole = fwrite(reply->body.ptr, 1, reply->body.len, stdout) == reply->body.len;
    return whole && fflush(stdout) == 0 ? EXIT_GOOD : EXIT_FAILED;
}

static int print_answer(const struct options *options, const struct http_reply *reply)
{
    if (is_command(options, "metrics") && reply->status == STATUS_OK) {
        return print_metrics(reply);
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
        printf("%.*s\n", (int)reply->body.len, reply->body.ptr);
    }
    if (reply->status != STATUS_OK) {
        const char *why = json_string_value(json_object_get(answer, "error"));
        fprintf(stderr, "bulkhead ctl: %s\n", why == NULL ? "refused" : why);
    } else if (strcmp(options->command, "sessions") == 0) {
        if (!options->json) {
            ctl_print_sessions(answer, stdout);
        }
        code = EXIT_GOOD;
    } else {
        if (!options->json) {
            ctl_print_reload(answer, stdout);
        }
        code = ctl_reload_code(answer);
    }
    json_decref(answer);
    return output_finish("ctl", code);
}

static int ask(const struct options *options, const char *path, const char *target)
{
    const struct http_client_request request = {
        .socket_path = path,
        .method = is_look(options) ? HTTP_METHOD_GET : HTTP_METHOD_POST,
        .target = target,
        .timeout_ms = TIMEOUT_MS,
    };
    struct http_reply reply;
    struct errbuf err;
    char *memory = NULL;
    if (http_client_send(&request, &reply, &memory, &err) != 0) {
        bool is_there = access(path, F_OK) == 0;
        fprintf(stderr, "bulkhead ctl: %s%s\n", err.text,
                is_there ? ""
                         : "; does a bulkhead run that has had this admin.listen from its start?");
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
    char *path = find_socket(&options);
    if (path != NULL && strcmp(options.command, "rules") == 0) {
        code = ctl_rules(path, options.json);
        mem_free(path);
        return code;
    }
    char *target = path == NULL ? NULL : make_target(&options);
    code = target == NULL ? EXIT_WRONG : ask(&options, path, target);
    mem_free(target);
    mem_free(path);
    return code;
}
