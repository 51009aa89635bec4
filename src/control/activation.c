#include "control/activation.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "environment.h"

/* SD_LISTEN_FDS_START. */
enum { FIRST = STDERR_FILENO + 1, MOST = 1024, NAMES_SIZE = 512 };

struct passed {
    char *name; /* NULL: it has none */
    bool taken;
};

struct activation {
    struct passed *sockets; /* descriptor FIRST + i */
    size_t count;
};

/* "a:b:c", as many as there are sockets. */
static int take_names(struct activation *activation, const char *names, struct errbuf *err)
{
    const char *at = names;
    for (size_t i = 0; i < activation->count; i++) {
        size_t len = strcspn(at, ":");
        bool last = at[len] == '\0';
        activation->sockets[i].name = mem_strndup(at, len);
        if (last != (i + 1 == activation->count)) {
            errbuf_set(err, "LISTEN_FDNAMES=\"%s\" has not as many names as LISTEN_FDS says: %zu",
                       names, activation->count);
            return -1;
        }
        at += len + 1;
    }
    return 0;
}

static int take_sockets(struct activation *activation, const char *pid, const char *fds,
                        const char *names, struct errbuf *err)
{
    uint64_t whose = 0;
    uint64_t count = 0;
    if (pid == NULL || fds == NULL) {
        return 0;
    }
    if (!environment_number(pid, &whose) || !environment_number(fds, &count) || count > MOST) {
        errbuf_set(err,
                   "LISTEN_PID=\"%s\", LISTEN_FDS=\"%s\": must be a process' number and that "
                   "of the sockets passed, %d at most",
                   pid, fds, MOST);
        return -1;
    }
    if (whose != (uint64_t)getpid()) {
        return 0;
    }
    for (int i = 0; i < (int)count; i++) {
        if (fcntl(FIRST + i, F_GETFD) < 0) { /* else it would come to be one of ours */
            errbuf_set(err, "LISTEN_FDS=\"%s\": descriptor %d is not open", fds, FIRST + i);
            return -1;
        }
    }
    activation->count = count;
    activation->sockets = mem_alloc_array(count + 1, sizeof(*activation->sockets));
    return names == NULL || count == 0 ? 0 : take_names(activation, names, err);
}

struct activation *activation_new(struct errbuf *err)
{
    struct activation *activation = mem_alloc(sizeof(*activation));
    char *pid = environment_take("LISTEN_PID");
    char *fds = environment_take("LISTEN_FDS");
    char *names = environment_take("LISTEN_FDNAMES");
    if (take_sockets(activation, pid, fds, names, err) != 0) {
        activation_free(activation);
        activation = NULL;
    }
    mem_free(pid);
    mem_free(fds);
    mem_free(names);
    return activation;
}

void activation_free(struct activation *activation)
{
    if (activation == NULL) {
        return;
    }
    for (size_t i = 0; i < activation->count; i++) {
        if (!activation->sockets[i].taken) {
            (void)close(FIRST + (int)i);
        }
        mem_free(activation->sockets[i].name);
    }
    mem_free(activation->sockets);
    mem_free(activation);
}

size_t activation_count(const struct activation *activation)
{
    return activation->count;
}

static bool has_name(const struct passed *passed, const char *name)
{
    return passed->name != NULL && strcmp(passed->name, name) == 0;
}

/* For messages: ""a", "b"". */
static void list_names(const struct activation *activation, char out[NAMES_SIZE])
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < activation->count && len < NAMES_SIZE; i++) {
        const char *name = activation->sockets[i].name;
        int added = snprintf(out + len, NAMES_SIZE - len, "%s\"%s\"", i == 0 ? "" : ", ",
                             name == NULL ? "" : name);
        len += added < 0 ? NAMES_SIZE : (size_t)added;
    }
}

static void explain_missing(const struct activation *activation, const char *name,
                            struct errbuf *err)
{
    char names[NAMES_SIZE];
    if (activation->count == 0) {
        errbuf_set(err,
                   "no socket \"%s\": none was passed to this process (LISTEN_FDS); it is started "
                   "by its .socket unit",
                   name);
        return;
    }
    list_names(activation, names);
    errbuf_set(err,
               "no socket \"%s\" was passed; there are %s: FileDescriptorName= in the .socket unit "
               "says the name",
               name, names);
}

int activation_take(struct activation *activation, const char *name, struct errbuf *err)
{
    struct passed *found = NULL;
    size_t alike = 0;
    size_t index = 0;
    for (size_t i = 0; i < activation->count; i++) {
        if (has_name(&activation->sockets[i], name)) {
            found = &activation->sockets[i];
            index = i;
            alike++;
        }
    }
    if (found == NULL) {
        explain_missing(activation, name, err);
    } else if (alike > 1) {
        errbuf_set(err,
                   "%zu sockets named \"%s\" were passed, and a listener has one: give each a "
                   ".socket unit of its own, with a FileDescriptorName=",
                   alike, name);
    } else if (found->taken) {
        errbuf_set(err,
                   "the socket \"%s\" was given up by an earlier reload: only a restart brings it "
                   "back",
                   name);
    } else {
        found->taken = true;
        return FIRST + (int)index;
    }
    return -1;
}

int activation_check_taken(const struct activation *activation, struct errbuf *err)
{
    for (size_t i = 0; i < activation->count; i++) {
        const struct passed *passed = &activation->sockets[i];
        if (passed->taken) {
            continue;
        }
        if (passed->name == NULL) {
            errbuf_set(err,
                       "a socket without a name was passed (descriptor %zu): say "
                       "FileDescriptorName= in its .socket unit",
                       i + FIRST);
        } else {
            errbuf_set(err,
                       "no listener takes the socket \"%s\" that was passed: write accept: "
                       "mtls://systemd:%s, or take it out of the .socket units",
                       passed->name, passed->name);
        }
        return -1;
    }
    return 0;
}
