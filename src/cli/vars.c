/* One array that grows; the names are copies, because the argument holds name and value. */
#include "cli/vars.h"

#include <stdio.h>
#include <string.h>

#include "base/errbuf.h"
#include "base/memory.h"
#include "config/variables.h"

bool vars_add(struct vars *vars, const char *command, const char *text)
{
    struct variables_option option;
    struct errbuf err;
    if (variables_option_parse(text, &option, &err) != 0) {
        fprintf(stderr, "bulkhead %s: --var %s; try: bulkhead %s --help\n", command, err.text,
                command);
        return false;
    }
    for (size_t i = 0; i < vars->count; i++) {
        if (strcmp(vars->items[i].name, option.name) == 0) {
            fprintf(stderr, "bulkhead %s: --var %s is given twice; try: bulkhead %s --help\n",
                    command, option.name, command);
            return false;
        }
    }
    size_t count = vars->count + 1;
    vars->items = mem_grow_array(vars->items, vars->count, count, sizeof(*vars->items));
    vars->names = mem_grow_array(vars->names, vars->count, count, sizeof(*vars->names));
    vars->names[vars->count] = mem_strdup(option.name);
    vars->items[vars->count] =
        (struct config_variable_value){.name = vars->names[vars->count], .value = option.value};
    vars->count = count;
    return true;
}

struct config_options vars_options(const struct vars *vars)
{
    return (struct config_options){.variables = vars->items, .variable_count = vars->count};
}

void vars_fini(struct vars *vars)
{
    for (size_t i = 0; i < vars->count; i++) {
        mem_free(vars->names[i]);
    }
    mem_free(vars->names);
    mem_free(vars->items);
    *vars = (struct vars){0};
}
