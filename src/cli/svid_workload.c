/*
 * One stream, and of it the first message; then everything in it is taken apart, each part by
 * itself, so that all faults are told at once; and at the end as a start would, all of it together.
 */
#include "cli/svid_workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "cli/ctl_table.h"
#include "cli/output.h"
#include "identity/workload_address.h"
#include "identity/workload_response.h"
#include "identity/workload_stream.h"
#include "identity/workload_update.h"
#include "net/loop.h"
#include "spiffe/crl.h"
#include "spiffe/crypto.h"
#include "spiffe/spiffe_id.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

enum { EXIT_GOOD = 0, EXIT_BROKEN = 1, EXIT_WRONG = 2 };
enum { JSON_SIZE = 4 * 1024 * 1024, TEXT_SIZE = 1200, ANSWER_MS = 10000 };

struct asking {
    const char *address;
    bool json;
    struct loop *loop;
    struct crypto *crypto;
    struct workload_response *response;
    char *buf; /* of JSON */
    struct json_writer w;
    bool sound;
    bool answered;
    bool from_agent; /* how the stream ended, when no answer came */
    enum workload_end end;
    enum grpc_status status;
    char why[TEXT_SIZE];
};

/* --- printing -------------------------------------------------------------------------------- */

static void copy(struct strview text, char out[TEXT_SIZE])
{
    size_t len = text.len < TEXT_SIZE - 1 ? text.len : TEXT_SIZE - 1;
    if (len > 0) {
        memcpy(out, text.ptr, len);
    }
    out[len] = '\0';
}

static void print_row(const char *name, const char *text)
{
    printf("  %-10s ", name);
    ctl_print_clean(text, stdout);
    putchar('\n');
}

static void print_validity(int64_t not_before, int64_t not_after)
{
    char from[CLOCK_TEXT_SIZE];
    char until[CLOCK_TEXT_SIZE];
    int64_t now = clock_wall_s();
    const char *note = now >= not_after ? ", expired" : now < not_before ? ", not yet" : "";
    printf("  %-10s %s to %s%s\n", "validity", clock_format_s(not_before, from),
           clock_format_s(not_after, until), note);
}

/* --- SVIDs ----------------------------------------------------------------------------------- */

static bool is_valid_now(const struct x509_svid *svid)
{
    int64_t now = clock_wall_s();
    return x509_svid_not_before(svid) <= now && now < x509_svid_not_after(svid);
}

static void print_svid(const struct workload_svid *svid, size_t index, const struct x509_svid *own,
                       const char *fault)
{
    char text[TEXT_SIZE];
    printf("SVID %zu%s:\n", index + 1, index == 0 ? " (the default)" : "");
    copy(svid->spiffe_id, text);
    print_row("SPIFFE ID", text);
    if (svid->hint.len > 0) {
        copy(svid->hint, text);
        print_row("hint", text);
    }
    if (own != NULL) {
        print_validity(x509_svid_not_before(own), x509_svid_not_after(own));
        print_row("key", x509_svid_key_algorithm(own));
        printf("  %-10s %zu certificate%s\n", "chain", 1 + x509_svid_intermediate_count(own),
               x509_svid_intermediate_count(own) == 0 ? "" : "s");
    }
    print_row(fault[0] != '\0' ? "broken" : "verdict",
              fault[0] != '\0' ? fault : "valid X509-SVID, its key belongs to it");
}

static void write_svid(struct json_writer *w, const struct workload_svid *svid,
                       const struct x509_svid *own, const char *fault)
{
    char time[CLOCK_TEXT_SIZE];
    json_object_begin(w);
    json_field_strview(w, "spiffe_id", svid->spiffe_id);
    json_field_strview(w, "hint", svid->hint);
    json_field_bool(w, "valid", fault[0] == '\0');
    json_field_string(w, "not_before",
                      own == NULL ? NULL : clock_format_s(x509_svid_not_before(own), time));
    json_field_string(w, "not_after",
                      own == NULL ? NULL : clock_format_s(x509_svid_not_after(own), time));
    json_field_string(w, "key", own == NULL ? NULL : x509_svid_key_algorithm(own));
    json_field_string(w, "broken", fault[0] == '\0' ? NULL : fault);
    json_object_end(w);
}

