/* For the tests of config/: cmocka, and a comparison of all diagnostics with a list of lines. */
#ifndef BULKHEAD_TESTS_UNIT_CONFIG_CONFIG_TEST_H
#define BULKHEAD_TESTS_UNIT_CONFIG_CONFIG_TEST_H

#include "config/config.h"
#include "config/diag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { WANTED_MAX = 10 };

/* Each wanted line is the beginning of "file:line:column: error: message"; NULL ends the list. */
static inline void assert_diags(const struct diag_list *diags, const char *const wanted[WANTED_MAX])
{
    size_t count = 0;
    while (count < WANTED_MAX && wanted[count] != NULL) {
        count++;
    }
    for (size_t i = 0; i < diags->count; i++) {
        char text[1024];
        diag_format(diags, &diags->items[i], text, sizeof text);
        if (i >= count || strncmp(text, wanted[i], strlen(wanted[i])) != 0) {
            print_message("is      %s\nwanted  %s\n", text, i < count ? wanted[i] : "nothing");
            fail();
        }
    }
    if (diags->count < count) {
        print_message("missing %s\n", wanted[diags->count]);
    }
    assert_int_equal(diags->count, count);
}

#endif
