#include "load/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 1000000, RATE_CONNECTIONS = 256 };

static const char USAGE[] =
    "load: makes verified TCP and mTLS load, and is the backend behind it\n"
    "\n"
    "  load backend --listen HOST:PORT [--tls …] [--tickets N]\n"
    "      Prints `listening HOST:PORT`, serves until SIGTERM, SIGINT or the end of its stdin "
    "(when\n"
    "      that is a pipe), then prints its counts as one line of JSON.\n"
    "  load client --connect HOST:PORT --work WORK [--tls …] [--connections N] [--size N]\n"
    "              [--seconds S | --count N] [--warm-up S] [--rate R] [--pid P[,P…]]\n"
    "      Prints one line of JSON. WORK:\n"
    "      full        connect, handshake, 16 bytes there and back, close\n"
    "      resumed     the same with the session of the connection before (--tls)\n"
    "      round-trip  --size bytes there and back on connections that stay\n"
    "      up, down    --size bytes in one direction on connections that stay\n"
    "      idle        connections that stay and do nothing: prints {\"held\": N}, waits for "
    "SIGTERM or\n"
    "                  the end of its stdin (when that is a pipe), then uses each once more\n"
    "\n"
    "  --tls               TLS 1.3, TLS_AES_128_GCM_SHA256, X25519; both sides show a certificate; "
    "with\n"
    "    --certificate F   the chain to send, PEM, the leaf first; nothing else is sent\n"
    "    --key F           its key, PEM\n"
    "    --bundle F        the peer's trust anchors, PEM\n"
    "    --expect ID       the peer's SPIFFE ID (without: any that the bundle vouches for)\n"
    "    --groups LIST     instead of X25519, as SSL_CTX_set1_groups_list(3) has it\n"
    "    --tls12           TLS 1.2, ECDHE-ECDSA-AES128-GCM-SHA256 instead\n"
    "    --tickets N       backend: session tickets per full handshake (1); 0: no resumption\n"
    "  --congestion NAME   TCP congestion control of every socket (the machine's)\n"
    "  --connections N     kept, or at work at the same time (1; with --rate 256)\n"
    "  --sources N         connect from 127.0.0.1 to 127.0.0.N in turn (16), so that ports "
    "suffice\n"
    "  --size N            bytes of a message or of one transfer (64; up and down 268435456)\n"
    "  --seconds S         the measured window (3), after --warm-up S (0.3); units that end in it "
    "count\n"
    "  --count N           exactly N units instead, without warm-up\n"
    "  --rate R            units per second, full and resumed only: one that finds no free "
    "connection\n"
    "                      waits for it; begun more than 1 ms after its time it is counted as "
    "late\n"
    "  --pid P[,P…]        processes whose CPU time is read at both ends of the window\n"
    "\n"
    "Exit: 0 done; 1 something was wrong: a byte, an identity, an end (the first 5 on stderr); 2 "
    "usage.\n"
    "\n"
    "  load backend --listen 127.0.0.1:7000 &\n"
    "  load client --connect 127.0.0.1:7000 --work round-trip --connections 32\n"
    "  load client --connect 127.0.0.1:8443 --tls --certificate web.pem --key web.key \\\n"
    "      --bundle prod.example.bundle.pem --expect spiffe://prod.example/ns/shop/sa/orders \\\n"
    "      --work full --seconds 5 --pid 4711\n";

static const char *const WORK_NAMES[] = {
    [WORK_NONE] = "",           [WORK_FULL] = "full", [WORK_UP] = "up",
    [WORK_RESUMED] = "resumed", [WORK_DOWN] = "down", [WORK_ROUND_TRIP] = "round-trip",
    [WORK_IDLE] = "idle",
};

enum option_id {
    OPTION_LISTEN = 256,
    OPTION_CONNECT,
    OPTION_TLS,
    OPTION_TLS12,
    OPTION_CERTIFICATE,
    OPTION_KEY,
    OPTION_BUNDLE,
    OPTION_EXPECT,
    OPTION_GROUPS,
    OPTION_TICKETS,
    OPTION_CONGESTION,
    OPTION_WORK,
    OPTION_CONNECTIONS,
    OPTION_SOURCES,
    OPTION_SIZE,
    OPTION_SECONDS,
    OPTION_WARM_UP,
    OPTION_COUNT,
    OPTION_RATE,
    OPTION_PID,
    OPTION_HELP,
};

static const struct option OPTIONS[] = {
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"connect", required_argument, NULL, OPTION_CONNECT},
    {"tls", no_argument, NULL, OPTION_TLS},
    {"tls12", no_argument, NULL, OPTION_TLS12},
    {"certificate", required_argument, NULL, OPTION_CERTIFICATE},
    {"key", required_argument, NULL, OPTION_KEY},
    {"bundle", required_argument, NULL, OPTION_BUNDLE},
    {"expect", required_argument, NULL, OPTION_EXPECT},
    {"groups", required_argument, NULL, OPTION_GROUPS},
    {"tickets", required_argument, NULL, OPTION_TICKETS},
    {"congestion", required_argument, NULL, OPTION_CONGESTION},
    {"work", required_argument, NULL, OPTION_WORK},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"sources", required_argument, NULL, OPTION_SOURCES},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"warm-up", required_argument, NULL, OPTION_WARM_UP},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"pid", required_argument, NULL, OPTION_PID},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

