/*
 * /reload and /check become requests to reload, which answer when they have run; a client that goes
 * away before takes its answer with it, and what it only wanted to know; a reload is done all the
 * same. Sessions are the workers' to tell (admin_sessions.h); all else is answered at once.
 */
#include "control/admin.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "admin_config.h"
#include "admin_identity.h"
#include "admin_json.h"
#include "admin_peers.h"
#include "admin_rules.h"
#include "admin_sessions.h"
#include "base/memory.h"
#include "config/address.h"
#include "control/drain.h"
#include "control/log_level.h"
#include "control/readiness.h"
#include "control/reload.h"
#include "control_private.h"
#include "net/http_guard.h"
#include "net/http_server.h"
#include "net/listener.h"
#include "proxy/setup.h"
#include "scrape.h"

enum { SOCKET_MODE = 0660, PATH_MAX_BYTES = 4096 };
enum { STATUS_OK = 200, STATUS_BAD = 400, STATUS_NOT_FOUND = 404, STATUS_METHOD = 405 };
enum { STATUS_FORBIDDEN = 403, STATUS_NO_MEMORY = 503 };

/* A call that waits for its request to be done. */
struct pending {
    TAILQ_ENTRY(pending) link;
    struct admin *admin;
    struct http_call *call;
};

TAILQ_HEAD(pending_list, pending);

struct admin {
    struct control *control;
    struct listen_sockets *sockets;
    struct http_server *server;
    struct pending_list pending;
    bool is_tcp; /* every user of this host may connect, and what runs in their browsers */
};

static void pending_free(struct pending *pending)
{
    TAILQ_REMOVE(&pending->admin->pending, pending, link);
    mem_free(pending);
}

static void on_gone(void *arg)
{
    struct pending *pending = arg;
    reload_forget(pending->admin->control->reload, pending);
    pending_free(pending);
}

/* Takes text over; NULL: memory is out. */
static void answer_text(struct http_call *call, char *text, size_t len)
{
    admin_json_answer(call, STATUS_OK, text, len, "memory is out");
}

static void on_done(void *arg, const struct reload_outcome *outcome)
{
    struct pending *pending = arg;
    size_t len = 0;
    char *text = admin_json_reload(outcome, &len);
    answer_text(pending->call, text, len);
    pending_free(pending);
}

static void start(struct admin *admin, struct http_call *call, struct reload_request *request)
{
    struct pending *pending = mem_alloc(sizeof(*pending));
    pending->admin = admin;
    pending->call = call;
    TAILQ_INSERT_TAIL(&admin->pending, pending, link);
    http_call_on_gone(call, on_gone, pending);
    request->scope = SOURCES_ALL;
    request->trigger = "ctl";
    request->done = on_done;
    request->arg = pending;
    reload_start(admin->control->reload, request);
}

/* --- the paths ------------------------------------------------------------------------------- */

static void on_sessions(struct admin *admin, struct http_call *call)
{
    admin_sessions_list(admin->control->admin_sessions, call);
}

static void on_terminate(struct admin *admin, struct http_call *call)
{
    admin_sessions_terminate(admin->control->admin_sessions, call);
}

/* Decimal digits alone, of no more rules than there could be. */
static bool parse_index(struct strview text, size_t *index)
{
    enum { DIGITS_MAX = 9 };
    *index = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        *index = *index * 10 + (size_t)(text.ptr[i] - '0');
    }
    return text.len > 0 && text.len <= DIGITS_MAX;
}

static void on_rules(struct admin *admin, struct http_call *call)
{
    const struct strview *parameter = http_request_parameter(http_call_request(call), "from");
    size_t from = 0;
    if (parameter != NULL && !parse_index(*parameter, &from)) {
        http_call_refuse(call, STATUS_BAD, "from must be the number of a rule, from 0 on");
        return;
    }
    size_t len = 0;
    char *text = admin_rules_json(admin->control->rule_totals, from, &len);
    answer_text(call, text, len);
}

static void on_metrics(struct admin *admin, struct http_call *call)
{
    scrape_answer(admin->control, call);
}

static void on_live(struct admin *admin, struct http_call *call)
{
    readiness_answer_live(admin->control, call);
}

static void on_ready(struct admin *admin, struct http_call *call)
{
    readiness_answer_ready(admin->control, call, READINESS_TO_OPERATOR);
}

static void on_identity(struct admin *admin, struct http_call *call)
{
    size_t len = 0;
    char *text = admin_identity_json(admin->control, &len);
    answer_text(call, text, len);
}

