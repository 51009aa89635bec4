/* Fuzz target: spiffe_id_parse against a naive checker that is written another way. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "spiffe/spiffe_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

#define DOMAIN_CHARS  "abcdefghijklmnopqrstuvwxyz0123456789._-"
#define SEGMENT_CHARS DOMAIN_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* The grammar of SPIFFE-ID 2 as a machine that sees one byte at a time. */
static bool naive_is_id(const char *text, size_t len, size_t *domain_end)
{
    static const char prefix[] = "spiffe://";
    size_t at = sizeof(prefix) - 1;
    if (len > 2048 || len <= at || memcmp(text, prefix, at) != 0) {
        return false;
    }
    while (at < len && is_one_of(text[at], DOMAIN_CHARS)) {
        at++;
    }
    *domain_end = at;
    if (at == sizeof(prefix) - 1 || at - (sizeof(prefix) - 1) > 255) {
        return false;
    }
    size_t segment_len = 1;
    size_t dots = 0;
    for (; at < len; at++) {
        if (text[at] == '/') {
            if (segment_len == 0 || (segment_len == dots && dots <= 2 && at != *domain_end)) {
                return false;
            }
            segment_len = 0;
            dots = 0;
        } else if (at == *domain_end || !is_one_of(text[at], SEGMENT_CHARS)) {
            return false;
        } else {
            segment_len++;
            dots += text[at] == '.';
        }
    }
    return len == *domain_end || (segment_len > 0 && !(segment_len == dots && dots <= 2));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strview text = {(const char *)data, size};
    struct spiffe_id id;
    const char *why = NULL;
    size_t domain_end = 0;
    bool accepted = spiffe_id_parse(text, &id, &why) == 0;
    ASSERT(accepted == naive_is_id(text.ptr, size, &domain_end));
    ASSERT(accepted || why != NULL);
    if (!accepted) {
        return 0;
    }
    ASSERT(id.text.ptr == text.ptr && id.text.len == size);
    ASSERT(id.trust_domain.ptr == text.ptr + SPIFFE_SCHEME_LEN);
    ASSERT(id.trust_domain.ptr + id.trust_domain.len == text.ptr + domain_end);
    ASSERT(id.path.ptr == text.ptr + domain_end && id.path.len == size - domain_end);
    ASSERT(spiffe_trust_domain_check(id.trust_domain, &why) == 0);

    /* The segments and their slashes are the path, whole. */
    size_t cursor = 0;
    size_t sum = 0;
    struct strview segment;
    while (spiffe_id_next_segment(&id, &cursor, &segment)) {
        ASSERT(segment.len > 0 && segment.ptr == id.path.ptr + sum + 1);
        sum += 1 + segment.len;
    }
    ASSERT(sum == id.path.len);
    return 0;
}
