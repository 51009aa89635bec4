/*
 * Pages are told by index. When another configuration comes into force between two of them, an
 * index means another rule: all is asked for again.
 */
#include "cli/ctl_rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "cli/ctl_print.h"
#include "cli/output.h"
#include "net/http_client.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, STATUS_OK = 200, TIMEOUT_MS = 60 * 1000, TRIES = 10 };

/* NULL, said. The caller's. */
static json_t *ask_for_page(const struct netaddr *server, json_int_t from)
{
    char target[64];
    (void)snprintf(target, sizeof(target), "/rules?from=%" JSON_INTEGER_FORMAT, from);
    const struct http_client_request request = {
        .address = server, .method = HTTP_METHOD_GET, .target = target, .timeout_ms = TIMEOUT_MS};
    struct http_reply reply;
    struct errbuf err;
    char *memory = NULL;
    if (http_client_send(&request, &reply, &memory, &err) != 0) {
        fprintf(stderr, "bulkhead ctl: %s\n", err.text);
        return NULL;
    }
    json_error_t error;
    json_t *page = json_loadb(reply.body.ptr, reply.body.len, 0, &error);
    if (page == NULL || reply.status != STATUS_OK) {
        const char *why = json_string_value(json_object_get(page, "error"));
        fprintf(stderr, "bulkhead ctl: status %d: %s\n", reply.status,
                page == NULL  ? error.text
                : why != NULL ? why
                              : "refused");
        json_decref(page);
        page = NULL;
    }
    mem_free(memory);
    return page;
}

/* All pages in the first one. NULL: said, or, with *changed, to be tried again. */
static json_t *ask_for_all(const struct netaddr *server, bool *changed)
{
    *changed = false;
    json_t *all = ask_for_page(server, 0);
    json_t *next = json_object_get(all, "next");
    while (json_is_integer(next)) {
        json_t *page = ask_for_page(server, json_integer_value(next));
        *changed = page != NULL &&
                   !json_equal(json_object_get(page, "epoch"), json_object_get(all, "epoch"));
        if (page == NULL || *changed ||
            json_array_extend(json_object_get(all, "rules"), json_object_get(page, "rules")) != 0 ||
            json_object_set(all, "next", json_object_get(page, "next")) != 0) {
            json_decref(page);
            json_decref(all);
            return NULL;
        }
        json_decref(page);
        next = json_object_get(all, "next");
    }
    return all;
}

int ctl_rules(const struct netaddr *server, bool as_json)
{
    bool changed = true;
    json_t *answer = NULL;
    for (int tries = 0; changed && tries < TRIES; tries++) {
        answer = ask_for_all(server, &changed);
    }
    if (answer == NULL) {
        if (changed) {
            fputs("bulkhead ctl: the rules change faster than they can be read\n", stderr);
        }
        return EXIT_FAILED;
    }
    (void)json_object_del(answer, "next"); /* nothing is left out */
    if (as_json) {
        (void)json_dumpf(answer, stdout, JSON_COMPACT); /* a lost byte shows in output_finish */
        putchar('\n');
    } else {
        ctl_print_rules(answer, stdout);
    }
    json_decref(answer);
    return output_finish("ctl", EXIT_GOOD);
}
