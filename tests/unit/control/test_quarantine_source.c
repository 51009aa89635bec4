/* quarantine_source: what the lines of a file mean, what is told of those that mean nothing, and
   what stays in force. */
#include "unit/net/net_test.h"

#include <sys/stat.h>

#include "base/memory.h"
#include "config/config.h"
#include "control/material.h"
#include "control/quarantine_source.h"
#include "policy/quarantine.h"

#define WEB   "spiffe://prod.example/ns/shop/sa/web"
#define WIKI  "spiffe://prod.example/ns/shop/sa/wiki"
#define PRINT "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

struct scene {
    char path[64];
    struct config_trust trust;
    struct config config;
    struct diag_list diags;
};

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){.path = "/tmp/bulkhead-test-XXXXXX"};
    int fd = mkstemp(scene->path);
    assert_return_code(fd, errno);
    (void)close(fd);
    scene->trust.domain.text = (char *)(uintptr_t) "prod.example";
    scene->config.trust = &scene->trust;
    scene->config.trust_count = 1;
    scene->config.quarantine_file.text = scene->path;
    diag_list_init(&scene->diags);
    (void)diag_add_file(&scene->diags, "main");
}

static void scene_fini(struct scene *scene)
{
    (void)unlink(scene->path);
    (void)rmdir(scene->path);
    diag_list_fini(&scene->diags);
}

static void write_file(const struct scene *scene, const char *text, size_t len)
{
    int fd = open(scene->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_return_code(fd, errno);
    assert_int_equal(write(fd, text, len), len);
    (void)close(fd);
}

struct row {
    const char *text;
    size_t entries;
    size_t errors;
    size_t warnings;
    const char *said; /* in the first message; or NULL */
};

static const struct row rows[] = {
    {"", 0, 0, 0, NULL},
    {"\n\n", 0, 0, 0, NULL},
    {"# nobody\n", 0, 0, 0, NULL},
    {WEB, 1, 0, 0, NULL},
    {WEB "\n" WIKI "\n", 2, 0, 0, NULL},
    {WEB "\r\n" WIKI "\r\n", 2, 0, 0, NULL},
    {"\xef\xbb\xbf" WEB "\n", 1, 0, 0, NULL},
    {"  \t" WEB "  # taken over on Monday\n#" WIKI "\n", 1, 0, 0, NULL},
    {WEB "\n" WEB "\n", 1, 0, 0, NULL},
    {PRINT "\nspiffe://prod.example/ns/*/sa/**\n", 2, 0, 0, NULL},
    /* Wrong lines keep none of the others out. */
    {"spiffe:/x\n" WEB "\n", 1, 1, 0, ":1:1: error: quarantine_file: \"spiffe:/x\": "},
    {WEB "\n\n  sha256:12\n" WIKI "\n", 2, 1, 0, ":3:3: error: quarantine_file: \"sha256:12\": "},
    {WEB "#" WIKI "\n", 0, 1, 0, "#"},
    {WEB " " WIKI "\n", 0, 1, 0, "error: quarantine_file"},
    {"- " WEB "\n" WIKI "\n", 1, 1, 0, "without \"-\""},
    {"\"" WEB "\"\n", 0, 1, 0, "without quotes"},
    {"quarantine: [" WEB "]\n", 0, 1, 0, "error: quarantine_file"},
    {"spiffe://prod.example\n", 0, 1, 0, "error: quarantine_file"},
    {"spiffe://*/web\n", 0, 1, 0, "error: quarantine_file"},
    {"group:storefront\n", 0, 1, 0, "error: quarantine_file"},
    {"spiffe://prod.exmaple/ns/shop/sa/web\n" WIKI, 2, 0, 1, "holds nobody"},
};

static void assert_said(const struct scene *scene, const char *text)
{
    char line[2048];
    assert_true(scene->diags.count > 0);
    diag_format(&scene->diags, &scene->diags.items[0], line, sizeof(line));
    if (strstr(line, text) == NULL) {
        fail_msg("no %s in %s", text, line);
    }
}

static void test_quarantine_file_of_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scene scene;
        bool broken = false;
        scene_init(&scene);
        write_file(&scene, rows[i].text, strlen(rows[i].text));
        struct quarantine *set =
            quarantine_source_file(&scene.config, "; kept", &scene.diags, &broken);
        assert_non_null(set);
        if (quarantine_count(set) != rows[i].entries || scene.diags.error_count != rows[i].errors ||
            scene.diags.warning_count != rows[i].warnings || broken != (rows[i].errors > 0)) {
            fail_msg("row %zu: %zu entries, %zu errors, %zu warnings", i, quarantine_count(set),
                     scene.diags.error_count, scene.diags.warning_count);
        }
        if (rows[i].said != NULL) {
            assert_said(&scene, rows[i].said);
        }
        if (rows[i].errors > 0) {
            assert_said(&scene, "; kept");
        }
        quarantine_unref(set);
        scene_fini(&scene);
    }
}

