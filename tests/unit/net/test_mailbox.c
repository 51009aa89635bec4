/* mailbox: nothing is lost, nothing is reordered, from any number of threads. */
#include "unit/net/net_test.h"

#include <pthread.h>

#include "net/mailbox.h"

enum { POSTERS = 4, MESSAGES = 5000, KIND_NUMBER = 1, KIND_STOP = 2 };

struct number {
    struct mailbox_message message;
    unsigned poster;
    unsigned value;
};

struct inbox {
    struct loop *loop;
    struct mailbox *mailbox;
    unsigned next[POSTERS];
    unsigned total;
    unsigned expected;
    unsigned posts_left; /* to itself, from the handler, as the last poster */
    unsigned posted;
};

static struct number *new_number(unsigned poster, unsigned value)
{
    struct number *number = calloc(1, sizeof(*number));
    assert_non_null(number);
    number->message.kind = KIND_NUMBER;
    number->poster = poster;
    number->value = value;
    return number;
}

static void on_message(void *arg, struct mailbox_message *message)
{
    struct inbox *inbox = arg;
    struct number *number = (struct number *)message;
    assert_int_equal(message->kind, KIND_NUMBER);
    assert_null(message->next);
    assert_int_equal(number->value, inbox->next[number->poster]);
    inbox->next[number->poster]++;
    inbox->total++;
    if (inbox->posts_left > 0) {
        inbox->posts_left--;
        mailbox_post(inbox->mailbox, &new_number(POSTERS - 1, inbox->posted++)->message);
    }
    if (inbox->total == inbox->expected) {
        loop_stop(inbox->loop);
    }
    free(number);
}

static void open_inbox(struct inbox *inbox)
{
    struct errbuf err;
    *inbox = (struct inbox){.loop = new_loop()};
    inbox->mailbox = mailbox_new(inbox->loop, on_message, inbox, &err);
    assert_non_null(inbox->mailbox);
}

struct poster {
    struct mailbox *mailbox;
    unsigned index;
};

static void *post_all(void *arg)
{
    const struct poster *poster = arg;
    for (unsigned i = 0; i < MESSAGES; i++) {
        mailbox_post(poster->mailbox, &new_number(poster->index, i)->message);
    }
    return NULL;
}

static void test_many_threads_post_in_order(void **state)
{
    (void)state;
    struct inbox inbox;
    open_inbox(&inbox);
    inbox.expected = POSTERS * MESSAGES;
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.mailbox = inbox.mailbox, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    run_loop(inbox.loop);
    for (unsigned i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(inbox.next[i], MESSAGES);
    }
    mailbox_free(inbox.mailbox);
    loop_free(inbox.loop);
}

static void test_a_post_is_not_handled_inside_itself(void **state)
{
    (void)state;
    struct inbox inbox;
    open_inbox(&inbox);
    mailbox_post(inbox.mailbox, &new_number(0, 0)->message);
    assert_int_equal(inbox.total, 0);
    inbox.expected = 1;
    run_loop(inbox.loop);
    run_loop_ms(inbox.loop, 5); /* an emptied mailbox wakes nobody */
    assert_int_equal(inbox.total, 1);
    mailbox_free(inbox.mailbox);
    loop_free(inbox.loop);
}

static void test_the_handler_may_post_to_its_own_mailbox(void **state)
{
    (void)state;
    struct inbox inbox;
    open_inbox(&inbox);
    inbox.posts_left = 10;
    inbox.expected = 11;
    mailbox_post(inbox.mailbox, &new_number(0, 0)->message);
    run_loop(inbox.loop);
    assert_int_equal(inbox.next[0], 1);
    assert_int_equal(inbox.next[POSTERS - 1], 10);
    mailbox_free(inbox.mailbox);
    loop_free(inbox.loop);
}

static void test_what_is_left_is_handled_at_the_end(void **state)
{
    (void)state;
    struct inbox inbox;
    open_inbox(&inbox);
    for (unsigned i = 0; i < 3; i++) {
        mailbox_post(inbox.mailbox, &new_number(1, i)->message);
    }
    inbox.posts_left = 2;
    mailbox_free(inbox.mailbox);
    /* Two more came from the handler meanwhile. */
    assert_int_equal(inbox.total, 5);
    mailbox_free(NULL);
    loop_free(inbox.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads_post_in_order),
        cmocka_unit_test(test_a_post_is_not_handled_inside_itself),
        cmocka_unit_test(test_the_handler_may_post_to_its_own_mailbox),
        cmocka_unit_test(test_what_is_left_is_handled_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
