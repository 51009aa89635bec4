/*
 * assert: for what only our own bug can break; always on, in every build.
 *
 * Never for what a peer, a file or the kernel can cause. A failed ASSERT prints the expression,
 * file and line to stderr and aborts. Any thread.
 */
#ifndef BULKHEAD_BASE_ASSERT_H
#define BULKHEAD_BASE_ASSERT_H

_Noreturn void assert_failed(const char *expression, const char *file, int line,
                             const char *function);

#define ASSERT(expression) \
    ((expression) ? (void)0 : assert_failed(#expression, __FILE__, __LINE__, __func__))

/* For an object that comes back as void *: its first-class proof that it is what we think. */
#define CHECK_MAGIC(object, expected) ASSERT((object) != NULL && (object)->magic == (expected))

#endif
