#include "control/probes.h"

#include <stdbool.h>

#include "base/log.h"
#include "base/memory.h"
#include "config/address.h"
#include "control/app_probes.h"
#include "control/readiness.h"
#include "control_private.h"
#include "net/http_server.h"
#include "net/listener.h"
#include "scrape.h"

enum { SOCKET_MODE = 0660, CONNECTIONS = 32 };
enum { REQUEST_MS = 2000, STALL_MS = 2000, ANSWER_MS = 10000 };
enum { STATUS_BAD = 400, STATUS_NOT_FOUND = 404, STATUS_METHOD = 405 };

struct probes {
    struct control *control;
    struct listen_sockets *sockets;
    struct http_server *server;
    struct app_probes *app;
};

static void on_live(struct probes *probes, struct http_call *call)
{
    readiness_answer_live(probes->control, call);
}

static void on_ready(struct probes *probes, struct http_call *call)
{
    readiness_answer_ready(probes->control, call, READINESS_TO_ANYONE);
}

static void on_metrics(struct probes *probes, struct http_call *call)
{
    scrape_answer(probes->control, call);
}

static bool has_metrics(const struct probes *probes)
{
    return control_config(probes->control)->probes.metrics;
}

struct route {
    const char *path;
    const char *parameter;                         /* the one that it takes; NULL: none */
    bool (*is_there)(const struct probes *probes); /* NULL: always */
    void (*handle)(struct probes *probes, struct http_call *call);
};

static const struct route routes[] = {
    {"/livez", "json", NULL, on_live},
    {"/readyz", "json", NULL, on_ready},
    {"/metrics", NULL, has_metrics, on_metrics},
};

static const struct route *find_route(const struct probes *probes, struct strview path)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];
        if (strview_equal_text(path, route->path)) {
            return route->is_there == NULL || route->is_there(probes) ? route : NULL;
        }
    }
    return NULL;
}

static bool takes_all(const struct route *route, const struct http_request *request)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (route->parameter == NULL ||
            !strview_equal_text(request->parameters[i].name, route->parameter)) {
            return false;
        }
    }
    return true;
}

static const struct config_app_probe *find_app_probe(const struct probes *probes,
                                                     struct strview path)
{
    const struct config *config = control_config(probes->control);
    for (size_t i = 0; i < config->probes.app_count; i++) {
        if (strview_equal_text(path, config->probes.app[i].path.text)) {
            return &config->probes.app[i];
        }
    }
    return NULL;
}

static void on_call(void *arg, struct http_call *call)
{
    struct probes *probes = arg;
    const struct http_request *request = http_call_request(call);
    const struct route *route = find_route(probes, request->path);
    const struct config_app_probe *app = find_app_probe(probes, request->path);
    if (route == NULL && app == NULL) {
        http_call_refuse(call, STATUS_NOT_FOUND, "there is no such path here");
    } else if (request->method == HTTP_METHOD_POST) {
        const struct http_answer answer = {.status = STATUS_METHOD, .allow = "GET, HEAD"};
        http_call_answer(call, &answer);
    } else if (app != NULL ? request->parameter_count > 0 : !takes_all(route, request)) {
        http_call_refuse(call, STATUS_BAD, "a parameter is not known to this path");
    } else if (app != NULL) {
        app_probes_answer(probes->app, app, call);
    } else {
        route->handle(probes, call);
    }
}

/* --- the socket ------------------------------------------------------------------------------ */

static int open_socket(struct probes *probes, struct errbuf *err)
{
    const struct config_address *listen = &control_config(probes->control)->probes.listen;
    const struct listen_options options = {
        .mode = SOCKET_MODE, .owner = (uid_t)-1, .group = (gid_t)-1};
    struct netaddr addr;
    if (!address_to_netaddr(listen, &addr)) {
        errbuf_set(err, "no address to listen on, or too long");
        return -1;
    }
    probes->sockets = listen_sockets_open(&addr, 1, &options, err);
    return probes->sockets == NULL ? -1 : 0;
}

static int serve(struct probes *probes, struct errbuf *err)
{
    const struct http_server_options options = {
        .connections = CONNECTIONS,
        .full = HTTP_FULL_OLDEST_GOES,
        .request_ms = REQUEST_MS,
        .stall_ms = STALL_MS,
        .answer_ms = ANSWER_MS,
    };
    probes->server = http_server_new(probes->control->loop, listen_sockets_fd(probes->sockets, 0),
                                     &options, on_call, probes, err);
    return probes->server == NULL ? -1 : 0;
}

static void log_listening(struct probes *probes)
{
    struct log *log = &probes->control->log;
    char text[NETADDR_TEXT_SIZE];
    log_begin(log, LOG_INFO, "probes_listening");
    log_str(log, "addr", netaddr_format(listen_sockets_address(probes->sockets), text));
    log_end(log);
}

struct probes *probes_new(struct control *control, struct errbuf *err)
{
    struct probes *probes = mem_alloc(sizeof(*probes));
    probes->control = control;
    probes->app = app_probes_new(control->loop);
    if (open_socket(probes, err) != 0 || serve(probes, err) != 0) {
        errbuf_prefix(err, "probes.listen");
        probes_free(probes);
        return NULL;
    }
    log_listening(probes);
    return probes;
}

void probes_free(struct probes *probes)
{
    if (probes != NULL) {
        http_server_free(probes->server);
        app_probes_free(probes->app);
        listen_sockets_close(probes->sockets);
        mem_free(probes);
    }
}

uint64_t probes_descriptors(const struct probes *probes)
{
    return probes == NULL ? 0 : CONNECTIONS + APP_PROBES_AT_ONCE;
}
