/* SPDX-License-Identifier: BSD-2-Clause */
/* Compares passwords with what is stored of them. Opens no file and logs nothing: secrets stay here. */
#define _GNU_SOURCE
#include "policy/auth.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "core/base64.h"
#include "core/num.h"

enum {
	SHA1_BYTES = 20,
	MD5_BYTES = 16,
	APR1_SALT_MAX = 8,
	STORED_MAX = 512,
};

struct auth_scratch {
	struct crypt_data crypt;
	EVP_MD_CTX *md;
};

struct auth_scratch *auth_scratch_new(void)
{
	struct auth_scratch *s = calloc(1, sizeof *s);

	if (s)
		s->md = EVP_MD_CTX_new();
	if (s && !s->md) {
		free(s);
		s = NULL;
	}
	return s;
}

void auth_scratch_free(struct auth_scratch *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->md);
	OPENSSL_cleanse(&s->crypt, sizeof s->crypt);
	free(s);
}

bool auth_find(struct slice text, struct slice user, struct slice *stored)
{
	while (text.n) {
		ptrdiff_t lf = slice_find(text, '\n');
		struct slice line = slice_make(text.p, lf < 0 ? text.n : (size_t)lf);
		size_t n = 0;

		text = slice_skip(text, lf < 0 ? text.n : (size_t)lf + 1);
		if (!line.n || line.p[0] == '#' || line.n <= user.n || line.p[user.n] != ':' ||
		    !slice_starts(line, user))
			continue;
		line = slice_skip(line, user.n + 1);
		while (n < line.n && line.p[n] != ':' && line.p[n] != '\r')
			n++;
		*stored = slice_make(line.p, n);
		return true;
	}
	return false;
}

bool auth_parse_basic(struct slice field, char *room, struct slice *user, struct slice *password)
{
	struct slice text;
	ptrdiff_t n, colon;

	if (!slice_istarts(field, SLICE("Basic ")))
		return false;
	field = slice_skip(field, 6);
	while (field.n && field.p[0] == ' ')
		field = slice_skip(field, 1);
	n = base64_decode(field, room);
	if (n <= 0)
		return false;
	text = slice_make(room, (size_t)n);
	colon = slice_find(text, ':');
	if (colon <= 0)
		return false;
	*user = slice_make(text.p, (size_t)colon);
	*password = slice_skip(text, (size_t)colon + 1);
	return true;
}

static enum auth_result same(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
	return a_bytes == b_bytes && CRYPTO_memcmp(a, b, a_bytes) == 0 ? AUTH_OK : AUTH_MISMATCH;
}

static bool add(EVP_MD_CTX *md, const void *p, size_t n)
{
	return EVP_DigestUpdate(md, p, n) == 1;
}

/* {SHA} and {SSHA}: base64 of the digest, the salt behind it. */
static enum auth_result verify_sha(struct slice code, struct slice password, bool salted,
				   struct auth_scratch *s)
{
	char raw[BASE64_DECODED_MAX(STORED_MAX)];
	unsigned char digest[EVP_MAX_MD_SIZE];
	ptrdiff_t n = code.n <= STORED_MAX ? base64_decode(code, raw) : -1;

	if (n < SHA1_BYTES || (!salted && n != SHA1_BYTES))
		return AUTH_MISMATCH;
	if (EVP_DigestInit_ex(s->md, EVP_sha1(), NULL) != 1 ||
	    !add(s->md, password.p, password.n) ||
	    !add(s->md, raw + SHA1_BYTES, (size_t)n - SHA1_BYTES) ||
	    EVP_DigestFinal_ex(s->md, digest, NULL) != 1)
		return AUTH_FAILED;
	return same(digest, SHA1_BYTES, raw, SHA1_BYTES);
}

/* Apache's variant of MD5-crypt. What is mixed in which round is as it was published. */
static bool apr1_rounds(EVP_MD_CTX *md, const EVP_MD *md5, struct slice salt, struct slice key,
			unsigned char *final)
{
	for (int i = 0; i < 1000; i++) {
		bool ok = EVP_DigestInit_ex(md, md5, NULL) == 1;

		ok = ok && (i & 1 ? add(md, key.p, key.n) : add(md, final, MD5_BYTES));
		ok = ok && (i % 3 == 0 || add(md, salt.p, salt.n));
		ok = ok && (i % 7 == 0 || add(md, key.p, key.n));
		ok = ok && (i & 1 ? add(md, final, MD5_BYTES) : add(md, key.p, key.n));
		if (!ok || EVP_DigestFinal_ex(md, final, NULL) != 1)
			return false;
	}
	return true;
}

static bool apr1_digest(EVP_MD_CTX *md, struct slice salt, struct slice key, unsigned char *final)
{
	const EVP_MD *md5 = EVP_md5();
	bool ok = EVP_DigestInit_ex(md, md5, NULL) == 1 && add(md, key.p, key.n) &&
		  add(md, salt.p, salt.n) && add(md, key.p, key.n) &&
		  EVP_DigestFinal_ex(md, final, NULL) == 1;

	ok = ok && EVP_DigestInit_ex(md, md5, NULL) == 1 && add(md, key.p, key.n) &&
	     add(md, "$apr1$", 6) && add(md, salt.p, salt.n);
	for (size_t n = key.n; ok && n > 0; n -= n < MD5_BYTES ? n : MD5_BYTES)
		ok = add(md, final, n < MD5_BYTES ? n : MD5_BYTES);
	for (size_t i = key.n; ok && i; i >>= 1)
		ok = add(md, i & 1 ? "" : key.p, 1);
	return ok && EVP_DigestFinal_ex(md, final, NULL) == 1 &&
	       apr1_rounds(md, md5, salt, key, final);
}

