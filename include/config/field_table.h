/*
 * field_table: the keys of the configuration, one row each.
 *
 * The same rows make the decoder (config/decode.h), the reference and the JSON Schema
 * (tests/tools/config_reference.c). Constant data; any thread.
 */
#ifndef BULKHEAD_CONFIG_FIELD_TABLE_H
#define BULKHEAD_CONFIG_FIELD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
    FIELD_VERSION,  /* the number 1; stored nowhere */
    FIELD_STRING,   /* struct config_string */
    FIELD_NAME,     /* struct config_string: [a-z0-9][a-z0-9._-]{0,62} */
    FIELD_DNS_NAME, /* struct config_string */
    FIELD_WORD,     /* struct config_string: [a-z0-9_-]{1,15}, a name that the kernel knows */
    FIELD_ACCOUNT,  /* struct config_string: a user or group, by name or number */
    FIELD_PATH,     /* struct config_string, taken from the file's directory */
    FIELD_OUTPUT,   /* struct config_string: stdout, none or a path */
    FIELD_DURATION, /* uint64_t, milliseconds */
    FIELD_SIZE,     /* uint64_t, bytes */
    FIELD_COUNT,    /* uint64_t */
    FIELD_PERCENT,  /* uint64_t, written with a % sign */
    FIELD_BOOL,     /* bool */
    FIELD_CHOICE,   /* int or an enum */
    FIELD_SET,      /* unsigned: the values of the named choices, or-ed; one name or a list */
    FIELD_MODE,     /* uint32_t */
    FIELD_TIME,     /* struct config_time */
    FIELD_ACCEPT,   /* struct config_address */
    FIELD_FORWARD,  /* struct config_address */
    FIELD_LOCAL,    /* struct config_address: unix://, or tcp:// on the loopback */
    FIELD_STRINGS,  /* struct config_strings; max bounds the items */
    FIELD_STRUCT,   /* the fields of table, at offset */
    FIELD_LIST,     /* pointer at offset, size_t at count_offset; items of table */
    FIELD_MAP       /* the same; the key goes to table->key_offset */
};

struct field_choice {
    const char *name;
    int value;
};

struct field_table;

struct field {
    const char *name;
    enum field_type type;
    bool required;
    bool fixed;   /* can't change in a running process */
    bool zero_ok; /* 0 is allowed below min */
    bool remark;  /* for people: nothing is decided by it, so that a change of it is none */
    size_t offset;
    size_t count_offset;
    size_t pos_offset; /* of a struct config_pos: where the value stands; 0: not kept */
    /* Inclusive. For lists and maps min is the least number of items. max 0: no bound. */
    uint64_t min;
    uint64_t max;
    const char *default_text;           /* decoded like a value of the file */
    const char *default_note;           /* for people, where the default is no constant */
    const struct field_choice *choices; /* ends with a NULL name */
    const struct field_table *table;
    const char *sentence;
    const char *example;
};

struct field_table {
    const char *title;
    const struct field *fields;
    size_t count;
    size_t size;       /* of one item of a list or map */
    size_t key_offset; /* of the struct config_string of a map's key */
    size_t pos_offset; /* of a struct config_pos: where its keys stand; SIZE_MAX: not kept */
    /* Of a map: its keys are names, and each value is that of the table's one field, by itself. */
    bool bare;
    /* Keys that are known, but not here; elsewhere_note says so after the key's name. NULL: none */
    const struct field_table *elsewhere;
    const char *elsewhere_note;
};

/* The keys at the top of the file; base is struct config. */
const struct field_table *field_table_root(void);
/* The keys at the top of an included file; base is struct config too. */
const struct field_table *field_table_included(void);
/* What the default text of a FIELD_SET, "[a, b]", stands for. */
unsigned field_default_set(const struct field *field);
const struct field *field_table_find(const struct field_table *table, const char *name);

#endif