static void tell_svid(struct asking *asking, size_t index)
{
    const struct workload_svid *svid = &asking->response->svids[index];
    struct errbuf err = {""};
    struct x509_svid *own = x509_svid_from_der(asking->crypto, svid->chain.ptr, svid->chain.len,
                                               svid->key.ptr, svid->key.len, &err);
    if (own != NULL && !strview_equal(x509_svid_id(own)->text, svid->spiffe_id)) {
        errbuf_set(&err, "the certificate has another ID, %.*s", (int)x509_svid_id(own)->text.len,
                   x509_svid_id(own)->text.ptr);
    } else if (own != NULL && !is_valid_now(own)) {
        errbuf_set(&err, "it is not valid now");
    }
    asking->sound = asking->sound && err.text[0] == '\0';
    if (asking->json) {
        write_svid(&asking->w, svid, own, err.text);
    } else {
        print_svid(svid, index, own, err.text);
    }
    x509_svid_unref(own);
}

/* --- bundles --------------------------------------------------------------------------------- */

static int64_t latest_end(const struct trust_bundle *bundle)
{
    int64_t latest = 0;
    for (size_t i = 0; i < trust_bundle_count(bundle); i++) {
        int64_t from = 0;
        int64_t until = 0;
        if (x509_svid_validity(trust_bundle_anchor(bundle, i), &from, &until) == 0 &&
            until > latest) {
            latest = until;
        }
    }
    return latest;
}

static void print_bundle(const char *domain, const char *whose, const struct trust_bundle *bundle,
                         const char *fault)
{
    char time[CLOCK_TEXT_SIZE];
    fputs("bundle of ", stdout);
    ctl_print_clean(domain, stdout);
    if (bundle == NULL) {
        printf(" (%s): broken: ", whose);
        ctl_print_clean(fault, stdout);
        putchar('\n');
        return;
    }
    size_t count = trust_bundle_count(bundle);
    printf(" (%s): %zu anchor%s", whose, count, count == 1 ? "" : "s");
    if (count > 0) {
        printf(", the last ends %s", clock_format_s(latest_end(bundle), time));
    } else {
        fputs(": nobody of it is trusted", stdout);
    }
    putchar('\n');
}

static void write_bundle(struct json_writer *w, const char *domain, const char *whose,
                         const struct trust_bundle *bundle, const char *fault)
{
    char time[CLOCK_TEXT_SIZE];
    json_object_begin(w);
    json_field_string(w, "trust_domain", domain);
    json_field_string(w, "of", whose);
    json_field_u64(w, "anchors", bundle == NULL ? 0 : trust_bundle_count(bundle));
    json_field_string(w, "not_after",
                      bundle == NULL || trust_bundle_count(bundle) == 0
                          ? NULL
                          : clock_format_s(latest_end(bundle), time));
    json_field_string(w, "broken", bundle == NULL ? fault : NULL);
    json_object_end(w);
}

/* id: of the trust domain, or of an SVID in it. */
static void tell_bundle(struct asking *asking, struct strview id_text, struct strview anchors,
                        const char *whose)
{
    struct spiffe_id id;
    struct errbuf err = {""};
    char name[TEXT_SIZE];
    const char *why = NULL;
    struct trust_bundle *bundle = NULL;
    if (spiffe_id_parse(id_text, &id, &why) != 0) {
        copy(id_text, name);
        errbuf_set(&err, "%s", why);
    } else {
        copy(id.trust_domain, name);
        bundle = trust_bundle_from_der(asking->crypto, name, anchors.ptr, anchors.len, &err);
    }
    asking->sound = asking->sound && bundle != NULL;
    if (asking->json) {
        write_bundle(&asking->w, name, whose, bundle, err.text);
    } else {
        print_bundle(name, whose, bundle, err.text);
    }
    trust_bundle_unref(bundle);
}

static void tell_bundles(struct asking *asking)
{
    const struct workload_response *response = asking->response;
    for (size_t i = 0; i < response->svid_count; i++) {
        const struct workload_svid *svid = &response->svids[i];
        bool told = false;
        for (size_t k = 0; k < i; k++) {
            told = told || strview_equal(response->svids[k].bundle, svid->bundle);
        }
        if (!told) {
            tell_bundle(asking, svid->spiffe_id, svid->bundle, "own");
        }
    }
    for (size_t i = 0; i < response->bundle_count; i++) {
        tell_bundle(asking, response->bundles[i].trust_domain, response->bundles[i].anchors,
                    "federated");
    }
}

