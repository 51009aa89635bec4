/*
 * libcrypto brings the file in, and carries on where a provider can't be loaded; so the text is
 * looked through once more for the providers that must be there.
 */
#include "crypto_host.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>

#include "base/memory.h"

/* 0 with NULL: there is none, and none was asked for. */
static int find_file(char **path, struct errbuf *err)
{
    char *found = CONF_get1_default_config_file();
    *path = NULL;
    if (found == NULL) {
        errbuf_set(err, "the place of OpenSSL's configuration: memory is out");
        return -1;
    }
    int status = 0;
    if (found[0] == '\0') {
        status = 0;
    } else if (access(found, R_OK) == 0) {
        *path = mem_strdup(found);
    } else if (errno != ENOENT || secure_getenv("OPENSSL_CONF") != NULL) {
        errbuf_set_errno(err, "OpenSSL's configuration \"%s\"", found);
        status = -1;
    }
    OPENSSL_free(found);
    return status;
}

/* To OpenSSL 3.0 any value means yes, to later ones these do. */
static bool is_yes(const char *value)
{
    static const char *const YES[] = {"1", "yes", "true", "on"};
    for (size_t i = 0; value != NULL && i < sizeof(YES) / sizeof(YES[0]); i++) {
        if (OPENSSL_strcasecmp(value, YES[i]) == 0) {
            return true;
        }
    }
    return false;
}

static CONF *read_text(const char *path)
{
    CONF *conf = NCONF_new(NULL);
    if (conf != NULL && NCONF_load(conf, path, NULL) != 1) {
        NCONF_free(conf);
        return NULL;
    }
    return conf;
}

static const char *get(const CONF *conf, const char *section, const char *name)
{
    return section != NULL ? NCONF_get_string(conf, section, name) : NULL;
}

/* Every provider that the file activates is there. */
static int check_providers(OSSL_LIB_CTX *libctx, const CONF *conf, struct errbuf *err)
{
    const char *section = get(conf, NCONF_get_string(conf, NULL, "openssl_conf"), "providers");
    const STACK_OF(CONF_VALUE) *values = section != NULL ? NCONF_get_section(conf, section) : NULL;
    for (int i = 0; values != NULL && i < sk_CONF_VALUE_num(values); i++) {
        const CONF_VALUE *value = sk_CONF_VALUE_value(values, i);
        const char *identity = get(conf, value->value, "identity");
        const char *name = identity != NULL ? identity : value->name;
        if (is_yes(get(conf, value->value, "activate")) &&
            OSSL_PROVIDER_available(libctx, name) != 1) {
            errbuf_set(err, "the provider \"%s\", which it activates, can't be loaded", name);
            return -1;
        }
    }
    return 0;
}

static int load_file(OSSL_LIB_CTX *libctx, const char *path, struct errbuf *err)
{
    if (OSSL_LIB_CTX_load_config(libctx, path) != 1) {
        const char *data = NULL;
        int flags = 0;
        unsigned long error = ERR_peek_error_all(NULL, NULL, NULL, &data, &flags);
        const char *why = ERR_reason_error_string(error);
        bool has_data = (flags & ERR_TXT_STRING) != 0 && data != NULL && data[0] != '\0';
        errbuf_set(err, "%s%s%s%s", why != NULL ? why : "unknown error", has_data ? " (" : "",
                   has_data ? data : "", has_data ? ")" : "");
        return -1;
    }
    ERR_set_mark(); /* a key that is not there is an error to libcrypto, and none to us */
    CONF *conf = read_text(path);
    int status = -1;
    if (conf == NULL) {
        errbuf_set(err, "it can't be read a second time");
    } else {
        status = check_providers(libctx, conf, err);
    }
    NCONF_free(conf);
    (void)ERR_pop_to_mark();
    return status;
}

int crypto_host_load(OSSL_LIB_CTX *libctx, char **path, struct errbuf *err)
{
    if (find_file(path, err) != 0) {
        return -1;
    }
    if (*path != NULL && load_file(libctx, *path, err) != 0) {
        errbuf_prefix(err, "OpenSSL's configuration \"%s\"", *path);
        mem_free(*path);
        *path = NULL;
        return -1;
    }
    return 0;
}

static enum crypto_fips look(const CONF *conf)
{
    const char *modules = NCONF_get_string(conf, NULL, "openssl_conf");
    const char *algorithms = get(conf, modules, "alg_section");
    const char *properties = get(conf, algorithms, "default_properties");
    if ((properties != NULL && strstr(properties, "fips=yes") != NULL) ||
        is_yes(get(conf, algorithms, "fips_mode"))) {
        return CRYPTO_FIPS_PROPERTIES;
    }
    const char *module = get(conf, get(conf, modules, "providers"), "fips");
    return is_yes(get(conf, module, "activate")) ? CRYPTO_FIPS_PROVIDER : CRYPTO_FIPS_NONE;
}

enum crypto_fips crypto_host_wants_fips(void)
{
    struct errbuf err;
    char *path = NULL;
    enum crypto_fips wants = CRYPTO_FIPS_NONE;
    if (find_file(&path, &err) != 0 || path == NULL) {
        return wants;
    }
    ERR_set_mark();
    CONF *conf = read_text(path);
    if (conf != NULL) {
        wants = look(conf);
    }
    NCONF_free(conf);
    (void)ERR_pop_to_mark();
    mem_free(path);
    return wants;
}
