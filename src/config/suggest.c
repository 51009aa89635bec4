/*
 * Optimal string alignment distance (Damerau-Levenshtein in which a swapped pair isn't edited
 * again), three rows of the usual matrix. Words longer than any key of ours are not compared.
 */
#include "config/suggest.h"

#include <string.h>

enum { MAX_WORD = 63, MAX_DISTANCE = 2 };

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned distance_between(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned rows[3][MAX_WORD + 1] = {{0}};
    unsigned *before = rows[0];
    unsigned *above = rows[1];
    unsigned *row = rows[2];
    for (size_t j = 0; j <= b_len; j++) {
        above[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned substitute = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least(least(above[j], row[j - 1]) + 1, substitute);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = least(row[j], before[j - 2] + 1);
            }
        }
        unsigned *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

void suggest_init(struct suggest *suggest, const char *word)
{
    *suggest = (struct suggest){.word = word, .distance = MAX_DISTANCE + 1};
}

void suggest_consider(struct suggest *suggest, const char *candidate)
{
    size_t word_len = strlen(suggest->word);
    size_t len = strlen(candidate);
    if (word_len > MAX_WORD || len > MAX_WORD) {
        return;
    }
    unsigned distance = distance_between(suggest->word, word_len, candidate, len);
    size_t longer = word_len > len ? word_len : len;
    if (distance < suggest->distance && (size_t)distance * 2 <= longer) {
        suggest->best = candidate;
        suggest->distance = distance;
    }
}
