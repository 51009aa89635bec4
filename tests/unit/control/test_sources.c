/* sources: a start needs all of it; at a reload what is broken keeps its last good state, and what
   has not changed is the same object. */
#include "unit/tls/tls_test.h"

#include <sys/stat.h>

#include "config/config.h"
#include "control/sources.h"

static const char *const names[] = {"certificate", "key", "bundle", "config"};
enum { CERTIFICATE, KEY, BUNDLE, CONFIG, FILES };

struct fixture {
    struct crypto *crypto;
    struct identity anchor;
    struct identity own;
    struct sources *sources;
    struct diag_list diags;
    bool config_refused;
    char dir[32];
    char paths[FILES][64];
};

static void write_text(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_return_code(fd, errno);
    assert_int_equal(write(fd, text, len), len);
    assert_return_code(close(fd), errno);
}

static void write_bio(const char *path, BIO *bio)
{
    const char *text = NULL;
    size_t len = bio_text(bio, &text);
    write_text(path, text, len);
    BIO_free(bio);
}

static void write_certificate(const char *path, const struct identity *identity)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, identity->cert), 1);
    write_bio(path, bio);
}

static void write_own(struct fixture *f, const struct identity *identity)
{
    write_certificate(f->paths[CERTIFICATE], identity);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL), 1);
    write_bio(f->paths[KEY], bio);
}

static void write_config(struct fixture *f, const char *more)
{
    char text[1024];
    int len = snprintf(text, sizeof(text),
                       "version: 1\n"
                       "identity: {files: {certificate: certificate, private_key: key}}\n"
                       "trust: {" DOMAIN ": {bundle: bundle}}\n"
                       "listeners: [{name: in, accept: 'mtls://127.0.0.1:0',\n"
                       "  forward: 'tcp://127.0.0.1:9'}]\n%s",
                       more);
    write_text(f->paths[CONFIG], text, (size_t)len);
}

static void write_all(struct fixture *f)
{
    write_own(f, &f->own);
    write_certificate(f->paths[BUNDLE], &f->anchor);
    write_config(f, "");
}

static int fixture_new(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    struct errbuf err;
    f->crypto = test_crypto_new(&err); /* before the first certificate is made */
    assert_non_null(f->crypto);
    f->anchor = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
    f->own = make_identity(&f->anchor, OURS_ID, false, -HOUR, HOUR);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/bulkhead-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(f->paths[i], sizeof(f->paths[i]), "%s/%s", f->dir, names[i]);
    }
    write_all(f);
    f->sources = sources_new(f->paths[CONFIG], NULL, NULL);
    diag_list_init(&f->diags);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    struct fixture *f = *state;
    sources_free(f->sources);
    diag_list_fini(&f->diags);
    for (size_t i = 0; i < FILES; i++) {
        (void)unlink(f->paths[i]);
        (void)rmdir(f->paths[i]);
    }
    assert_return_code(rmdir(f->dir), errno);
    free_identity(&f->anchor);
    free_identity(&f->own);
    crypto_free(f->crypto);
    mem_free(f);
    return 0;
}

static const struct material *load(struct fixture *f)
{
    bool loaded = sources_load(f->sources, &f->diags);
    for (size_t i = 0; !loaded && i < f->diags.count; i++) {
        (void)fprintf(stderr, "%s\n", f->diags.items[i].message);
    }
    assert_true(loaded);
    return sources_in_force(f->sources);
}

static struct material *prepare(struct fixture *f)
{
    diag_list_fini(&f->diags);
    diag_list_init(&f->diags);
    const struct sources_request request = {.scope = SOURCES_ALL};
    return sources_prepare(f->sources, &request, &f->diags, &f->config_refused);
}

enum damage { MISSING, EMPTY, HALF, DIRECTORY, GARBAGE, DAMAGES };