static void test_quarantine_file_a_nul_byte_hides_nothing(void **state)
{
    (void)state;
    static const char text[] = WEB "\0" WIKI "\n" WIKI "\n";
    struct scene scene;
    bool broken = false;
    scene_init(&scene);
    write_file(&scene, text, sizeof(text) - 1);
    struct quarantine *set = quarantine_source_file(&scene.config, "", &scene.diags, &broken);
    assert_true(broken);
    assert_int_equal(quarantine_count(set), 1);
    assert_string_equal(quarantine_entry(set, 0), WIKI);
    assert_said(&scene, "NUL");
    quarantine_unref(set);
    scene_fini(&scene);
}

/* A million wrong lines are not a million messages. */
static void test_quarantine_file_messages_are_bounded(void **state)
{
    (void)state;
    struct scene scene;
    bool broken = false;
    scene_init(&scene);
    char text[4096];
    size_t len = 0;
    for (int i = 0; i < 400; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "wrong\n");
    }
    write_file(&scene, text, len);
    struct quarantine *set = quarantine_source_file(&scene.config, "", &scene.diags, &broken);
    assert_int_equal(scene.diags.error_count, 21);
    assert_non_null(strstr(scene.diags.items[20].message, "380 more"));
    quarantine_unref(set);
    scene_fini(&scene);
}

static void make_directory(const struct scene *scene)
{
    assert_return_code(unlink(scene->path), errno);
    assert_return_code(mkdir(scene->path, 0700), errno);
}

static void remove_file(const struct scene *scene)
{
    assert_return_code(unlink(scene->path), errno);
}

static void make_huge(const struct scene *scene)
{
    assert_return_code(truncate(scene->path, QUARANTINE_FILE_MAX_BYTES + 1), errno);
}

static void (*const unreadable[])(const struct scene *) = {make_directory, remove_file, make_huge};

static void test_quarantine_file_that_cannot_be_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(unreadable) / sizeof(unreadable[0]); i++) {
        struct scene scene;
        bool broken = false;
        scene_init(&scene);
        unreadable[i](&scene);
        assert_null(quarantine_source_file(&scene.config, "; kept", &scene.diags, &broken));
        assert_true(broken);
        assert_int_equal(scene.diags.error_count, 1);
        assert_said(&scene, scene.path);
        assert_said(&scene, "; kept");
        scene_fini(&scene);
    }
}

/* --- what is in force ------------------------------------------------------------------------ */

static struct quarantine *set_of(const char *first, const char *second)
{
    const char *entries[] = {first, second};
    return quarantine_build(entries, (size_t)(first != NULL) + (size_t)(second != NULL));
}

static void assert_in_force(const struct material *material, const char *first, const char *second)
{
    struct quarantine *wanted = set_of(first, second);
    assert_true(quarantine_same(material->quarantine, wanted));
    quarantine_unref(wanted);
}

static void test_quarantine_both_sources_make_one(void **state)
{
    (void)state;
    struct scene scene;
    struct material *material = material_new(NULL);
    scene_init(&scene);
    write_file(&scene, WIKI "\n", strlen(WIKI "\n"));
    quarantine_source_bring(material, &scene.config, set_of(WEB, NULL), false, &scene.diags);
    assert_in_force(material, WEB, WIKI);
    struct quarantine *before = material->quarantine;
    /* The same again is the same object: nobody is judged for it. */
    quarantine_source_bring(material, &scene.config, set_of(WEB, NULL), false, &scene.diags);
    assert_ptr_equal(material->quarantine, before);
    write_file(&scene, "", 0); /* an empty file is a valid empty set */
    quarantine_source_bring(material, &scene.config, NULL, false, &scene.diags);
    assert_in_force(material, WEB, NULL);
    quarantine_source_bring(material, &scene.config, set_of(NULL, NULL), false, &scene.diags);
    assert_in_force(material, NULL, NULL);
    assert_int_equal(scene.diags.count, 0);
    material_free(material);
    scene_fini(&scene);
}

