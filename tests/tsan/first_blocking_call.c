/*
 * Linked into the program of the TSan build alone. TSan's run time makes a thread's signal context
 * in the thread's first blocking call, and forgets a signal that arrives while it does (clang 14:
 * sighandler then makes another one, which is overwritten). The main thread's would be made in its
 * loop, just after "ready" has been said: here it is made before anybody can know of the process.
 */
#include <unistd.h>

__attribute__((constructor)) static void make_first_blocking_call(void)
{
    (void)usleep(0);
}