static void on_trust(struct admin *admin, struct http_call *call)
{
    size_t len = 0;
    char *text = admin_trust_json(admin->control, &len);
    answer_text(call, text, len);
}

static void on_config(struct admin *admin, struct http_call *call)
{
    struct http_stream stream;
    if (!admin_config_stream(admin->control, &stream)) {
        http_call_refuse(call, STATUS_NO_MEMORY, "memory is out");
        return;
    }
    const struct http_answer answer = {.status = STATUS_OK, .stream = &stream};
    http_call_answer(call, &answer);
}

static void on_peers(struct admin *admin, struct http_call *call)
{
    admin_peers(admin->control, call);
}

static void on_reload(struct admin *admin, struct http_call *call)
{
    const struct strview *dry_run = http_request_parameter(http_call_request(call), "dry_run");
    struct reload_request request = {.kind = RELOAD_APPLY};
    if (dry_run != NULL) {
        if (!strview_equal(*dry_run, strview_from("1"))) {
            http_call_refuse(call, STATUS_BAD, "dry_run must be 1");
            return;
        }
        request.kind = RELOAD_PREVIEW;
    }
    start(admin, call, &request);
}

static void on_log_level(struct admin *admin, struct http_call *call)
{
    log_level_answer(admin->control, call);
}

static void on_drain(struct admin *admin, struct http_call *call)
{
    drain_answer(admin->control, call);
}

/*
 * The errors of a configuration quote it, and we may read what the caller may not: who may only
 * connect to the socket could have any file told to them, by its name or by an `include`.
 */
static bool may_name_files(const struct http_call *call)
{
    uid_t uid = 0;
    return http_call_peer_uid(call, &uid) && (uid == 0 || uid == geteuid());
}

static void on_check(struct admin *admin, struct http_call *call)
{
    if (!may_name_files(call)) {
        http_call_refuse(call, STATUS_FORBIDDEN,
                         "only root and the user that bulkhead runs as may have a file checked");
        return;
    }
    const struct strview *file = http_request_parameter(http_call_request(call), "file");
    char path[PATH_MAX_BYTES];
    if (file == NULL || file->len == 0 || file->ptr[0] != '/' || file->len >= sizeof(path) ||
        memchr(file->ptr, '\0', file->len) != NULL) {
        http_call_refuse(call, STATUS_BAD, "file must be the absolute path of a configuration");
        return;
    }
    memcpy(path, file->ptr, file->len);
    path[file->len] = '\0';
    struct reload_request request = {.kind = RELOAD_PREVIEW, .config_path = path};
    start(admin, call, &request);
}

struct route {
    const char *path;
    enum http_method method;
    const char *parameters; /* those that it takes, a blank between two; NULL: none */
    void (*handle)(struct admin *admin, struct http_call *call);
};

static const struct route routes[] = {
    {"/sessions", HTTP_METHOD_GET, ADMIN_SESSIONS_LIST_PARAMETERS, on_sessions},
    {"/sessions/terminate", HTTP_METHOD_POST, ADMIN_SESSIONS_TERMINATE_PARAMETERS, on_terminate},
    {"/rules", HTTP_METHOD_GET, "from", on_rules},
    {"/identity", HTTP_METHOD_GET, NULL, on_identity},
    {"/trust", HTTP_METHOD_GET, NULL, on_trust},
    {"/config", HTTP_METHOD_GET, NULL, on_config},
    {"/peers", HTTP_METHOD_GET, ADMIN_PEERS_PARAMETERS, on_peers},
    {"/metrics", HTTP_METHOD_GET, NULL, on_metrics},
    {"/livez", HTTP_METHOD_GET, "json", on_live},
    {"/readyz", HTTP_METHOD_GET, "json", on_ready},
    {"/log-level", HTTP_METHOD_GET, NULL, on_log_level},
    {"/reload", HTTP_METHOD_POST, "dry_run", on_reload},
    {"/check", HTTP_METHOD_POST, "file", on_check},
    {"/drain", HTTP_METHOD_POST, NULL, on_drain},
    {"/log-level", HTTP_METHOD_POST, "level", on_log_level},
};

/* A misspelt dry_run must not be a reload. */
static bool takes_all(const struct route *route, const struct http_request *request)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (route->parameters == NULL ||
            !strview_is_one_of(request->parameters[i].name, route->parameters)) {
            return false;
        }
    }
    return true;
}