const char *work_name(enum work work)
{
    return WORK_NAMES[work];
}

bool work_keeps(enum work work)
{
    return work != WORK_FULL && work != WORK_RESUMED;
}

bool work_is_bulk(enum work work)
{
    return work == WORK_UP || work == WORK_DOWN;
}

__attribute__((format(printf, 1, 2))) static enum said wrong(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputs("; see load --help\n", stderr);
    va_end(args);
    return SAID_USAGE;
}

static bool parse_u64(const char *text, uint64_t most, uint64_t *out)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0' || value > most) {
        return false;
    }
    *out = value;
    return true;
}

static enum said take_u64(const char *name, uint64_t least, uint64_t most, uint64_t *out)
{
    if (!parse_u64(optarg, most, out) || *out < least) {
        return wrong("--%s \"%s\": must be a whole number from %llu to %llu", name, optarg,
                     (unsigned long long)least, (unsigned long long)most);
    }
    return SAID_NOTHING;
}

static enum said take_unsigned(const char *name, unsigned least, unsigned most, unsigned *out)
{
    uint64_t value = 0;
    enum said said = take_u64(name, least, most, &value);
    *out = (unsigned)value;
    return said;
}

static enum said take_number(const char *name, double least, double most, double *out)
{
    char *end = NULL;
    double value = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || !(value >= least && value <= most)) {
        return wrong("--%s \"%s\": must be a number from %g to %g", name, optarg, least, most);
    }
    *out = value;
    return SAID_NOTHING;
}

/* HOST:PORT or [HOST]:PORT, HOST an IP. */
static enum said take_address(const char *name, struct netaddr *out)
{
    char host[64];
    uint64_t port = 0;
    const char *colon = strrchr(optarg, ':');
    size_t len = colon ? (size_t)(colon - optarg) : 0;
    const char *start = optarg;
    if (len > 2 && start[0] == '[' && start[len - 1] == ']') {
        start++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof host || !parse_u64(colon + 1, UINT16_MAX, &port)) {
        return wrong("--%s \"%s\": must be IP:PORT", name, optarg);
    }
    memcpy(host, start, len);
    host[len] = '\0';
    if (!netaddr_from_ip(out, host, (uint16_t)port)) {
        return wrong("--%s \"%s\": \"%s\" is no IP", name, optarg, host);
    }
    return SAID_NOTHING;
}

static enum said take_work(struct options *o)
{
    for (size_t i = 1; i < sizeof WORK_NAMES / sizeof *WORK_NAMES; i++) {
        if (strcmp(optarg, WORK_NAMES[i]) == 0) {
            o->work = (enum work)i;
            return SAID_NOTHING;
        }
    }
    return wrong("--work \"%s\": must be full, resumed, round-trip, up, down or idle", optarg);
}