static char *put64(char *to, unsigned v, int n)
{
	static const char letters[] =
		"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

	for (; n > 0; n--, v >>= 6)
		*to++ = letters[v & 63];
	return to;
}

static enum auth_result verify_apr1(struct slice stored, struct slice key, struct auth_scratch *s)
{
	static const unsigned char order[][3] = {
		{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}};
	struct slice salt = slice_skip(stored, 6), hash;
	unsigned char f[EVP_MAX_MD_SIZE];
	char text[24], *at = text;
	ptrdiff_t dollar = slice_find(salt, '$');

	if (dollar < 0)
		return AUTH_MISMATCH;
	hash = slice_skip(salt, (size_t)dollar + 1);
	salt.n = dollar < APR1_SALT_MAX ? (size_t)dollar : APR1_SALT_MAX;
	if (!apr1_digest(s->md, salt, key, f))
		return AUTH_FAILED;
	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
		at = put64(at,
			   (unsigned)f[order[i][0]] << 16 | (unsigned)f[order[i][1]] << 8 |
				   f[order[i][2]],
			   4);
	at = put64(at, f[11], 2);
	OPENSSL_cleanse(f, sizeof f);
	return same(text, (size_t)(at - text), hash.p, hash.n);
}

/* What one check may cost, by what is written before the salt. */
static enum auth_result check_crypt_cost(struct slice s)
{
	struct slice rest;
	uint64_t n;

	if (slice_starts(s, SLICE("$1$")))
		return AUTH_OK;
	if (slice_starts(s, SLICE("$2a$")) || slice_starts(s, SLICE("$2b$")) ||
	    slice_starts(s, SLICE("$2y$"))) {
		if (s.n < 7 || num_u63(slice_make(s.p + 4, 2), &n))
			return AUTH_UNSUPPORTED;
		return n > AUTH_BCRYPT_COST_MAX ? AUTH_TOO_DEAR : AUTH_OK;
	}
	if (slice_starts(s, SLICE("$5$")) || slice_starts(s, SLICE("$6$"))) {
		rest = slice_skip(s, 3);
		if (!slice_starts(rest, SLICE("rounds=")))
			return AUTH_OK;
		rest = slice_skip(rest, 7);
		rest.n = slice_find(rest, '$') < 0 ? 0 : (size_t)slice_find(rest, '$');
		if (num_u63(rest, &n))
			return AUTH_UNSUPPORTED;
		return n > AUTH_SHA_ROUNDS_MAX ? AUTH_TOO_DEAR : AUTH_OK;
	}
	/* yescrypt as mkpasswd writes it: 'j', then the power of two of its memory: 'B' is 64 MB. */
	if (slice_starts(s, SLICE("$y$j")) && s.n > 5)
		return strchr("./0123456789AB", s.p[4]) ? AUTH_OK : AUTH_TOO_DEAR;
	return s.n == 13 && s.p[0] != '$' && s.p[0] != '_' ? AUTH_OK : AUTH_UNSUPPORTED;
}

static enum auth_result verify_crypt(struct slice stored, struct slice password,
				     struct auth_scratch *s)
{
	enum auth_result r = check_crypt_cost(stored);
	char salt[STORED_MAX + 1], key[AUTH_PASSWORD_MAX + 1];
	const char *got;

	if (r != AUTH_OK)
		return r;
	if (stored.n > STORED_MAX)
		return AUTH_UNSUPPORTED;
	memcpy(salt, stored.p, stored.n);
	salt[stored.n] = 0;
	if (password.n)
		memcpy(key, password.p, password.n);
	key[password.n] = 0;
	got = crypt_r(key, salt, &s->crypt);
	r = got ? same(got, strlen(got), stored.p, stored.n) : AUTH_FAILED;
	OPENSSL_cleanse(key, password.n);
	OPENSSL_cleanse(&s->crypt, sizeof s->crypt);
	return r;
}

enum auth_result auth_verify(struct slice stored, struct slice password, struct auth_scratch *s)
{
	if (password.n > AUTH_PASSWORD_MAX || slice_find(password, 0) >= 0)
		return AUTH_MISMATCH;
	if (slice_starts(stored, SLICE("$apr1$")))
		return verify_apr1(stored, password, s);
	if (slice_starts(stored, SLICE("{PLAIN}"))) {
		stored = slice_skip(stored, 7);
		return same(stored.p, stored.n, password.p, password.n);
	}
	if (slice_starts(stored, SLICE("{SSHA}")))
		return verify_sha(slice_skip(stored, 6), password, true, s);
	if (slice_starts(stored, SLICE("{SHA}")))
		return verify_sha(slice_skip(stored, 5), password, false, s);
	return verify_crypt(stored, password, s);
}

bool auth_is_dear(struct slice stored)
{
	return stored.n && stored.p[0] == '$';
}
