/*
 * Loads the file by the same function as `bulkhead run` does, credentials and all, and prints
 * what it had to say instead of serving.
 */
#include "cli/check.h"

#include <getopt.h>
#include <stdio.h>

#include "base/json_writer.h"
#include "base/memory.h"
#include "cli/config_input.h"
#include "cli/output.h"
#include "cli/vars.h"
#include "config/config.h"
#include "config/diag.h"
#include "control/sources.h"
#include "proxy/setup.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_WRONG = 2 };
enum { FIRST_JSON_SIZE = 64 * 1024, LAST_JSON_SIZE = 1024 * 1024 * 1024 };

struct options {
    const char *file;
    bool json;
    bool strict;
    bool offline;
    struct vars vars;
    struct config_input input;
};

static void print_help(FILE *out)
{
    fputs(
        "usage: bulkhead check [-c FILE] [--var NAME=VALUE]... [--offline] [--strict] [--json]\n"
        "\n"
        "Reads the configuration and everything that it names, as `bulkhead run` would, and says\n"
        "all that is wrong at once: errors; warnings, which refuse nothing; and notes: what has "
        "no\n"
        "effect here, and when rules end. Runs its `tests`. Opens no socket.\n"
        "\n"
        "  -c, --config FILE  the configuration file; - is standard input\n"
        "      --var N=VALUE  the trust domain that ${N} stands for; over `variables` of the "
        "file;\n"
        "                     may be given several times\n"
        "      --offline      only the configuration and what it includes: no certificate, key,\n"
        "                     bundle, CRL or quarantine file; for where these are not, as in CI\n"
        "      --strict       warnings count as errors\n"
        "      --json         one JSON object on stdout instead of lines\n"
        "  -h, --help         this text\n"
        "\n" CONFIG_INPUT_HELP "\n"
        "Problems go to stderr, FILE:LINE:COLUMN: error: MESSAGE, the summary to stdout.\n"
        "\n"
        "Examples:\n"
        "  bulkhead check -c bulkhead.yaml\n"
        "  bulkhead check --strict -c bulkhead.yaml && install bulkhead.yaml /etc/bulkhead/\n"
        "  bulkhead check --offline --strict -c bulkhead.yaml\n"
        "  bulkhead check -c bulkhead.yaml --json | jq '.errors[].message'\n"
        "\n"
        "Exit code: 0 valid (without --strict, warnings are allowed), 1 failed, 2 wrong usage or\n"
        "configuration.\n",
        out);
}

static bool wrong_usage(const char *message)
{
    fprintf(stderr, "bulkhead check: %s; try: bulkhead check --help\n", message);
    return false;
}

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"var", required_argument, NULL, 'v'},
        {"offline", no_argument, NULL, 'o'},
        {"strict", no_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){0};
    *code = EXIT_WRONG;
    for (;;) {
        int option = getopt_long(argc, argv, "c:h", known, NULL);
        if (option == -1) {
            break;
        }
        switch (option) {
        case 'c':
            if (options->file != NULL) {
                return wrong_usage("one file at a time");
            }
            options->file = optarg;
            break;
        case 'v':
            if (!vars_add(&options->vars, "check", optarg)) {
                return false;
            }
            break;
        case 'o':
            options->offline = true;
            break;
        case 's':
            options->strict = true;
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            print_help(stdout);
            *code = output_finish("check", EXIT_GOOD);
            return false;
        default:
            fputs("try: bulkhead check --help\n", stderr);
            return false;
        }
    }
    if (optind + 1 == argc && options->file == NULL) {
        fprintf(stderr,
                "bulkhead check: the configuration belongs to -c: bulkhead check -c %s; try: "
                "bulkhead check --help\n",
                argv[optind]);
        return false;
    }
    if (optind < argc) {
        fprintf(stderr, "bulkhead check: unexpected argument \"%s\"; try: bulkhead check --help\n",
                argv[optind]);
        return false;
    }
    enum config_input_result result = config_input_take(&options->input, "check", options->file);
    options->file = options->input.name;
    return result == CONFIG_INPUT_TAKEN ||
           (result == CONFIG_INPUT_NONE && wrong_usage("which file? -c FILE is needed"));
}

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

/* With --strict warnings refuse. */
static bool is_refused(const struct options *options, const struct diag_list *diags)
{
    return diags->test_count > 0 || (options->strict && diags->warning_count > 0);
}

