#include "admin_parameters.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "net/http_server.h"
#include "policy/id_pattern.h"

enum { STATUS_BAD = 400, WHY_SIZE = 256 };

bool admin_parameter_text(struct http_call *call, const char *name, char **out)
{
    char why[WHY_SIZE];
    const struct strview *value = http_request_parameter(http_call_request(call), name);
    *out = NULL;
    if (value == NULL) {
        return true;
    }
    /* None of them has an empty one; and a C string ends at a NUL. */
    if (value->len == 0 || memchr(value->ptr, '\0', value->len) != NULL) {
        (void)snprintf(why, sizeof(why), "%s must not be empty, nor hold a NUL", name);
        http_call_refuse(call, STATUS_BAD, why);
        return false;
    }
    *out = mem_strndup(value->ptr, value->len);
    return true;
}

bool admin_parameter_number(struct http_call *call, const char *name, uint64_t max, uint64_t *out)
{
    char why[WHY_SIZE];
    const struct strview *value = http_request_parameter(http_call_request(call), name);
    uint64_t number = 0;
    bool good = value == NULL || value->len > 0;
    for (size_t i = 0; value != NULL && good && i < value->len; i++) {
        uint64_t digit = (uint64_t)(value->ptr[i] - '0');
        good = value->ptr[i] >= '0' && value->ptr[i] <= '9' && number <= (max - digit) / 10;
        number = number * 10 + digit;
    }
    if (!good || (value != NULL && number == 0)) {
        (void)snprintf(why, sizeof(why), "%s must be a number from 1 to %llu", name,
                       (unsigned long long)max);
        http_call_refuse(call, STATUS_BAD, why);
        return false;
    }
    *out = value == NULL ? *out : number;
    return true;
}

bool admin_parameter_identity(struct http_call *call, char **text, struct id_pattern *pattern)
{
    const char *why = NULL;
    char sentence[WHY_SIZE];
    if (!admin_parameter_text(call, "identity", text)) {
        return false;
    }
    if (*text != NULL && id_pattern_parse(strview_from(*text), pattern, &why) != 0) {
        (void)snprintf(sentence, sizeof(sentence), "identity: %s", why);
        http_call_refuse(call, STATUS_BAD, sentence);
        return false;
    }
    return true;
}