static void damage(const char *path, enum damage kind)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, text, sizeof(text));
    assert_true(len > 0);
    (void)close(fd);
    switch (kind) {
    case MISSING:
        assert_return_code(unlink(path), errno);
        break;
    case EMPTY:
        write_text(path, "", 0);
        break;
    case HALF:
        write_text(path, text, (size_t)len / 2 - 7);
        break;
    case DIRECTORY:
        assert_return_code(unlink(path), errno);
        assert_return_code(mkdir(path, 0700), errno);
        break;
    case GARBAGE:
        write_text(path, "\0\xff: [", 6);
        break;
    case DAMAGES:
        break;
    }
}

static void test_sources_a_start_needs_every_file(void **state)
{
    struct fixture *f = *state;
    for (int file = 0; file < FILES; file++) {
        for (int kind = 0; kind < DAMAGES; kind++) {
            damage(f->paths[file], (enum damage)kind);
            assert_false(sources_load(f->sources, &f->diags));
            assert_true(diag_has_errors(&f->diags));
            assert_null(sources_in_force(f->sources));
            (void)rmdir(f->paths[file]);
            write_all(f);
            diag_list_fini(&f->diags);
            diag_list_init(&f->diags);
        }
    }
    (void)load(f);
}

static void test_sources_a_reload_keeps_what_is_broken(void **state)
{
    struct fixture *f = *state;
    const struct material *in_force = load(f);
    for (int file = 0; file < FILES; file++) {
        for (int kind = 0; kind < DAMAGES; kind++) {
            damage(f->paths[file], (enum damage)kind);
            struct material *candidate = prepare(f);
            assert_int_equal(f->diags.error_count, 1);
            assert_int_equal(f->config_refused, file == CONFIG);
            assert_true(material_same(in_force, candidate));
            material_free(candidate);
            (void)rmdir(f->paths[file]);
            write_all(f);
        }
    }
    struct material *candidate = prepare(f);
    assert_int_equal(f->diags.error_count, 0);
    assert_true(material_same(in_force, candidate));
    material_free(candidate);
}

static void test_sources_share_what_has_not_changed(void **state)
{
    struct fixture *f = *state;
    const struct material *in_force = load(f);
    write_config(f, "rules: [{name: a, from: 'spiffe://" DOMAIN "/**', to: in}]\n");
    struct material *candidate = prepare(f);
    assert_ptr_not_equal(candidate->setup, in_force->setup);
    assert_ptr_equal(candidate->credentials, in_force->credentials);
    assert_ptr_equal(candidate->own, in_force->own);
    sources_commit(f->sources, candidate);
    assert_ptr_equal(sources_in_force(f->sources), candidate);
    in_force = candidate;

    struct identity rotated = make_identity(&f->anchor, OURS_ID, false, -HOUR, HOUR);
    write_own(f, &rotated);
    candidate = prepare(f);
    assert_ptr_equal(candidate->setup, in_force->setup);
    assert_ptr_not_equal(candidate->credentials, in_force->credentials);
    assert_ptr_equal(candidate->domains[0].bundle, in_force->domains[0].bundle);
    assert_int_equal(candidate->identity_epoch, in_force->identity_epoch);
    assert_int_equal(credentials_generation(candidate->credentials), 2);
    material_free(candidate); /* thrown away: the next has the same number */
    candidate = prepare(f);
    assert_int_equal(credentials_generation(candidate->credentials), 2);
    sources_commit(f->sources, candidate);
    free_identity(&rotated);
}

static void test_sources_another_identity_of_ours(void **state)
{
    struct fixture *f = *state;
    const struct material *in_force = load(f);
    struct identity other =
        make_identity(&f->anchor, "spiffe://" DOMAIN "/other", false, -HOUR, HOUR);
    write_own(f, &other);
    struct material *candidate = prepare(f);
    assert_int_equal(candidate->identity_epoch, in_force->identity_epoch + 1);
    assert_int_equal(credentials_identity_epoch(candidate->credentials), candidate->identity_epoch);
    material_free(candidate);
    free_identity(&other);
}

