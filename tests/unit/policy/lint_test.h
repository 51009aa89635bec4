/* lint_test: what lint says of the text of a configuration, for tests. */
#ifndef BULKHEAD_TESTS_UNIT_POLICY_LINT_TEST_H
#define BULKHEAD_TESTS_UNIT_POLICY_LINT_TEST_H

#include "policy/lint.h"

#include "base/memory.h"
#include "unit/policy/policy_text.h"

#define EXPECT "spiffe://a.example/pay"

/* What lint says alone. */
static inline struct text_policy lint_of(const char *text, int64_t now_s, enum lint_scope scope)
{
    struct text_policy p = policy_of(text);
    assert_non_null(p.policy);
    diag_list_fini(&p.diags);
    diag_list_init(&p.diags);
    (void)diag_add_file(&p.diags, "f");
    lint_run(p.policy, now_s, scope, &p.diags);
    assert_int_equal(p.diags.error_count, 0);
    diag_sort(&p.diags);
    return p;
}

/* Each line begins as wanted, in order; NULL ends them. */
static inline void assert_lint(const char *text, int64_t now_s, enum lint_scope scope,
                               const char *const *wanted)
{
    struct text_policy p = lint_of(text, now_s, scope);
    assert_says(&p, wanted);
    policy_end(&p);
}

/* The same without the notes, for `check`. */
static inline void assert_warnings(const char *text, int64_t now_s, const char *const *wanted)
{
    struct text_policy p = lint_of(text, now_s, LINT_CHECK);
    size_t kept = 0;
    for (size_t i = 0; i < p.diags.count; i++) {
        if (p.diags.items[i].severity == DIAG_NOTE) {
            mem_free(p.diags.items[i].message);
        } else {
            p.diags.items[kept++] = p.diags.items[i];
        }
    }
    p.diags.count = kept;
    assert_says(&p, wanted);
    policy_end(&p);
}

#endif
