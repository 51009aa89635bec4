/*
 * common_name: the CN in a certificate's subject (RFC 5280 A.1, id-at-commonName), for people and
 * for servers that are told who called. It is no identity: nothing is ever decided by it.
 *
 * Read from the DER of a certificate that was verified before. Pure; any thread.
 */
#ifndef BULKHEAD_SPIFFE_COMMON_NAME_H
#define BULKHEAD_SPIFFE_COMMON_NAME_H

#include "base/strview.h"

/* RFC 5280 A.1: ub-common-name is 64 characters, of at most four bytes. */
enum { COMMON_NAME_MAX = 256 };

/*
 * A view of it within certificate. Empty when there is none, or more than one, or it is no
 * UTF8String, PrintableString or IA5String of valid UTF-8 (ASCII for the latter two) without
 * control and other deceptive characters (utf8_is_deceptive), or longer than RFC 5280 allows: it is
 * told whole or not.
 */
struct strview common_name_read(struct strview certificate);

#endif