static void tell_crls(struct asking *asking)
{
    const struct workload_response *response = asking->response;
    struct errbuf err = {""};
    struct crl_set *crls =
        crl_set_from_der(asking->crypto, response->crls, response->crl_count, &err);
    asking->sound = asking->sound && crls != NULL;
    if (asking->json) {
        json_field_u64(&asking->w, "crls", response->crl_count);
        json_field_string(&asking->w, "crls_broken", crls == NULL ? err.text : NULL);
    } else if (crls == NULL) {
        printf("CRLs: %zu, broken: ", response->crl_count);
        ctl_print_clean(err.text, stdout);
        putchar('\n');
    } else if (response->crl_count > 0) {
        printf("CRLs: %zu, certificates that they revoke: %zu\n", response->crl_count,
               crl_set_revoked_count(crls));
    }
    crl_set_unref(crls);
}

/* --- all of it together ---------------------------------------------------------------------- */

static void print_whole(const char *before, const char *text)
{
    fputs(before, stdout);
    ctl_print_clean(text, stdout);
    putchar('\n');
}

/* What a start without `identity.spiffe_id` and `identity.hint` would make of it. */
static void tell_whole(struct asking *asking)
{
    static const struct workload_choice any = {.spiffe_id = NULL, .hint = NULL};
    struct errbuf err = {""};
    struct workload_update *update =
        workload_update_new(asking->crypto, asking->response, &any, NULL, &err);
    const char *refused = update == NULL ? err.text : NULL;
    const char *note = update != NULL && update->note[0] != '\0' ? update->note : NULL;
    asking->sound = asking->sound && refused == NULL && note == NULL;
    if (asking->json) {
        json_field_string(&asking->w, "refused", refused);
        json_field_string(&asking->w, "note", note);
    } else if (refused != NULL) {
        print_whole("refused, nothing of this message counts: ", refused);
    } else if (note != NULL) {
        print_whole("note: ", note);
    }
    workload_update_unref(update);
}

/* --- the answer ------------------------------------------------------------------------------ */

static void tell_text(struct asking *asking)
{
    printf("%s gives this process:\n", asking->address);
    for (size_t i = 0; i < asking->response->svid_count; i++) {
        tell_svid(asking, i);
    }
    tell_bundles(asking);
    tell_crls(asking);
    tell_whole(asking);
}

static void tell_json(struct asking *asking)
{
    struct json_writer *w = &asking->w;
    json_writer_init(w, asking->buf, JSON_SIZE);
    json_object_begin(w);
    json_field_string(w, "address", asking->address);
    json_key(w, "svids");
    json_array_begin(w);
    for (size_t i = 0; i < asking->response->svid_count; i++) {
        tell_svid(asking, i);
    }
    json_array_end(w);
    json_key(w, "bundles");
    json_array_begin(w);
    tell_bundles(asking);
    json_array_end(w);
    tell_crls(asking);
    tell_whole(asking);
    json_field_bool(w, "valid", asking->sound);
    json_object_end(w);
    if (json_writer_finish(w) == 0) {
        fputs("bulkhead svid: the result is too large for JSON\n", stderr);
        asking->sound = false;
        return;
    }
    puts(asking->buf);
}

static bool on_message(void *arg, const uint8_t *message, size_t len)
{
    struct asking *asking = arg;
    struct errbuf err;
    loop_stop(asking->loop);
    if (asking->answered) {
        return true;
    }
    asking->answered = true;
    if (workload_response_decode(message, len, asking->response, &err) != 0) {
        fprintf(stderr, "bulkhead svid: %s: its message can't be used: %s\n", asking->address,
                err.text);
        return false;
    }
    asking->sound = true;
    if (asking->json) {
        tell_json(asking);
    } else {
        tell_text(asking);
    }
    return true;
}

static void on_end(void *arg, const struct workload_news *news)
{
    struct asking *asking = arg;
    if (!asking->answered) {
        asking->end = news->end;
        asking->status = news->status;
        asking->from_agent = news->from_agent;
        copy(news->text, asking->why);
    }
    loop_stop(asking->loop);
}

/* --- when it gives nothing ------------------------------------------------------------------- */

static void advise_entry(FILE *out)
{
    fprintf(
        out,
        "The agent knows no registration entry that fits this process (uid %u, gid %u). With "
        "SPIRE, one\nthat does, for example:\n"
        "  spire-server entry create -parentID spiffe://DOMAIN/NODE -spiffeID "
        "spiffe://DOMAIN/PATH \\\n"
        "      -selector unix:uid:%u\n"
        "The agent looks at who asks: run this as the user, and in the container, that bulkhead "
        "runs in.\nA new entry takes some seconds to arrive.\n",
        (unsigned)geteuid(), (unsigned)getegid(), (unsigned)geteuid());
}