/* A pair that doesn't match waits for its other half; an expired one is a mistake. */
static void test_sources_what_is_no_successor(void **state)
{
    struct fixture *f = *state;
    const struct material *in_force = load(f);
    struct identity rotated = make_identity(&f->anchor, OURS_ID, false, -HOUR, HOUR);
    struct identity expired = make_identity(&f->anchor, OURS_ID, false, -2 * HOUR, -HOUR);
    write_certificate(f->paths[CERTIFICATE], &rotated);
    struct material *candidate = prepare(f);
    assert_int_equal(f->diags.error_count, 1);
    assert_true(material_same(in_force, candidate));
    material_free(candidate);
    write_own(f, &expired);
    candidate = prepare(f);
    assert_int_equal(f->diags.error_count, 1);
    assert_true(material_same(in_force, candidate));
    material_free(candidate);
    free_identity(&rotated);
    free_identity(&expired);
}

/* An expired SVID starts, and is followed by anything that is not worse. */
static void test_sources_expiry_stops_no_start(void **state)
{
    struct fixture *f = *state;
    struct identity expired = make_identity(&f->anchor, OURS_ID, false, -2 * HOUR, -HOUR);
    write_own(f, &expired);
    const struct material *in_force = load(f);
    assert_int_equal(f->diags.error_count, 0);
    write_own(f, &f->own);
    struct material *candidate = prepare(f);
    assert_int_equal(f->diags.error_count, 0);
    assert_ptr_not_equal(candidate->own, in_force->own);
    material_free(candidate);
    free_identity(&expired);
}

struct asked {
    unsigned times;
    bool can;
};

static bool can_serve(void *arg, const struct setup *setup, struct diag_list *diags)
{
    struct asked *asked = arg;
    asked->times++;
    assert_non_null(setup);
    if (!asked->can) {
        diag_error(diags, (struct config_pos){0, 0, 0}, "an address is taken");
    }
    return asked->can;
}

static struct material *prepare_asking(struct fixture *f, struct asked *asked)
{
    const struct sources_request request = {
        .scope = SOURCES_ALL, .can_serve = can_serve, .arg = asked};
    diag_list_fini(&f->diags);
    diag_list_init(&f->diags);
    return sources_prepare(f->sources, &request, &f->diags, &f->config_refused);
}

/* A domain that only a configuration names which can't be served is not read, nor trusted. */
static void test_sources_a_setup_that_cannot_be_served(void **state)
{
    struct fixture *f = *state;
    const struct material *in_force = load(f);
    struct asked asked = {.can = false};
    struct material *candidate = prepare_asking(f, &asked);
    assert_int_equal(asked.times, 0); /* the one in force is being served */
    assert_false(f->config_refused);
    material_free(candidate);

    char text[512];
    int len = snprintf(text, sizeof(text),
                       "version: 1\n"
                       "identity: {files: {certificate: nowhere, private_key: key}}\n"
                       "trust: {" DOMAIN ": {bundle: bundle}, other.example: {bundle: nowhere}}\n"
                       "listeners: [{name: in, accept: 'mtls://127.0.0.1:0',\n"
                       "  forward: 'tcp://127.0.0.1:9'}]\n");
    write_text(f->paths[CONFIG], text, (size_t)len);
    candidate = prepare_asking(f, &asked);
    assert_int_equal(asked.times, 1);
    assert_true(f->config_refused);
    assert_int_equal(f->diags.error_count, 1);
    assert_true(material_same(in_force, candidate));
    assert_int_equal(candidate->domain_count, 1);
    material_free(candidate);

    asked.can = true;
    candidate = prepare_asking(f, &asked);
    assert_int_equal(asked.times, 2);
    assert_false(f->config_refused);
    assert_int_equal(f->diags.error_count, 2); /* both files of "nowhere" */
    assert_ptr_not_equal(candidate->setup, in_force->setup);
    material_free(candidate);
}

