#include "base/pace.h"

bool pace_allows(struct pace *pace, uint64_t now_ms, uint64_t interval_ms, uint64_t *left_out)
{
    if (now_ms < pace->next_ms) {
        pace->left_out++;
        return false;
    }
    *left_out = pace->left_out;
    pace->left_out = 0;
    pace->next_ms = now_ms + interval_ms;
    return true;
}