static void print_text(const struct options *options, const struct diag_list *diags,
                       const struct material *material)
{
    for (size_t i = 0; i < diags->count; i++) {
        char line[4096];
        diag_format(diags, &diags->items[i], line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
    size_t warnings = diags->warning_count;
    size_t errors = diags->error_count + diags->test_count;
    if (errors > 0 || material == NULL) {
        printf("%s: %zu error%s, %zu warning%s\n", options->file, errors, plural(errors), warnings,
               plural(warnings));
        return;
    }
    if (is_refused(options, diags)) {
        printf("%s: valid, but refused by --strict: %zu warning%s\n", options->file, warnings,
               plural(warnings));
        return;
    }
    const struct config *config = material->setup->config;
    printf("%s: valid", options->file);
    if (warnings > 0) {
        printf(", %zu warning%s", warnings, plural(warnings));
    }
    printf(" (%zu listener%s, %zu rule%s, %zu trust domain%s, %zu test%s)\n",
           config->listener_count, plural(config->listener_count), config->rule_count,
           plural(config->rule_count), config->trust_count, plural(config->trust_count),
           config->test_count, plural(config->test_count));
}

static void write_listeners(struct json_writer *w, const struct config *config)
{
    json_array_begin(w);
    for (size_t i = 0; config != NULL && i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        json_object_begin(w);
        json_field_string(w, "name", listener->name.text);
        json_field_string(w, "kind", config_kind_name(listener->kind));
        json_field_string(w, "accept", listener->accept.text.text);
        json_field_string(w, "forward", listener->forward.text.text);
        json_object_end(w);
    }
    json_array_end(w);
}

static size_t write_json(const struct options *options, const struct diag_list *diags,
                         const struct material *material, char *buf, size_t size)
{
    const struct config *config = material == NULL ? NULL : material->setup->config;
    struct json_writer w;
    json_writer_init(&w, buf, size);
    json_object_begin(&w);
    json_field_string(&w, "file", options->file);
    json_field_bool(&w, "valid", material != NULL && !is_refused(options, diags));
    json_key(&w, "errors");
    diag_write_json(&w, diags, DIAG_ERROR);
    json_key(&w, "warnings");
    diag_write_json(&w, diags, DIAG_WARNING);
    json_key(&w, "notes");
    diag_write_json(&w, diags, DIAG_NOTE);
    json_key(&w, "listeners");
    write_listeners(&w, config);
    json_field_u64(&w, "rules", config == NULL ? 0 : config->rule_count);
    json_field_u64(&w, "tests", config == NULL ? 0 : config->test_count);
    json_field_u64(&w, "tests_failed", diags->test_count);
    json_object_end(&w);
    return json_writer_finish(&w);
}

/* The writer allocates nothing, so the buffer is made larger until the text fits. */
static bool print_json(const struct options *options, const struct diag_list *diags,
                       const struct material *material)
{
    for (size_t size = FIRST_JSON_SIZE; size <= LAST_JSON_SIZE; size *= 2) {
        char *buf = mem_alloc(size);
        size_t len = write_json(options, diags, material, buf, size);
        if (len > 0) {
            puts(buf);
        }
        mem_free(buf);
        if (len > 0) {
            return true;
        }
    }
    fputs("bulkhead check: the result is too large for JSON\n", stderr);
    return false;
}

static int check_file(const struct options *options)
{
    struct diag_list diags;
    diag_list_init(&diags);
    struct config_options config = vars_options(&options->vars);
    config_input_set(&options->input, &config);
    struct sources *sources = sources_new(options->file, &config, NULL);
    bool loaded = sources_check(
        sources, options->offline ? SOURCES_CHECK_OFFLINE : SOURCES_CHECK_ALL, &diags);
    const struct material *material = loaded ? sources_in_force(sources) : NULL;
    diag_sort(&diags);
    bool printed = true;
    if (options->json) {
        printed = print_json(options, &diags, material);
    } else {
        print_text(options, &diags, material);
    }
    int code = material == NULL || is_refused(options, &diags) ? EXIT_WRONG : EXIT_GOOD;
    sources_free(sources);
    diag_list_fini(&diags);
    return output_finish("check", printed ? code : EXIT_FAILED);
}

int check_main(int argc, char **argv)
{
    struct options options;
    int code = EXIT_WRONG;
    if (!parse_options(argc, argv, &options, &code)) {
        config_input_fini(&options.input);
        vars_fini(&options.vars);
        return code;
    }
    code = check_file(&options);
    config_input_fini(&options.input);
    vars_fini(&options.vars);
    return code;
}
