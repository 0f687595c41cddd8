/* SPDX-License-Identifier: BSD-2-Clause */
/* Where OpenSSL's SSL structs are while nobody uses them. Such a struct has 7.6 KB, of which 1.7 KB are
 * not zero once a handshake is over; an idle stream would hold the rest for nothing. So all structs live
 * in a few windows, many in the same one: what is in a window belongs to the connection that was used
 * last, and the others' is put aside, without its zeros. A struct comes back to the address that it has always
 * had, so that nothing in it, or that points to it, notices; but it must be there before anything of its
 * connection is touched: tls_bank_enter(). Changing over takes half a microsecond, and none where there are not more
 * connections than windows.
 *
 * One thread only. Where OpenSSL does not let us (tls_bank_setup() was not called, another layout), structs
 * are ordinary memory and all of this does nothing. */
#ifndef SL_TLS_TLS_BANK_H
#define SL_TLS_TLS_BANK_H

#include <stdbool.h>
#include <stdint.h>

struct ssl_st;
struct ssl_ctx_st;

enum { TLS_BANK_WINDOWS = 32 };

/* A connection's share; zeroed before tls_bank_new(). */
struct tls_seat {
	uint64_t *aside; /* what is not zero, while another one is in the window; heap */
	uint16_t room;	 /* words */
	uint8_t window;	 /* + 1; 0: ordinary memory */
};

/* Once, before anything else calls OpenSSL. False: it was too late. */
bool tls_bank_setup(void);
/* SSL_new() with the struct in a window. The seat must stay where it is. */
struct ssl_st *tls_bank_new(struct tls_seat *seat, struct ssl_ctx_st *ctx);
/* SSL_free(). */
void tls_bank_free(struct tls_seat *seat, struct ssl_st *ssl);
/* Its struct is in the window now, until another connection enters. */
void tls_bank_enter(struct tls_seat *seat);

#endif
