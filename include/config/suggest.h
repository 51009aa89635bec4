/*
 * suggest: the nearest known word for a misspelt one. Pure; cold path.
 */
#ifndef BULKHEAD_CONFIG_SUGGEST_H
#define BULKHEAD_CONFIG_SUGGEST_H

#include <stddef.h>

/*
 * Keeps the nearest of the words that it is shown, by insertions, deletions, substitutions and
 * swaps of neighbours; at most two of them, and at most half of the longer word.
 */
struct suggest {
    const char *word;
    const char *best; /* NULL: nothing near */
    unsigned distance;
};

void suggest_init(struct suggest *suggest, const char *word);
void suggest_consider(struct suggest *suggest, const char *candidate);

#endif