static enum said take_pids(struct options *o)
{
    char *rest = NULL;
    for (char *one = strtok_r(optarg, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        uint64_t pid = 0;
        if (o->pid_count == PIDS_MAX) {
            return wrong("--pid: at most %d", PIDS_MAX);
        }
        if (!parse_u64(one, INT32_MAX, &pid) || pid == 0) {
            return wrong("--pid \"%s\": must be a process ID", one);
        }
        o->pids[o->pid_count++] = (int)pid;
    }
    return SAID_NOTHING;
}

static enum said take_text(const char **out)
{
    *out = optarg;
    return SAID_NOTHING;
}

static enum said take_flag(bool *out)
{
    *out = true;
    return SAID_NOTHING;
}

static enum said take_of_tls(struct options *o, enum option_id id)
{
    if (id == OPTION_CERTIFICATE) {
        return take_text(&o->certificate);
    }
    if (id == OPTION_KEY) {
        return take_text(&o->key);
    }
    if (id == OPTION_BUNDLE) {
        return take_text(&o->bundle);
    }
    if (id == OPTION_EXPECT) {
        return take_text(&o->expect);
    }
    if (id == OPTION_GROUPS) {
        return take_text(&o->groups);
    }
    if (id == OPTION_TICKETS) {
        return o->verb == VERB_BACKEND ? take_unsigned("tickets", 0, 16, &o->tickets)
                                       : wrong("--tickets is the backend's");
    }
    return take_flag(id == OPTION_TLS12 ? &o->tls12 : &o->tls);
}

static enum said take_of_window(struct options *o, enum option_id id)
{
    if (id == OPTION_SECONDS) {
        return take_number("seconds", 0.01, 86400, &o->seconds);
    }
    if (id == OPTION_WARM_UP) {
        return take_number("warm-up", 0, 3600, &o->warm_up);
    }
    if (id == OPTION_COUNT) {
        return take_u64("count", 1, UINT32_MAX, &o->count);
    }
    if (id == OPTION_RATE) {
        return take_number("rate", 0.1, 1e6, &o->rate);
    }
    return take_pids(o);
}

static enum said take_option(struct options *o, enum option_id id)
{
    switch (id) {
    case OPTION_LISTEN:
        return o->verb == VERB_BACKEND ? take_address("listen", &o->address)
                                       : wrong("--listen is the backend's");
    case OPTION_CONNECT:
        return o->verb == VERB_CLIENT ? take_address("connect", &o->address)
                                      : wrong("--connect is the client's");
    case OPTION_TLS:
    case OPTION_TLS12:
    case OPTION_CERTIFICATE:
    case OPTION_KEY:
    case OPTION_BUNDLE:
    case OPTION_EXPECT:
    case OPTION_GROUPS:
    case OPTION_TICKETS:
        return take_of_tls(o, id);
    case OPTION_CONGESTION:
        return take_text(&o->congestion);
    case OPTION_WORK:
        return take_work(o);
    case OPTION_CONNECTIONS:
        return take_unsigned("connections", 1, CONNECTIONS_MAX, &o->connections);
    case OPTION_SOURCES:
        return take_unsigned("sources", 1, SOURCES_MAX, &o->sources);
    case OPTION_SIZE:
        return take_u64("size", 1, UINT64_MAX / 4, &o->size);
    case OPTION_SECONDS:
    case OPTION_WARM_UP:
    case OPTION_COUNT:
    case OPTION_RATE:
    case OPTION_PID:
        return take_of_window(o, id);
    case OPTION_HELP:
        fputs(USAGE, stdout);
        return SAID_HELP;
    }
    return wrong("unknown option"); /* getopt has named it */
}

static enum said check_tls(const struct options *o)
{
    bool complete = o->certificate && o->key && o->bundle;
    bool any = o->certificate || o->key || o->bundle || o->expect || o->groups || o->tls12;
    if (o->tls && !complete) {
        return wrong("--tls needs --certificate, --key and --bundle");
    }
    if (!o->tls && any) {
        return wrong("--certificate, --key, --bundle, --expect, --groups and --tls12 need --tls");
    }
    return SAID_NOTHING;
}

static enum said check_client(const struct options *o)
{
    if (o->work == WORK_NONE) {
        return wrong("a client needs --work");
    }
    if (o->work == WORK_RESUMED && !o->tls) {
        return wrong("--work resumed needs --tls");
    }
    if (o->rate > 0 && work_keeps(o->work)) {
        return wrong("--rate goes with --work full and resumed");
    }
    if (o->count > 0 && (o->seconds > 0 || o->warm_up >= 0)) {
        return wrong("--count goes without --seconds and --warm-up");
    }
    if (o->work == WORK_ROUND_TRIP && o->size > ROUND_TRIP_SIZE_MAX) {
        return wrong("--size of a round trip is at most %d", ROUND_TRIP_SIZE_MAX);
    }
    return SAID_NOTHING;
}

static enum said check(const struct options *o)
{
    if (o->address.len == 0) {
        return o->verb == VERB_BACKEND ? wrong("a backend needs --listen")
                                       : wrong("a client needs --connect");
    }
    enum said said = check_tls(o);
    if (said != SAID_NOTHING || o->verb == VERB_BACKEND) {
        return said;
    }
    return check_client(o);
}

static void set_defaults(struct options *o)
{
    if (o->connections == 0) {
        o->connections = o->rate > 0 ? RATE_CONNECTIONS : 1;
    }
    if (o->size == 0) {
        o->size = work_is_bulk(o->work) ? UINT64_C(256) << 20 : 64;
    }
    if (o->seconds <= 0) {
        o->seconds = 3;
    }
    if (o->warm_up < 0) {
        o->warm_up = o->count > 0 ? 0 : 0.3;
    }
    if (!o->groups) {
        /* TLS 1.2 has the certificate's curve in the same list. */
        o->groups = o->tls12 ? "X25519:P-256" : "X25519";
    }
}

enum said options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.warm_up = -1, .sources = 16, .tickets = 1};
    if (argc >= 2 && strcmp(argv[1], "backend") == 0) {
        o->verb = VERB_BACKEND;
    } else if (argc >= 2 && strcmp(argv[1], "client") == 0) {
        o->verb = VERB_CLIENT;
    } else if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(USAGE, stdout);
        return SAID_HELP;
    } else {
        return wrong("the first argument must be \"backend\" or \"client\"");
    }
    optind = 2;
    int id;
    while ((id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        enum said said = id == '?' ? wrong("unknown option") : take_option(o, (enum option_id)id);
        if (said != SAID_NOTHING) {
            return said;
        }
    }
    if (optind < argc) {
        return wrong("\"%s\": not an option", argv[optind]);
    }
    enum said said = check(o);
    if (said == SAID_NOTHING) {
        set_defaults(o);
    }
    return said;
}
