/*
 * mailbox: a list under a mutex, and an eventfd that makes the loop look.
 *
 * Only the post that finds the list empty writes the eventfd: a burst wakes the loop once. The
 * handler gets a batch with the mutex open, so it may post here and elsewhere.
 */
#include "net/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"

enum { MAILBOX_MAGIC = 0x6d61696c };

struct mailbox {
    unsigned magic;
    int fd;
    struct io_watch *watch;
    mailbox_fn *fn;
    void *arg;
    bool handling;
    pthread_mutex_t mutex; /* over what follows */
    struct mailbox_message *first;
    struct mailbox_message *last;
};

static struct mailbox_message *take_all(struct mailbox *mailbox)
{
    (void)pthread_mutex_lock(&mailbox->mutex);
    struct mailbox_message *first = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = NULL;
    (void)pthread_mutex_unlock(&mailbox->mutex);
    return first;
}

static void handle_all(struct mailbox *mailbox)
{
    mailbox->handling = true;
    struct mailbox_message *message = take_all(mailbox);
    while (message != NULL) {
        struct mailbox_message *next = message->next;
        message->next = NULL;
        mailbox->fn(mailbox->arg, message);
        message = next;
    }
    mailbox->handling = false;
}

/* The counter is emptied before the list is taken: a post in between wakes the loop once too
   often, never once too seldom. */
static void on_wake(void *arg, unsigned events)
{
    struct mailbox *mailbox = arg;
    (void)events;
    CHECK_MAGIC(mailbox, MAILBOX_MAGIC);
    uint64_t count;
    ssize_t got = read(mailbox->fd, &count, sizeof(count));
    if (got < 0 && errno == EINTR) {
        return; /* still readable: the loop comes again */
    }
    handle_all(mailbox);
}

struct mailbox *mailbox_new(struct loop *loop, mailbox_fn *fn, void *arg, struct errbuf *err)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        errbuf_set_errno(err, "cannot make an eventfd");
        return NULL;
    }
    struct mailbox *mailbox = mem_alloc(sizeof(*mailbox));
    mailbox->magic = MAILBOX_MAGIC;
    mailbox->fd = fd;
    mailbox->fn = fn;
    mailbox->arg = arg;
    mailbox->watch = io_watch_new(loop, fd, on_wake, mailbox);
    if (mailbox->watch == NULL || io_watch_set(mailbox->watch, IO_READ) != 0) {
        errbuf_set(err, "cannot watch an eventfd: out of memory");
        io_watch_free(mailbox->watch);
        (void)close(fd);
        mem_free(mailbox);
        return NULL;
    }
    int result = pthread_mutex_init(&mailbox->mutex, NULL);
    ASSERT(result == 0); /* with default attributes glibc has no way to fail */
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (mailbox == NULL) {
        return;
    }
    CHECK_MAGIC(mailbox, MAILBOX_MAGIC);
    ASSERT(!mailbox->handling);
    do {
        handle_all(mailbox); /* a handler may post to its own mailbox */
    } while (mailbox->first != NULL);
    io_watch_free(mailbox->watch);
    (void)close(mailbox->fd);
    (void)pthread_mutex_destroy(&mailbox->mutex);
    mailbox->magic = 0;
    mem_free(mailbox);
}

static void wake(const struct mailbox *mailbox)
{
    const uint64_t one = 1;
    ssize_t written;
    do {
        written = write(mailbox->fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    /* EAGAIN (the counter is full) would mean that the loop is being woken anyhow. */
    ASSERT(written == (ssize_t)sizeof(one) || errno == EAGAIN);
}

void mailbox_post(struct mailbox *mailbox, struct mailbox_message *message)
{
    CHECK_MAGIC(mailbox, MAILBOX_MAGIC);
    message->next = NULL;
    (void)pthread_mutex_lock(&mailbox->mutex);
    bool was_empty = mailbox->first == NULL;
    if (was_empty) {
        mailbox->first = message;
    } else {
        mailbox->last->next = message;
    }
    mailbox->last = message;
    /* Written under the mutex: once it is open, the owner may take the message, see that it was
       the last of all and free the mailbox. */
    if (was_empty) {
        wake(mailbox);
    }
    (void)pthread_mutex_unlock(&mailbox->mutex);
}