static void refuse_method(struct http_call *call, const char *allow)
{
    const struct http_answer answer = {.status = STATUS_METHOD, .allow = allow};
    http_call_answer(call, &answer);
}

/* Names those that there are: who has mistyped one sees it. */
static void refuse_path(struct http_call *call)
{
    char why[512];
    int len = snprintf(why, sizeof(why), "there is no such path:");
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]) && (size_t)len < sizeof(why); i++) {
        if (i == 0 || routes[i].handle != on_log_level || routes[i].method == HTTP_METHOD_GET) {
            len += snprintf(why + len, sizeof(why) - (size_t)len, "%s %s", i == 0 ? "" : ",",
                            routes[i].path);
        }
    }
    http_call_refuse(call, STATUS_NOT_FOUND, why);
}

/* What changes something is asked for by POST alone. NULL: *allow says by what the path is, or is
   NULL too: there is no such path. */
static const struct route *find_route(const struct http_request *request, const char **allow)
{
    *allow = NULL;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];
        bool looks = route->method == HTTP_METHOD_GET;
        if (!strview_equal(request->path, strview_from(route->path))) {
            continue;
        }
        if (request->method == route->method || (request->method == HTTP_METHOD_HEAD && looks)) {
            return route;
        }
        *allow = *allow != NULL ? "GET, HEAD, POST" : looks ? "GET, HEAD" : "POST";
    }
    return NULL;
}

static void on_call(void *arg, struct http_call *call)
{
    struct admin *admin = arg;
    const struct http_request *request = http_call_request(call);
    const char *why = admin->is_tcp ? http_guard_refuses(request) : NULL;
    const char *allow = NULL;
    const struct route *route = find_route(request, &allow);
    if (why != NULL) {
        http_call_refuse(call, STATUS_FORBIDDEN, why);
    } else if (route == NULL && allow == NULL) {
        refuse_path(call);
    } else if (route == NULL) {
        refuse_method(call, allow);
    } else if (!takes_all(route, request)) {
        http_call_refuse(call, STATUS_BAD, "a parameter is not known to this path");
    } else {
        route->handle(admin, call);
    }
}

/* --- the socket ------------------------------------------------------------------------------ */

static int open_socket(struct admin *admin, struct errbuf *err)
{
    const struct listen_options options = {
        .mode = SOCKET_MODE, .owner = (uid_t)-1, .group = (gid_t)-1};
    struct netaddr addr;
    if (!address_to_netaddr(&control_config(admin->control)->admin.listen, &addr)) {
        errbuf_set(err, "the path is too long");
        return -1;
    }
    admin->is_tcp = !netaddr_is_unix(&addr);
    admin->sockets = listen_sockets_open(&addr, 1, &options, err);
    return admin->sockets == NULL ? -1 : 0;
}

/* On TCP anybody on this host may come: slow ones must not keep the others out. */
static int serve(struct admin *admin, struct errbuf *err)
{
    const struct http_server_options options = {.full = admin->is_tcp ? HTTP_FULL_OLDEST_GOES
                                                                      : HTTP_FULL_WAITS};
    admin->server = http_server_new(admin->control->loop, listen_sockets_fd(admin->sockets, 0),
                                    &options, on_call, admin, err);
    return admin->server == NULL ? -1 : 0;
}

static void warn_tcp(struct admin *admin)
{
    struct log *log = &admin->control->log;
    char text[NETADDR_TEXT_SIZE];
    log_begin(log, LOG_WARN, "admin_on_tcp");
    log_str(log, "addr", netaddr_format(listen_sockets_address(admin->sockets), text));
    log_str(log, "error",
            "every user of this host may look, reload and end sessions; a Unix socket keeps them "
            "apart");
    log_end(log);
}

struct admin *admin_new(struct control *control, struct errbuf *err)
{
    struct admin *admin = mem_alloc(sizeof(*admin));
    admin->control = control;
    TAILQ_INIT(&admin->pending);
    if (open_socket(admin, err) != 0 || serve(admin, err) != 0) {
        errbuf_prefix(err, "admin.listen");
        admin_free(admin);
        return NULL;
    }
    if (admin->is_tcp) {
        warn_tcp(admin);
    }
    return admin;
}

void admin_free(struct admin *admin)
{
    if (admin != NULL) {
        http_server_free(admin->server);
        listen_sockets_close(admin->sockets);
        mem_free(admin);
    }
}
