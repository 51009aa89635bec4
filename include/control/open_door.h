/*
 * open_door: a warning when the wall has a door: somebody may reach the application, or use our
 * identity, without passing by us.
 *
 *   forward   the loopback port that a listener forwards to is also listened on at an address that
 *             others reach: the application could be called past all rules
 *   accept    a listener accepts plaintext on a loopback port, and users beside root, ourselves and
 *             one more (the application) are here: each of them may call out as us
 *
 * Looked at when it is made, after each reload, and every OPEN_DOOR_LOOK_MS. What can't be known
 * is no door: see src/control/open_door.c. Control thread; a look reads the kernel's list of
 * listening sockets and at most some thousand entries of /proc.
 */
#ifndef BULKHEAD_CONTROL_OPEN_DOOR_H
#define BULKHEAD_CONTROL_OPEN_DOOR_H

#include <stdbool.h>
#include <stddef.h>

struct control;
struct open_doors;

enum { OPEN_DOOR_LOOK_MS = 10000, OPEN_DOORS_MAX = 64 };

/* Does not look yet. NULL: memory is out. */
struct open_doors *open_doors_new(struct control *control);
void open_doors_free(struct open_doors *doors); /* NULL is fine */
/* At the start and after a reload: looks, and logs every door anew. */
void open_doors_look(struct open_doors *doors);
/* Of the last look. Texts are one sentence each, with the listener's name, and good until the next.
   Beyond OPEN_DOORS_MAX doors are counted by open_doors_of alone. */
size_t open_doors_count(const struct open_doors *doors);
const char *open_doors_text(const struct open_doors *doors, size_t index);
/* How many a listener has; false: that could not be looked at. */
bool open_doors_of(const struct open_doors *doors, const char *listener, size_t *count);

#endif
