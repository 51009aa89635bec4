/* Prints the tables of base/reason: the same words that the access log has. */
#include "cli/reasons.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/reason.h"
#include "cli/output.h"
#include "config/suggest.h"

enum { EXIT_GOOD = 0, EXIT_WRONG = 2, LABEL_WIDTH = 37, JSON_SIZE = 2048 };

struct options {
    bool json;
    char **names;
    int name_count;
};

static void print_help(FILE *out)
{
    fputs("usage: bulkhead reasons [--json] [NAME...]\n"
          "\n"
          "Says what a `reason` in the access log means, whose fault it is, and what to do.\n"
          "Without a name: all reasons, a line each.\n"
          "\n"
          "      --json  one JSON object for each reason and line\n"
          "  -h, --help  this text\n"
          "\n"
          "Examples:\n"
          "  bulkhead reasons svid_untrusted\n"
          "  bulkhead reasons --json | jq -r 'select(.fault == \"policy\") | .reason'\n"
          "\n"
          "Exit code: 0 done, 1 failed, 2 wrong usage or no such reason.\n",
          out);
}

/* True when the command should go on; otherwise *code is the exit code. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
    static const struct option known[] = {
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){0};
    *code = EXIT_WRONG;
    int option;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'j':
            options->json = true;
            break;
        case 'h':
            print_help(stdout);
            *code = output_finish("reasons", EXIT_GOOD);
            return false;
        default:
            fputs("try: bulkhead reasons --help\n", stderr);
            return false;
        }
    }
    options->names = argv + optind;
    options->name_count = argc - optind;
    return true;
}

static void print_json(enum reason reason)
{
    char buf[JSON_SIZE];
    struct json_writer w;
    json_writer_init(&w, buf, sizeof(buf));
    json_object_begin(&w);
    json_field_string(&w, "reason", reason_label(reason));
    json_field_string(&w, "fault", fault_name(reason_fault(reason)));
    json_field_string(&w, "sentence", reason_sentence(reason));
    json_field_string(&w, "advice", reason_advice(reason));
    json_object_end(&w);
    (void)json_writer_finish(&w); /* texts of ours: a test sees that all of them fit */
    puts(buf);
}

static void print_whole(enum reason reason)
{
    printf("%s\n", reason_label(reason));
    printf("  %-8s %s\n", "means", reason_sentence(reason));
    printf("  %-8s %s\n", "fault", fault_sentence(reason_fault(reason)));
    printf("  %-8s %s\n", "to do", reason_advice(reason));
}

static void print_all(bool json)
{
    for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
        enum reason reason = (enum reason)i;
        if (json) {
            print_json(reason);
        } else {
            printf("%-*s %s\n", LABEL_WIDTH, reason_label(reason), reason_sentence(reason));
        }
    }
}

/* REASON_NONE when there is none of that name, which is said. */
static enum reason find(const char *name)
{
    struct suggest suggest;
    suggest_init(&suggest, name);
    for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
        const char *label = reason_label((enum reason)i);
        if (strcmp(label, name) == 0) {
            return (enum reason)i;
        }
        suggest_consider(&suggest, label);
    }
    fprintf(stderr, "bulkhead reasons: there is no reason \"%s\"", name);
    if (suggest.best != NULL) {
        fprintf(stderr, "; did you mean \"%s\"?", suggest.best);
    }
    fputs(suggest.best == NULL ? "; `bulkhead reasons` lists them all\n" : "\n", stderr);
    return REASON_NONE;
}

int reasons_main(int argc, char **argv)
{
    struct options options;
    int code;
    if (!parse_options(argc, argv, &options, &code)) {
        return code;
    }
    code = EXIT_GOOD;
    if (options.name_count == 0) {
        print_all(options.json);
    }
    for (int i = 0; i < options.name_count; i++) {
        enum reason reason = find(options.names[i]);
        if (reason == REASON_NONE) {
            code = EXIT_WRONG;
        } else if (options.json) {
            print_json(reason);
        } else {
            print_whole(reason);
        }
    }
    return output_finish("reasons", code);
}
