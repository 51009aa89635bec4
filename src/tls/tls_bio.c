/*
 * A BIO per SSL would cost some 250 bytes of each idle connection for nothing: between two SSL
 * calls there is no input left and no output kept. libssl puts a buffering BIO of its own before
 * the shared one during a handshake; that one is the SSL's, and it only ever writes through.
 */
#include "tls_bio.h"

#include "base/assert.h"
#include "tls_conn_private.h"
#include "tls_thread.h"

#include <string.h>

static int on_bio_read(BIO *bio, char *out, size_t size, size_t *len)
{
    struct tls_thread *thread = BIO_get_data(bio);
    CHECK_MAGIC(thread, (unsigned)TLS_THREAD_MAGIC);
    struct tls_io *io = &thread->io;

    BIO_clear_retry_flags(bio);
    if (io->in_left == 0) {
        BIO_set_retry_read(bio);
        *len = 0;
        return 0;
    }
    *len = size < io->in_left ? size : io->in_left;
    memcpy(out, io->in, *len);
    io->in += *len;
    io->in_left -= *len;
    return 1;
}

static void send_out(struct tls_thread *thread)
{
    struct tls_io *io = &thread->io;
    size_t len = io->out_len;
    io->out_len = 0;
    if (len > 0 && io->send_end == CONN_END_NONE) {
        io->send_end = conn_send_raw(&io->conn->conn, thread->cipher_out, len);
    }
}

static int on_bio_write(BIO *bio, const char *data, size_t size, size_t *len)
{
    struct tls_thread *thread = BIO_get_data(bio);
    CHECK_MAGIC(thread, (unsigned)TLS_THREAD_MAGIC);
    struct tls_io *io = &thread->io;

    BIO_clear_retry_flags(bio);
    *len = 0;
    if (io->conn == NULL) {
        return 0; /* SSL_free has nothing to say to the peer */
    }
    if (size > sizeof(thread->cipher_out) - io->out_len) {
        send_out(thread);
    }
    if (io->send_end != CONN_END_NONE) {
        return 0;
    }
    *len = size < sizeof(thread->cipher_out) ? size : sizeof(thread->cipher_out);
    memcpy(thread->cipher_out + io->out_len, data, *len);
    io->out_len += *len;
    io->made += *len;
    return 1;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    /* Everything else (kernel TLS, pending bytes, end of file) is answered with "no". */
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD *tls_bio_method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "bulkhead thread memory");
    if (method == NULL || BIO_meth_set_read_ex(method, on_bio_read) != 1 ||
        BIO_meth_set_write_ex(method, on_bio_write) != 1 ||
        BIO_meth_set_ctrl(method, on_bio_ctrl) != 1) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

BIO *tls_bio_new(const BIO_METHOD *method, struct tls_thread *thread)
{
    BIO *bio = BIO_new(method);
    if (bio != NULL) {
        BIO_set_data(bio, thread);
        BIO_set_init(bio, 1);
    }
    return bio;
}

struct tls_conn *tls_bio_conn(const SSL *ssl)
{
    struct tls_thread *thread = BIO_get_data(SSL_get_rbio(ssl));
    CHECK_MAGIC(thread, (unsigned)TLS_THREAD_MAGIC);
    ASSERT(thread->io.conn != NULL && thread->io.conn->ssl == ssl);
    return thread->io.conn;
}

void tls_io_begin(struct tls_conn *conn, const uint8_t *in, size_t len)
{
    struct tls_io *io = &conn->thread->io;
    ASSERT(io->conn == NULL);
    *io = (struct tls_io){.conn = conn, .in = in, .in_left = len, .send_end = CONN_END_NONE};
}

enum conn_end tls_io_end(struct tls_conn *conn)
{
    struct tls_io *io = &conn->thread->io;
    ASSERT(io->conn == conn);
    send_out(conn->thread);
    io->conn = NULL;
    return io->send_end;
}
