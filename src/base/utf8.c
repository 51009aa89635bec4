/*
 * utf8: the table of well-formed sequences (RFC 3629 4) as bounds for the second byte, which is
 * the only one whose range depends on the first.
 */
#include "base/utf8.h"

#include "base/assert.h"

struct form {
    uint8_t first_min, first_max;
    uint8_t second_min, second_max;
    uint8_t len;
    uint8_t first_mask;
};

static const struct form forms[] = {
    {0xC2, 0xDF, 0x80, 0xBF, 2, 0x1F}, /* C0 and C1 would be overlong */
    {0xE0, 0xE0, 0xA0, 0xBF, 3, 0x0F}, /* below A0: overlong */
    {0xE1, 0xEC, 0x80, 0xBF, 3, 0x0F},
    {0xED, 0xED, 0x80, 0x9F, 3, 0x0F}, /* above 9F: surrogates */
    {0xEE, 0xEF, 0x80, 0xBF, 3, 0x0F},
    {0xF0, 0xF0, 0x90, 0xBF, 4, 0x07}, /* below 90: overlong */
    {0xF1, 0xF3, 0x80, 0xBF, 4, 0x07},
    {0xF4, 0xF4, 0x80, 0x8F, 4, 0x07}, /* above 8F: over U+10FFFF */
};

static const struct form *form_of(uint8_t first)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (first >= forms[i].first_min && first <= forms[i].first_max) {
            return &forms[i];
        }
    }
    return NULL;
}

size_t utf8_decode(const char *text, size_t len, uint32_t *code)
{
    ASSERT(len > 0);
    uint8_t first = (uint8_t)text[0];
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    const struct form *form = form_of(first);
    if (form == NULL || len < form->len) {
        return 0;
    }
    uint8_t second = (uint8_t)text[1];
    if (second < form->second_min || second > form->second_max) {
        return 0;
    }
    uint32_t made = first & form->first_mask;
    for (size_t i = 1; i < form->len; i++) {
        uint8_t byte = (uint8_t)text[i];
        if ((byte & 0xC0) != 0x80) {
            return 0;
        }
        made = (made << 6) | (byte & 0x3FU);
    }
    *code = made;
    return form->len;
}

bool utf8_is_deceptive(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code <= 0x9F) /* C0, DEL, C1 */
           || code == 0x061C || code == 0x00AD || (code >= 0x200B && code <= 0x200F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
           code == 0xFEFF;
}