static void test_sources_credentials_alone(void **state)
{
    struct fixture *f = *state;
    const struct material *in_force = load(f);
    write_config(f, "not a key: [\n"); /* is not read */
    struct identity rotated = make_identity(&f->anchor, OURS_ID, false, -HOUR, HOUR);
    write_own(f, &rotated);
    diag_list_fini(&f->diags);
    diag_list_init(&f->diags);
    const struct sources_request request = {.scope = SOURCES_CREDENTIALS};
    struct material *candidate =
        sources_prepare(f->sources, &request, &f->diags, &f->config_refused);
    assert_int_equal(f->diags.error_count, 0);
    assert_false(f->config_refused);
    assert_ptr_equal(candidate->setup, in_force->setup);
    assert_ptr_not_equal(candidate->credentials, in_force->credentials);
    material_free(candidate);
    free_identity(&rotated);
}

#define RULE "rules: [{name: r, from: 'spiffe://" DOMAIN "/x', to: in}]\n"
#define GOOD "tests: [{from: 'spiffe://" DOMAIN "/x', to: in, decision: allow}]\n"
#define BAD  "tests: [{from: 'spiffe://" DOMAIN "/x', to: in, decision: deny}]\n"

/* A reload has rules that were good, a start has none. */
static void test_sources_a_failing_test_refuses_a_reload_alone(void **state)
{
    struct fixture *f = *state;
    write_config(f, RULE BAD);
    const struct material *in_force = load(f);
    assert_int_equal(f->diags.error_count, 0);
    assert_int_equal(f->diags.test_count, 1);
    assert_int_equal(in_force->failed_tests, 1);
    struct material *candidate = prepare(f);
    assert_true(f->config_refused);
    assert_int_equal(f->diags.test_count, 1);
    assert_int_equal(candidate->failed_tests, 1);
    material_free(candidate);
    write_config(f, RULE GOOD);
    candidate = prepare(f);
    assert_false(f->config_refused);
    assert_int_equal(candidate->failed_tests, 0);
    sources_commit(f->sources, candidate);
    in_force = sources_in_force(f->sources);
    write_config(f, BAD RULE);
    candidate = prepare(f);
    assert_true(f->config_refused);
    assert_ptr_equal(candidate->setup, in_force->setup);
    assert_int_equal(candidate->failed_tests, 0);
    material_free(candidate);
}

static void test_sources_a_failing_test_holds_no_other_source_back(void **state)
{
    struct fixture *f = *state;
    write_config(f, RULE GOOD);
    const struct material *in_force = load(f);
    struct identity rotated = make_identity(&f->anchor, OURS_ID, false, -HOUR, HOUR);
    write_own(f, &rotated);
    write_config(f, RULE BAD);
    struct material *candidate = prepare(f);
    assert_true(f->config_refused);
    assert_ptr_not_equal(candidate->credentials, in_force->credentials);
    material_free(candidate);
    free_identity(&rotated);
}

int main(void)
{
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, fixture_new, fixture_free)
    const struct CMUnitTest tests[] = {
        WITH_FILES(test_sources_a_start_needs_every_file),
        WITH_FILES(test_sources_a_reload_keeps_what_is_broken),
        WITH_FILES(test_sources_share_what_has_not_changed),
        WITH_FILES(test_sources_another_identity_of_ours),
        WITH_FILES(test_sources_what_is_no_successor),
        WITH_FILES(test_sources_expiry_stops_no_start),
        WITH_FILES(test_sources_a_setup_that_cannot_be_served),
        WITH_FILES(test_sources_credentials_alone),
        WITH_FILES(test_sources_a_failing_test_refuses_a_reload_alone),
        WITH_FILES(test_sources_a_failing_test_holds_no_other_source_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
