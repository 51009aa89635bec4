#include "kernel.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 16384, NS_PER_S = 1000000000, COLUMN_STEAL = 8, SK_DROPS = 8 };

/* Files that are read again and again from their beginning. */
static int netstat_fd = -1, stat_fd = -1, own_fd = -1, diag_fd = -1;
static int thread_fds[KERNEL_THREADS_MAX], softirq_fds[KERNEL_CPUS_MAX];
static int threads, softirqs;
static int columns[KERNEL_COUNTER_COUNT]; /* of netstat's second line */

#define X(name) #name,
static const char *const counter_names[] = {KERNEL_COUNTERS(X)};
#undef X

const char *kernel_counter_name(enum kernel_counter counter)
{
    return counter_names[counter];
}

uint64_t kernel_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int must_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "mixed: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return fd;
}

static const char *read_again(int fd, char *text)
{
    ssize_t n = pread(fd, text, TEXT_MAX - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static bool is_number(const char *name)
{
    return isdigit((unsigned char)name[0]) != 0;
}

static void open_threads(pid_t pid)
{
    char path[512];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL && threads < KERNEL_THREADS_MAX) {
        if (is_number(entry->d_name)) {
            snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
            thread_fds[threads++] = must_open(path);
        }
    }
    if (dir == NULL || threads == 0) {
        fprintf(stderr, "mixed: no process %d\n", (int)pid);
        exit(1);
    }
    (void)closedir(dir);
}

/* What is left to ksoftirqd waits for its turn like any thread. Not seen in a container. */
static void open_softirqs(void)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL && softirqs < KERNEL_CPUS_MAX) {
        char path[512], text[TEXT_MAX];
        if (!is_number(entry->d_name)) {
            continue;
        }
        snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        bool ours = strncmp(read_again(fd, text), "ksoftirqd/", 10) == 0;
        (void)close(fd);
        if (ours) {
            snprintf(path, sizeof(path), "/proc/%s/schedstat", entry->d_name);
            softirq_fds[softirqs++] = must_open(path);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

static void find_columns(void)
{
    char text[TEXT_MAX];
    (void)read_again(netstat_fd, text);
    text[strcspn(text, "\n")] = '\0';
    char *rest = text;
    const char *word;
    for (int column = 0; (word = strsep(&rest, " ")) != NULL; column++) {
        for (int i = 0; i < KERNEL_COUNTER_COUNT; i++) {
            if (strcmp(word, counter_names[i]) == 0) {
                columns[i] = column;
            }
        }
    }
}

void kernel_open(pid_t bulkhead)
{
    netstat_fd = must_open("/proc/net/netstat");
    stat_fd = must_open("/proc/stat");
    own_fd = must_open("/proc/thread-self/schedstat");
    diag_fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (diag_fd < 0) {
        perror("mixed: sock_diag");
        exit(1);
    }
    open_threads(bulkhead);
    open_softirqs();
    find_columns();
}

/* The second of "ran waited slices". */
static uint64_t waited(int fd)
{
    char text[TEXT_MAX];
    const char *second = strchr(read_again(fd, text), ' ');
    return second != NULL ? strtoull(second, NULL, 10) : 0;
}

static void look_at_netstat(struct kernel_sample *sample)
{
    char text[TEXT_MAX];
    char *rest = strchr(read_again(netstat_fd, text), '\n');
    if (rest == NULL) {
        return;
    }
    rest++;
    rest[strcspn(rest, "\n")] = '\0';
    const char *word;
    for (int column = 0; (word = strsep(&rest, " ")) != NULL; column++) {
        for (int i = 0; i < KERNEL_COUNTER_COUNT; i++) {
            if (columns[i] == column && column > 0) {
                sample->counters[i] = strtoull(word, NULL, 10);
            }
        }
    }
}

static void look_at_cpus(struct kernel_sample *sample)
{
    char text[TEXT_MAX];
    char *rest = text;
    char *line;
    (void)read_again(stat_fd, text);
    uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
    for (int cpu = -1; cpu < KERNEL_CPUS_MAX && (line = strsep(&rest, "\n")) != NULL; cpu++) {
        if (strncmp(line, "cpu", 3) != 0) {
            return;
        }
        const char *word = line;
        for (int column = 0; column < COLUMN_STEAL && word != NULL; column++) {
            word = strchr(word, ' ');
            word = word != NULL ? word + strspn(word, " ") : NULL;
        }
        if (cpu >= 0 && word != NULL) {
            sample->stolen_ns[cpu] = strtoull(word, NULL, 10) * tick_ns;
        }
    }
}

void kernel_look(struct kernel_sample *sample)
{
    *sample = (struct kernel_sample){.at_ns = kernel_now_ns()};
    look_at_netstat(sample);
    look_at_cpus(sample);
    sample->own_waited_ns = waited(own_fd);
    for (int i = 0; i < threads; i++) {
        sample->waited_ns[i] = waited(thread_fds[i]);
    }
    for (int i = 0; i < softirqs; i++) {
        sample->softirq_ns[i] = waited(softirq_fds[i]);
    }
}

static bool ask(const struct sockaddr_in *local, const struct sockaddr_in *remote)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
    } request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST},
        .body = {.sdiag_family = AF_INET,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_ext = (1 << (INET_DIAG_INFO - 1)) | (1 << (INET_DIAG_SKMEMINFO - 1)),
                 .idiag_states = UINT32_MAX,
                 .id = {.idiag_sport = local->sin_port,
                        .idiag_dport = remote->sin_port,
                        .idiag_src = {local->sin_addr.s_addr},
                        .idiag_dst = {remote->sin_addr.s_addr},
                        .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
    };
    return send(diag_fd, &request, sizeof(request), 0) == (ssize_t)sizeof(request);
}