static void test_quarantine_what_is_refused_adds_and_removes_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct material *material = material_new(NULL);
    scene_init(&scene);
    quarantine_source_bring(material, &scene.config, set_of(WEB, NULL), false, &scene.diags);
    quarantine_source_bring(material, &scene.config, set_of(NULL, NULL), true, &scene.diags);
    assert_in_force(material, WEB, NULL);
    quarantine_source_bring(material, &scene.config, set_of(WIKI, NULL), true, &scene.diags);
    assert_in_force(material, WEB, WIKI);
    quarantine_source_bring(material, &scene.config, set_of(WIKI, NULL), false, &scene.diags);
    assert_in_force(material, WIKI, NULL);
    material_free(material);
    scene_fini(&scene);
}

static void test_quarantine_a_broken_file_adds_and_removes_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct material *material = material_new(NULL);
    scene_init(&scene);
    write_file(&scene, WEB "\n", strlen(WEB "\n"));
    quarantine_source_bring(material, &scene.config, set_of(NULL, NULL), false, &scene.diags);
    write_file(&scene, WIKI "\nwrong\n", strlen(WIKI "\nwrong\n"));
    quarantine_source_bring(material, &scene.config, NULL, false, &scene.diags);
    assert_in_force(material, WEB, WIKI);
    for (size_t i = 0; i < sizeof(unreadable) / sizeof(unreadable[0]); i++) {
        unreadable[i](&scene);
        quarantine_source_bring(material, &scene.config, NULL, false, &scene.diags);
        assert_in_force(material, WEB, WIKI);
        (void)rmdir(scene.path);
        write_file(&scene, "wrong\n", strlen("wrong\n"));
    }
    write_file(&scene, WIKI "\n", strlen(WIKI "\n"));
    quarantine_source_bring(material, &scene.config, NULL, false, &scene.diags);
    assert_in_force(material, WIKI, NULL);
    material_free(material);
    scene_fini(&scene);
}

/* What holds only in a candidate that is thrown away is added to what is in force. */
static void test_quarantine_of_a_candidate_is_added(void **state)
{
    (void)state;
    struct material *in_force = material_new(NULL);
    struct material *candidate = material_new(NULL);
    material_set_quarantine(in_force, set_of(WEB, NULL), set_of(NULL, NULL));
    material_set_quarantine(candidate, set_of(NULL, NULL), set_of(WIKI, NULL));
    material_add_quarantine(in_force, candidate);
    assert_in_force(in_force, WEB, WIKI);
    struct quarantine *before = in_force->quarantine;
    material_add_quarantine(in_force, candidate);
    assert_ptr_equal(in_force->quarantine, before);
    material_free(in_force);
    material_free(candidate);
}

static void test_quarantine_inline_entries(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    struct config_string items[] = {
        {(char *)(uintptr_t)WEB, {0, 3, 5}},
        {(char *)(uintptr_t) "spiffe://prod.example//x", {0, 4, 5}},
        {NULL, {0, 5, 5}}, /* could not be read as text, which was told */
        {(char *)(uintptr_t)WIKI, {0, 6, 5}},
    };
    scene.config.quarantine = (struct config_strings){.items = items, .count = 4};
    struct quarantine *set = quarantine_source_inline(&scene.config, &scene.diags);
    assert_int_equal(quarantine_count(set), 2);
    assert_int_equal(scene.diags.error_count, 1);
    assert_said(&scene, "main:4:5: error: quarantine: \"spiffe://prod.example//x\": ");
    quarantine_unref(set);
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quarantine_file_of_lines),
        cmocka_unit_test(test_quarantine_file_a_nul_byte_hides_nothing),
        cmocka_unit_test(test_quarantine_file_messages_are_bounded),
        cmocka_unit_test(test_quarantine_file_that_cannot_be_read),
        cmocka_unit_test(test_quarantine_both_sources_make_one),
        cmocka_unit_test(test_quarantine_what_is_refused_adds_and_removes_nothing),
        cmocka_unit_test(test_quarantine_a_broken_file_adds_and_removes_nothing),
        cmocka_unit_test(test_quarantine_of_a_candidate_is_added),
        cmocka_unit_test(test_quarantine_inline_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