static void advise(const struct asking *asking, FILE *out)
{
    if (asking->end == WORKLOAD_DENIED) {
        advise_entry(out);
    } else if (asking->end == WORKLOAD_GIVEN_UP) {
        fputs(
            "Whatever listens there is no SPIFFE Workload API: is it the agent's admin socket, or "
            "another service?\n",
            out);
    } else if (strstr(asking->why, strerror(EACCES)) != NULL) {
        fprintf(out,
                "This user (uid %u) may not open the socket: look at its mode and owner, and at "
                "those of the\ndirectories above it.\n",
                (unsigned)geteuid());
    } else if (!asking->from_agent) {
        fputs("Is the agent running, and is its socket at this place (in this container, too)?\n",
              out);
    }
}

static int tell_nothing(struct asking *asking)
{
    if (asking->json) {
        struct json_writer *w = &asking->w;
        json_writer_init(w, asking->buf, JSON_SIZE);
        json_object_begin(w);
        json_field_string(w, "address", asking->address);
        json_field_bool(w, "valid", false);
        json_field_string(w, "status", grpc_status_name(asking->status));
        json_field_string(w, "from", asking->from_agent ? "agent" : "here");
        json_field_string(w, "error", asking->why);
        json_object_end(w);
        if (json_writer_finish(w) != 0) {
            puts(asking->buf);
        }
    }
    fprintf(stderr, "bulkhead svid: %s gives nothing: %s: ", asking->address,
            grpc_status_name(asking->status));
    ctl_print_clean(asking->why, stderr);
    fputc('\n', stderr);
    advise(asking, stderr);
    return asking->end == WORKLOAD_DENIED ? EXIT_BROKEN : EXIT_WRONG;
}

/* --- asking ---------------------------------------------------------------------------------- */

static int ask(struct asking *asking, const struct netaddr *address)
{
    static const struct workload_handler handler = {.on_message = on_message, .on_end = on_end};
    struct workload_times times = workload_times_default;
    times.answer_ms = ANSWER_MS;
    struct workload_stream *stream =
        workload_stream_new(asking->loop, address, &times, &handler, asking);
    if (stream == NULL) {
        fputs("bulkhead svid: memory is out\n", stderr);
        return EXIT_WRONG;
    }
    loop_run(asking->loop);
    workload_stream_free(stream);
    if (!asking->answered) {
        return tell_nothing(asking);
    }
    return asking->sound ? EXIT_GOOD : EXIT_BROKEN;
}

static int ask_with_all(struct asking *asking, const struct netaddr *address)
{
    struct errbuf err;
    int code = EXIT_WRONG;
    asking->crypto = crypto_new(&err);
    asking->loop = asking->crypto == NULL ? NULL : loop_new(&err);
    if (asking->loop == NULL) {
        fprintf(stderr, "bulkhead svid: %s\n", err.text);
    } else {
        asking->response = mem_alloc(sizeof(*asking->response));
        asking->buf = mem_alloc(JSON_SIZE);
        code = ask(asking, address);
        mem_free(asking->response);
        mem_free(asking->buf);
    }
    loop_free(asking->loop);
    crypto_free(asking->crypto);
    return code;
}

int svid_workload(const char *address, bool json)
{
    struct asking asking = {.address = address, .json = json};
    struct netaddr parsed;
    const char *why = NULL;
    const char *where = address != NULL ? "" : WORKLOAD_ADDRESS_VARIABLE ": ";
    if (address == NULL) {
        asking.address = getenv(WORKLOAD_ADDRESS_VARIABLE);
    }
    if (asking.address == NULL) {
        fputs(
            "bulkhead svid: which Workload API? Give its address, or set " WORKLOAD_ADDRESS_VARIABLE
            "; try:\n  bulkhead svid --workload-api unix:///run/spire/agent.sock\n",
            stderr);
        return EXIT_WRONG;
    }
    if (!workload_address_parse(asking.address, &parsed, &why)) {
        fprintf(stderr, "bulkhead svid: %s\"", where);
        ctl_print_clean(asking.address, stderr);
        fprintf(stderr, "\": %s\n", why);
        return EXIT_WRONG;
    }
    return output_finish("svid", ask_with_all(&asking, &parsed));
}
