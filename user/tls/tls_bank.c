/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the windows, and OpenSSL's memory functions, which are malloc's but for the one struct. Knows nothing
 * of what is in it. */
#include "tls/tls_bank.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

enum {
	WINDOW_BYTES = 8192,
	STRUCT_MIN_BYTES = 4096, /* anything smaller is not what we wait for */
	N_WORDS = WINDOW_BYTES / 8,
	N_MAPS = N_WORDS / 64,
	SHARED = 4,	  /* windows with more than one connection */
	SLACK_WORDS = 16, /* room that is not given back: a struct's content varies a little */
};

struct window {
	_Alignas(4096) uint64_t words[N_WORDS];
};

/* The one context of the process; untouched windows take no memory. */
static struct {
	struct window window[TLS_BANK_WINDOWS];
	struct tls_seat *in[TLS_BANK_WINDOWS]; /* whose struct is there; NULL: nobody's */
	uint32_t n_users[TLS_BANK_WINDOWS];
	size_t n_maps; /* 64-word pieces of a struct */
	uint64_t packed[N_MAPS + N_WORDS];
	struct window *next; /* which the next large allocation gets; NULL: none */
	bool works;
} bank;

static bool is_window(const void *p)
{
	return p >= (const void *)bank.window && p < (const void *)(bank.window + TLS_BANK_WINDOWS);
}

/* The memory functions. */

static void *on_malloc(size_t n, const char *file, int line)
{
	struct window *w = bank.next;

	if (w && n >= STRUCT_MIN_BYTES && n <= WINDOW_BYTES) {
		bank.next = NULL;
		bank.n_maps = (n + 511) / 512;
		return w->words;
	}
	return n ? malloc(n) : NULL;
}

static void on_free(void *p, const char *file, int line)
{
	if (!is_window(p))
		free(p);
}

static void *on_realloc(void *p, size_t n, const char *file, int line)
{
	assert(!is_window(p));
	if (n)
		return realloc(p, n);
	free(p);
	return NULL;
}

bool tls_bank_setup(void)
{
	bank.works = CRYPTO_set_mem_functions(on_malloc, on_realloc, on_free) == 1;
	return bank.works;
}

/* There are keys in it. */
static void forget(struct tls_seat *s)
{
	if (s->aside)
		OPENSSL_cleanse(s->aside, s->room * sizeof *s->aside);
	free(s->aside);
	s->aside = NULL;
	s->room = 0;
}

/* Room for N words and for one behind them, which is read but not used. */
static bool make_room(struct tls_seat *s, size_t n)
{
	size_t room = n + SLACK_WORDS;
	uint64_t *p;

	if (n < s->room && s->room <= n + 2 * SLACK_WORDS)
		return true;
	p = malloc(room * sizeof *p);
	if (!p)
		return n < s->room;
	forget(s);
	s->aside = p;
	s->room = (uint16_t)room;
	return true;
}

/* Aside and back: a bit for each word that is not zero, n_maps words; behind them those words. Most of a
 * struct's cache lines (eight words) are zeros. */

static void put_aside(struct tls_seat *s)
{
	const uint64_t *restrict from = bank.window[s->window - 1].words;
	uint64_t *restrict packed = bank.packed, *restrict to = packed + bank.n_maps;
	size_t n;

	for (size_t k = 0; k < bank.n_maps; k++) {
		uint64_t map = 0;

		for (int line = 0; line < 64; line += 8, from += 8) {
			if (!(from[0] | from[1] | from[2] | from[3] | from[4] | from[5] | from[6] |
			      from[7]))
				continue;
			for (int i = 0; i < 8; i++) {
				bool is = from[i] != 0;

				*to = from[i];
				to += is;
				map |= (uint64_t)is << (line + i);
			}
		}
		packed[k] = map;
	}
	n = (size_t)(to - packed);
	if (!make_room(s, n))
		abort(); /* two kilobytes: nothing would work any more */
	memcpy(s->aside, packed, n * sizeof *packed);
}

static void take_back(const struct tls_seat *s)
{
	uint64_t *restrict to = bank.window[s->window - 1].words;
	const uint64_t *restrict from = s->aside + bank.n_maps;

	for (size_t k = 0; k < bank.n_maps; k++) {
		uint64_t map = s->aside[k];

		for (int line = 0; line < 64; line += 8, to += 8, map >>= 8) {
			if (!(map & 0xff)) {
				memset(to, 0, 64);
				continue;
			}
			for (int i = 0; i < 8; i++) {
				uint64_t is = map >> i & 1;

				to[i] = *from & -is;
				from += is;
			}
		}
	}
}

void tls_bank_enter(struct tls_seat *s)
{
	struct tls_seat **in;

	if (!s->window)
		return;
	in = &bank.in[s->window - 1];
	if (*in == s)
		return;
	if (*in)
		put_aside(*in);
	take_back(s);
	*in = s;
}

/* Coming and going. */

/* The first connections have windows of their own, all later ones share the first few, which the
 * processor's cache holds. */
static unsigned emptiest(void)
{
	unsigned best = 0;

	for (unsigned i = 1; i < TLS_BANK_WINDOWS; i++)
		if (!bank.n_users[i] || (i < SHARED && bank.n_users[i] < bank.n_users[best]))
			best = i;
	return best;
}

SSL *tls_bank_new(struct tls_seat *s, SSL_CTX *ctx)
{
	unsigned at = emptiest();
	SSL *ssl;

	if (!bank.works)
		return SSL_new(ctx);
	if (bank.in[at])
		put_aside(bank.in[at]);
	bank.in[at] = NULL;
	bank.next = &bank.window[at];
	ssl = SSL_new(ctx);
	bank.next = NULL;
	if (!ssl || !is_window(ssl))
		return ssl;
	/* What lies behind it is part of no struct and stays zero. */
	s->window = (uint8_t)(at + 1);
	bank.in[at] = s;
	bank.n_users[at]++;
	return ssl;
}

void tls_bank_free(struct tls_seat *s, SSL *ssl)
{
	unsigned at = s->window - 1u;

	tls_bank_enter(s);
	SSL_free(ssl);
	forget(s);
	if (!s->window)
		return;
	bank.in[at] = NULL;
	bank.n_users[at]--;
	s->window = 0;
	OPENSSL_cleanse(&bank.window[at], bank.n_maps * 512);
}