static void take_attribute(struct kernel_socket *socket, int type, const char *data, size_t len)
{
    if (type == INET_DIAG_INFO) {
        struct tcp_info info = {0};
        memcpy(&info, data, len < sizeof(info) ? len : sizeof(info));
        socket->retransmits = info.tcpi_total_retrans;
        socket->acked = info.tcpi_bytes_acked;
        socket->received = info.tcpi_bytes_received;
    } else if (type == INET_DIAG_SKMEMINFO) {
        uint32_t memory[SK_DROPS + 1] = {0};
        memcpy(memory, data, len < sizeof(memory) ? len : sizeof(memory));
        socket->drops = memory[SK_DROPS];
    }
}

static void take_attributes(struct kernel_socket *socket, const char *data, size_t len)
{
    struct rtattr attribute;
    while (len >= sizeof(attribute)) {
        memcpy(&attribute, data, sizeof(attribute));
        if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > len) {
            return;
        }
        take_attribute(socket, attribute.rta_type, data + RTA_LENGTH(0),
                       attribute.rta_len - RTA_LENGTH(0));
        size_t step = RTA_ALIGN(attribute.rta_len);
        step = step < len ? step : len;
        data += step;
        len -= step;
    }
}

void kernel_find(const struct sockaddr_in *local, const struct sockaddr_in *remote,
                 struct kernel_socket *socket)
{
    char buffer[8192];
    struct nlmsghdr header;
    struct inet_diag_msg message;
    const size_t before = NLMSG_LENGTH(sizeof(message));
    *socket = (struct kernel_socket){0};
    if (!ask(local, remote)) {
        return;
    }
    ssize_t got = recv(diag_fd, buffer, sizeof(buffer), 0);
    if (got < (ssize_t)before) {
        return;
    }
    memcpy(&header, buffer, sizeof(header));
    memcpy(&message, buffer + NLMSG_LENGTH(0), sizeof(message));
    if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || header.nlmsg_len > (size_t)got) {
        return; /* an error: there is no such socket */
    }
    *socket = (struct kernel_socket){
        .found = true,
        .receive_queue = message.idiag_rqueue,
        .send_queue = message.idiag_wqueue,
        .timer = message.idiag_timer,
        .tries = message.idiag_retrans,
    };
    take_attributes(socket, buffer + before, header.nlmsg_len - before);
}
