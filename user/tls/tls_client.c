/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns client contexts, their sessions, and the certificates of authorities that they share. */
#include "tls/tls_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "tls/tls_state.h"

/* What identifies a file's content, well enough. */
struct file_id {
	char *path;
	dev_t dev;
	ino_t ino;
	off_t bytes;
	struct timespec mtime;
};

/* 140 certificates cost some milliseconds and a megabyte, so contexts share them. */
struct trust {
	struct trust *next;
	uint32_t n_refs;
	struct file_id ca, crl;
	X509_STORE *store;
};

struct kept_session {
	struct hash128 key;
	SSL_SESSION *sess;
	uint64_t used;
};

struct tls_client {
	SSL_CTX *ctx;
	bool verify;
	struct trust *trust;
	uint64_t seed, n_uses;
	struct kept_session *kept; /* TLS_CLIENT_N_SESSIONS; NULL: no reuse */
};

/* The process's trust stores. */
static struct trust *trusts;

/* Trust stores. */

static bool file_id_get(struct file_id *f, const char *path)
{
	struct stat st;

	*f = (struct file_id){0};
	if (!path)
		return true;
	if (stat(path, &st) < 0)
		return false;
	*f = (struct file_id){(char *)path, st.st_dev, st.st_ino, st.st_size, st.st_mtim};
	return true;
}

static bool file_id_eq(const struct file_id *a, const struct file_id *b)
{
	if (!a->path || !b->path)
		return a->path == b->path;
	return strcmp(a->path, b->path) == 0 && a->dev == b->dev && a->ino == b->ino &&
	       a->bytes == b->bytes && a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec;
}

/* The file of the system's authorities, or NULL when it has only a folder of them. */
static const char *system_ca(void)
{
	static const char *const debian = "/etc/ssl/certs/ca-certificates.crt";
	const char *env = getenv(X509_get_default_cert_file_env());

	if (env && *env)
		return env;
	if (access(X509_get_default_cert_file(), R_OK) == 0)
		return X509_get_default_cert_file();
	return access(debian, R_OK) == 0 ? debian : NULL;
}

