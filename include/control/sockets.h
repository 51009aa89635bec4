/*
 * sockets: the listening sockets of the process, by address, so that a reload keeps those whose
 * address is unchanged, whatever listener it belongs to. Control thread.
 */
#ifndef BULKHEAD_CONTROL_SOCKETS_H
#define BULKHEAD_CONTROL_SOCKETS_H

#include "base/errbuf.h"

#include <stdbool.h>
#include <stddef.h>

struct activation;
struct listen_sockets;
struct setup;
struct socket_table;

/* activation: the sockets that were passed, for listeners that name one; lives as long; NULL: none
   were. */
struct socket_table *socket_table_new(size_t worker_count, struct activation *activation);
/* Closes everything. NULL is fine. */
void socket_table_free(struct socket_table *table);
/* Until it is released nothing is opened, and socket_table_open gives an array of NULLs: there is
   no identity yet to accept anybody with. */
void socket_table_hold(struct socket_table *table);
void socket_table_release(struct socket_table *table);
bool socket_table_is_held(const struct socket_table *table);
/*
 * Opens what the setup needs and is not open yet, and leaves alone what is. The result is an array
 * by config index, the caller's to free (mem_free), its sockets the table's. NULL with err: nothing
 * stays opened.
 */
struct listen_sockets **socket_table_open(struct socket_table *table, const struct setup *setup,
                                          struct errbuf *err);
/*
 * The setup comes into force: changes the mode and owner of Unix sockets that were open before,
 * where it asks for others. -1 with err for the first that could not be changed; the others are.
 */
int socket_table_apply_options(struct socket_table *table, const struct setup *setup,
                               struct errbuf *err);
/* What the last socket_table_open opened is not wanted after all. */
void socket_table_abandon(struct socket_table *table);
/* The setup is in force: closes what it does not use. No worker accepts there any more. */
void socket_table_settle(struct socket_table *table, const struct setup *setup);
/* How many descriptors they are. */
size_t socket_table_descriptors(const struct socket_table *table);
/* Opened since the last settling: nobody has been told of it yet. */
bool socket_table_is_fresh(const struct socket_table *table, const struct setup *setup,
                           size_t index);
/* The address that a listener is bound to: its port is known even if it was written as 0. */
const struct listen_sockets *socket_table_find(const struct socket_table *table,
                                               const struct setup *setup, size_t index);

#endif
