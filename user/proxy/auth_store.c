/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the worker's memory of password files and of passwords that were right. The latter are kept as keyed
 * digests together with what was stored, so that a changed file is asked anew. */
#include "proxy/auth_store.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/err.h"

enum {
	FILES_MAX = 16,
	FILE_BYTES_MAX = 4 << 20,
	RECHECK_MS = 1000,
	KNOWN_MAX = 256,
	KNOWN_FOR_MS = 60 * 1000,
	MAC_BYTES = 32,
	/* Checks take at most this part of a worker's time, whoever asks for them. */
	PAUSE_TIMES = 3,
	CHEAP_US = 2000,
};

struct file {
	char *path, *text;
	size_t n;
	dev_t dev;
	ino_t ino;
	struct timespec mtime;
	uint64_t checked_ms, used_ms;
};

struct known {
	unsigned char mac[MAC_BYTES];
	uint64_t until_ms;
};

struct auth_store {
	struct auth_scratch *scratch;
	unsigned char key[MAC_BYTES];
	struct file file[FILES_MAX];
	struct known known[KNOWN_MAX];
	uint64_t next_ms; /* no dear check before */
};

struct auth_store *auth_store_get(struct env *env)
{
	struct auth_store *s = env->auth;

	if (s)
		return s;
	s = calloc(1, sizeof *s);
	if (s)
		s->scratch = auth_scratch_new();
	if (!s || !s->scratch || RAND_bytes(s->key, sizeof s->key) != 1) {
		auth_store_free(s);
		return NULL;
	}
	env->auth = s;
	return s;
}

static void drop_text(struct file *f)
{
	if (f->text)
		OPENSSL_cleanse(f->text, f->n);
	free(f->text);
	f->text = NULL;
	f->n = 0;
}

static void drop(struct file *f)
{
	drop_text(f);
	free(f->path);
	*f = (struct file){0};
}

void auth_store_free(struct auth_store *s)
{
	if (!s)
		return;
	for (int i = 0; i < FILES_MAX; i++)
		drop(&s->file[i]);
	auth_scratch_free(s->scratch);
	OPENSSL_cleanse(s, sizeof *s);
	free(s);
}

/* The file's place: its own, a free one, or that of the one that was not asked for longest. */
static struct file *place_of(struct auth_store *s, const char *path)
{
	struct file *best = &s->file[0];

	for (int i = 0; i < FILES_MAX; i++) {
		struct file *f = &s->file[i];

		if (f->path && strcmp(f->path, path) == 0)
			return f;
		if (f->used_ms < best->used_ms)
			best = f;
	}
	drop(best);
	best->path = strdup(path);
	return best;
}

static int read_all(int fd, struct file *f, size_t n)
{
	char *text = malloc(n + 1);
	ssize_t got = 0;
	size_t at = 0;

	while (text && at < n && (got = read(fd, text + at, n - at)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		at += (size_t)got;
	}
	if (!text || got < 0) {
		free(text);
		return -SL_ESYS;
	}
	drop_text(f);
	f->text = text;
	f->n = at;
	return 0;
}

static int refresh(struct file *f)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r = -SL_ESYS, err;
	struct stat st;

	if (fd < 0)
		return -SL_ESYS;
	if (fstat(fd, &st) < 0)
		goto out;
	errno = S_ISDIR(st.st_mode) ? EISDIR : S_ISREG(st.st_mode) ? EFBIG : EINVAL;
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
		goto out;
	r = 0;
	if (f->text && f->dev == st.st_dev && f->ino == st.st_ino && f->n == (size_t)st.st_size &&
	    f->mtime.tv_sec == st.st_mtim.tv_sec && f->mtime.tv_nsec == st.st_mtim.tv_nsec)
		goto out;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->mtime = st.st_mtim;
	r = read_all(fd, f, (size_t)st.st_size);
out:
	err = errno;
	close(fd);
	errno = err;
	return r;
}

int auth_store_file(struct auth_store *s, uint64_t now_ms, const char *path, struct slice *text)
{
	struct file *f = place_of(s, path);
	int err;

	if (!f->path)
		return -SL_ESYS;
	f->used_ms = now_ms;
	if (!f->text || now_ms - f->checked_ms >= RECHECK_MS) {
		if (refresh(f)) {
			err = errno;
			drop(f);
			errno = err;
			return -SL_ESYS;
		}
		f->checked_ms = now_ms;
	}
	*text = slice_make(f->text, f->n);
	return 0;
}

static bool mac_of(const struct auth_store *s, struct slice stored, struct slice user,
		   struct slice password, unsigned char *mac)
{
	const struct slice parts[] = {stored, user, password};
	unsigned char inner[3 * MAC_BYTES];
	unsigned n;

	/* A digest of each, so that none runs into another. */
	for (int i = 0; i < 3; i++)
		if (!HMAC(EVP_sha256(), s->key, MAC_BYTES, (const unsigned char *)parts[i].p,
			  parts[i].n, inner + i * MAC_BYTES, &n))
			return false;
	return HMAC(EVP_sha256(), s->key, MAC_BYTES, inner, sizeof inner, mac, &n) != NULL;
}

enum auth_result auth_store_verify(struct auth_store *s, uint64_t now_ms, struct slice stored,
				   struct slice user, struct slice password, uint64_t *wait_ms)
{
	unsigned char mac[MAC_BYTES];
	struct known *k;
	enum auth_result r;
	uint64_t began_ns, took_us;

	*wait_ms = 0;
	if (!auth_is_dear(stored))
		return auth_verify(stored, password, s->scratch);
	if (!mac_of(s, stored, user, password, mac))
		return AUTH_FAILED;
	k = &s->known[(mac[0] | mac[1] << 8) % KNOWN_MAX];
	if (k->until_ms > now_ms && CRYPTO_memcmp(k->mac, mac, MAC_BYTES) == 0)
		return AUTH_OK;
	if (s->next_ms > now_ms) {
		*wait_ms = s->next_ms - now_ms;
		return AUTH_FAILED;
	}
	began_ns = clock_mono_ns();
	r = auth_verify(stored, password, s->scratch);
	took_us = (clock_mono_ns() - began_ns) / 1000;
	if (took_us > CHEAP_US)
		s->next_ms = now_ms + (1 + PAUSE_TIMES) * took_us / 1000;
	if (r == AUTH_OK) {
		memcpy(k->mac, mac, MAC_BYTES);
		k->until_ms = now_ms + KNOWN_FOR_MS;
	}
	return r;
}