static int trust_load(struct trust *t, const char *ca, const char *crl, char *err)
{
	const char *dir = getenv(X509_get_default_cert_dir_env());
	X509_LOOKUP *lookup;

	t->store = X509_STORE_new();
	if (!t->store)
		return tls_ctx_fail(err, "cannot make a certificate store for", ca, "");
	if (ca && X509_STORE_load_file(t->store, ca) != 1)
		return tls_ctx_fail(err, "cannot load trusted certificates", ca,
				    ": X509_STORE_load_file() failed");
	/* A folder is looked into while a handshake waits, so only where there is nothing else. */
	if ((!ca || (dir && *dir)) && X509_STORE_set_default_paths(t->store) != 1)
		return tls_ctx_fail(err, "cannot use the system's certificates in",
				    X509_get_default_cert_dir(), "");
	if (!crl)
		return 0;
	lookup = X509_STORE_add_lookup(t->store, X509_LOOKUP_file());
	if (!lookup || X509_load_crl_file(lookup, crl, X509_FILETYPE_PEM) < 1)
		return tls_ctx_fail(err, "cannot load revocation list", crl,
				    ": X509_load_crl_file() failed");
	X509_STORE_set_flags(t->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}

static void trust_unref(struct trust *t)
{
	if (!t || --t->n_refs)
		return;
	for (struct trust **at = &trusts; *at; at = &(*at)->next) {
		if (*at == t) {
			*at = t->next;
			break;
		}
	}
	X509_STORE_free(t->store);
	free(t->ca.path);
	free(t->crl.path);
	free(t);
}

static struct trust *trust_new(const struct file_id *ca, const struct file_id *crl, char *err)
{
	struct trust *t = calloc(1, sizeof *t);

	if (!t) {
		snprintf(err, TLS_TEXT_MAX, "out of memory");
		return NULL;
	}
	t->n_refs = 1;
	t->ca = *ca;
	t->crl = *crl;
	t->ca.path = ca->path ? strdup(ca->path) : NULL;
	t->crl.path = crl->path ? strdup(crl->path) : NULL;
	if (trust_load(t, ca->path, crl->path, err)) {
		trust_unref(t);
		return NULL;
	}
	t->next = trusts;
	trusts = t;
	return t;
}

static struct trust *trust_get(const char *ca_cstr, const char *crl_cstr, char *err)
{
	const char *path = ca_cstr ? ca_cstr : system_ca();
	struct file_id ca, crl;

	if (!file_id_get(&ca, path)) {
		snprintf(err, TLS_TEXT_MAX, "cannot load trusted certificates \"%.300s\": %s", path,
			 strerror(errno));
		return NULL;
	}
	if (!file_id_get(&crl, crl_cstr)) {
		snprintf(err, TLS_TEXT_MAX, "cannot load revocation list \"%.300s\": %s", crl_cstr,
			 strerror(errno));
		return NULL;
	}
	for (struct trust *t = trusts; t; t = t->next) {
		if (file_id_eq(&t->ca, &ca) && file_id_eq(&t->crl, &crl)) {
			t->n_refs++;
			return t;
		}
	}
	return trust_new(&ca, &crl, err);
}

/* Sessions. */

SSL_CTX *tls_client_ctx(const struct tls_client *c)
{
	return c->ctx;
}

bool tls_client_verifies(const struct tls_client *c)
{
	return c->verify;
}

struct hash128 tls_client_key(const struct tls_client *c, struct slice name, struct slice peer)
{
	char both[512];
	size_t n = name.n < 255 ? name.n : 255, m = peer.n < 255 ? peer.n : 255;

	memcpy(both, name.p, n);
	both[n] = 0;
	memcpy(both + n + 1, peer.p, m);
	return hash128(slice_make(both, n + 1 + m), c->seed);
}

static struct kept_session *find(struct tls_client *c, struct hash128 key)
{
	for (int i = 0; c->kept && i < TLS_CLIENT_N_SESSIONS; i++)
		if (c->kept[i].sess && c->kept[i].key.lo == key.lo && c->kept[i].key.hi == key.hi)
			return &c->kept[i];
	return NULL;
}

SSL_SESSION *tls_client_session(struct tls_client *c, struct hash128 key)
{
	struct kept_session *k = find(c, key);

	if (!k)
		return NULL;
	k->used = ++c->n_uses;
	return k->sess;
}

bool tls_client_keep(struct tls_client *c, struct hash128 key, SSL_SESSION *sess)
{
	struct kept_session *k = find(c, key);

	if (!c->kept)
		return false;
	for (int i = 0; !k && i < TLS_CLIENT_N_SESSIONS; i++)
		if (!c->kept[i].sess)
			k = &c->kept[i];
	if (!k) {
		k = &c->kept[0];
		for (int i = 1; i < TLS_CLIENT_N_SESSIONS; i++)
			if (c->kept[i].used < k->used)
				k = &c->kept[i];
	}
	SSL_SESSION_free(k->sess);
	*k = (struct kept_session){key, sess, ++c->n_uses};
	return true;
}

void tls_client_forget(struct tls_client *c, struct hash128 key)
{
	struct kept_session *k = find(c, key);

	if (!k)
		return;
	SSL_SESSION_free(k->sess);
	*k = (struct kept_session){.sess = NULL};
}

/* Making one. */

static int set_reuse(struct tls_client *c)
{
	c->kept = calloc(TLS_CLIENT_N_SESSIONS, sizeof *c->kept);
	if (!c->kept)
		return -SL_ENOMEM;
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL |
						       SSL_SESS_CACHE_NO_AUTO_CLEAR);
	SSL_CTX_sess_set_new_cb(c->ctx, tls_state_on_client_session);
	return 0;
}

static int set_up(struct tls_client *c, const struct tls_client_params *p, char *err)
{
	int rc;

	c->ctx = tls_ctx_new(false, p->protocols, p->ciphers_cstr, err);
	if (!c->ctx)
		return -SL_ETLS;
	SSL_CTX_set_app_data(c->ctx, c);
	if (p->pair) {
		rc = tls_ctx_use_pair(c->ctx, p->pair, err);
		if (rc)
			return rc;
	}
	SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL);
	if (p->verify) {
		c->trust = trust_get(p->ca_cstr, p->crl_cstr, err);
		if (!c->trust)
			return -SL_ETLS;
		SSL_CTX_set1_cert_store(c->ctx, c->trust->store);
		SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, tls_state_on_verify);
		SSL_CTX_set_verify_depth(c->ctx, p->verify_depth);
	}
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
	if (p->session_reuse && set_reuse(c)) {
		snprintf(err, TLS_TEXT_MAX, "out of memory");
		return -SL_ENOMEM;
	}
	return tls_ctx_command(c->ctx, false, p->commands, err);
}

struct tls_client *tls_client_new(const struct tls_client_params *p, char err[TLS_TEXT_MAX])
{
	struct tls_client *c = calloc(1, sizeof *c);

	if (!c) {
		snprintf(err, TLS_TEXT_MAX, "out of memory");
		return NULL;
	}
	c->verify = p->verify;
	c->seed = hash_random_seed();
	if (set_up(c, p, err)) {
		tls_client_free(c);
		return NULL;
	}
	ERR_clear_error();
	return c;
}

void tls_client_free(struct tls_client *c)
{
	if (!c)
		return;
	for (int i = 0; c->kept && i < TLS_CLIENT_N_SESSIONS; i++)
		SSL_SESSION_free(c->kept[i].sess);
	free(c->kept);
	SSL_CTX_free(c->ctx);
	trust_unref(c->trust);
	free(c);
}
