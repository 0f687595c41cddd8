/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns a server's SSL_CTX and what OpenSSL calls back for it about sessions and tickets. Knows
 * nothing of connections but OpenSSL's SSL. */
#include "tls/tls_server.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/clock.h"
#include "core/err.h"
#include "tls/tls_early.h"
#include "tls/tls_peer.h"
#include "tls/tls_state.h"

enum {
	ROTATE_MIN_S = 60,
	ROTATE_MAX_S = 86400, /* a stolen key opens two days of tickets at most */
	SESSION_DER_MAX = 1024,
};

struct tls_server {
	SSL_CTX *ctx;
	struct tls_cache *cache;
	struct tls_tickets *tickets;
	struct tls_ticket_files *files; /* instead; NULL: none */
	struct tls_replays *replays;
	uint64_t rotate_s;
	EVP_CIPHER *cipher,
		*cipher_128; /* fetched once: a fetch for each ticket costs a microsecond */
	enum tls_verify verify;
	bool reject;
	uint32_t record_bytes;
	X509 *leaf[TLS_PAIRS_MAX]; /* certificates in the order of the file */
	struct tls_staple *staple[TLS_PAIRS_MAX];
};

static struct tls_server *of(SSL_CTX *ctx)
{
	return SSL_CTX_get_app_data(ctx);
}

SSL_CTX *tls_server_ctx(const struct tls_server *s)
{
	return s->ctx;
}

enum tls_verify tls_server_verify(const struct tls_server *s)
{
	return s->verify;
}

bool tls_server_rejects(const struct tls_server *s)
{
	return s->reject;
}

bool tls_server_takes_early(const struct tls_server *s)
{
	return s->replays != NULL;
}

uint32_t tls_server_record_bytes(const struct tls_server *s)
{
	return s->record_bytes;
}

/* Sessions: OpenSSL asks with its own clock, time(2). They belong to the listener's default server,
 * also when SNI chose another one: the next connection is asked about them before its name is
 * known. */

static struct slice session_id(const SSL_SESSION *sess)
{
	unsigned n;
	const unsigned char *id = SSL_SESSION_get_id(sess, &n);

	return slice_make((const char *)id, n);
}

static int on_new_session(SSL *ssl, SSL_SESSION *sess)
{
	struct tls_server *s = tls_state_session_server(ssl);
	unsigned char der[SESSION_DER_MAX], *at = der;
	int64_t expires_s = SSL_SESSION_get_time(sess) + SSL_SESSION_get_timeout(sess);
	int n;

	/* With tickets, TLS 1.3 calls for each one, though nobody will ever ask for it by id. */
	if (SSL_version(ssl) == TLS1_3_VERSION && !(SSL_get_options(ssl) & SSL_OP_NO_TICKET))
		return 0;
	n = i2d_SSL_SESSION(sess, NULL);
	if (!s->cache || n <= 0 || n > (int)sizeof der)
		return 0;
	i2d_SSL_SESSION(sess, &at);
	tls_cache_put(s->cache, session_id(sess), slice_make((const char *)der, (size_t)n),
		      (uint32_t)time(NULL),
		      (uint32_t)(expires_s < UINT32_MAX ? expires_s : UINT32_MAX));
	OPENSSL_cleanse(der, sizeof der);
	return 0;
}

static SSL_SESSION *on_get_session(SSL *ssl, const unsigned char *id, int id_n, int *copy)
{
	struct tls_server *s = tls_state_session_server(ssl);
	unsigned char der[SESSION_DER_MAX];
	const unsigned char *at = der;
	SSL_SESSION *sess = NULL;
	size_t n = 0;

	*copy = 0;
	if (s->cache)
		n = tls_cache_get(s->cache, slice_make((const char *)id, (size_t)id_n),
				  (uint32_t)time(NULL), der, sizeof der);
	if (n)
		sess = d2i_SSL_SESSION(NULL, &at, (long)n);
	OPENSSL_cleanse(der, sizeof der);
	return sess;
}

static void on_remove_session(SSL_CTX *ctx, SSL_SESSION *sess)
{
	struct tls_server *s = of(ctx);

	if (s && s->cache)
		tls_cache_remove(s->cache, session_id(sess));
}

/* Tickets. */

static int set_mac(EVP_MAC_CTX *mac, struct tls_ticket_key *k)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac,
						  k->is_128 ? 16 : sizeof k->hmac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params);
}

static int seal_key(struct tls_server *s, uint64_t now_s, struct tls_ticket_key *k)
{
	if (!s->files)
		return tls_tickets_seal(s->tickets, now_s, s->rotate_s, k);
	*k = s->files->key[0];
	return 0;
}

static int open_key(struct tls_server *s, const uint8_t *name, uint64_t now_s,
		    struct tls_ticket_key *k)
{
	return s->files ? tls_tickets_open_file(s->files, name, k)
			: tls_tickets_open(s->tickets, name, now_s, s->rotate_s, k);
}

/* OpenSSL's contract: 1 fine, 2 fine but send a new ticket, 0 unknown key, -1 error. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int seal)
{
	struct tls_server *s = tls_state_session_server(ssl);
	uint64_t now_s = clock_mono_ms() / 1000;
	const EVP_CIPHER *with;
	struct tls_ticket_key k;
	int rc = -1, found;

	if (!s->tickets)
		return 0;
	if (seal) {
		if (seal_key(s, now_s, &k))
			return -1;
		with = k.is_128 ? s->cipher_128 : s->cipher;
		memcpy(name, k.name, sizeof k.name);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(with)) == 1 &&
		    EVP_EncryptInit_ex2(cipher, with, k.aes, iv, NULL) == 1 &&
		    set_mac(mac, &k) == 1)
			rc = 1;
	} else {
		found = open_key(s, name, now_s, &k);
		if (found < 0)
			return 0;
		with = k.is_128 ? s->cipher_128 : s->cipher;
		if (EVP_DecryptInit_ex2(cipher, with, k.aes, iv, NULL) == 1 &&
		    set_mac(mac, &k) == 1)
			/* TLS 1.3 renews by itself. */
			rc = found && SSL_version(ssl) != TLS1_3_VERSION ? 2 : 1;
	}
	OPENSSL_cleanse(&k, sizeof k);
	return rc;
}

/* Stapling: a client asked for the status of the certificate that it gets. */
static int on_status(SSL *ssl, void *arg)
{
	struct tls_server *s = of(SSL_get_SSL_CTX(ssl));
	X509 *mine = SSL_get_certificate(ssl);
	unsigned char *der;
	size_t n;

	for (int i = 0; i < TLS_PAIRS_MAX; i++) {
		if (s->leaf[i] != mine || !s->staple[i])
			continue;
		n = tls_staple_copy(s->staple[i], time(NULL), &der);
		if (!n)
			break;
		SSL_set_tlsext_status_ocsp_resp(ssl, der, (long)n);
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_NOACK;
}

struct tls_staple *tls_server_staple(const struct tls_server *s, int i)
{
	return s->staple[i];
}

/* Making one. */

/* Sessions of servers with other certificates, or that trust others' clients, are not taken: made of
 * the same as nginx's, so that tickets of shared keys open in both. */
static int set_id_context(struct tls_server *s, const struct tls_server_params *p, EVP_MD_CTX *md)
{
	const STACK_OF(X509_NAME) *names = SSL_CTX_get_client_CA_list(s->ctx);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n;

	if (EVP_DigestInit_ex(md, EVP_sha1(), NULL) != 1 || EVP_DigestUpdate(md, "HTTP", 4) != 1)
		return 0;
	for (int i = p->n_pairs - 1; i >= 0; i--)
		if (X509_digest(s->leaf[i], EVP_sha1(), digest, &n) != 1 ||
		    EVP_DigestUpdate(md, digest, n) != 1)
			return 0;
	for (int i = 0; i < sk_X509_NAME_num(names); i++)
		if (X509_NAME_digest(sk_X509_NAME_value(names, i), EVP_sha1(), digest, &n) != 1 ||
		    EVP_DigestUpdate(md, digest, n) != 1)
			return 0;
	return EVP_DigestFinal_ex(md, digest, &n) == 1 &&
	       SSL_CTX_set_session_id_context(s->ctx, digest, n) == 1;
}

static void set_sessions(struct tls_server *s, const struct tls_server_params *p)
{
	long mode = SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_AUTO_CLEAR;

	SSL_CTX_set_timeout(s->ctx, (long)p->session_timeout_s);
	if (p->cache_mode == TLS_CACHE_OFF)
		mode = SSL_SESS_CACHE_OFF;
	else if (!(p->cache_mode & TLS_CACHE_BUILTIN))
		mode |= SSL_SESS_CACHE_NO_INTERNAL;
	else
		mode = SSL_SESS_CACHE_SERVER;
	SSL_CTX_set_session_cache_mode(s->ctx, mode);
	if (p->cache_mode & TLS_CACHE_BUILTIN && p->builtin_n)
		SSL_CTX_sess_set_cache_size(s->ctx, (long)p->builtin_n);
	if (p->cache_mode & TLS_CACHE_SHARED && p->cache) {
		s->cache = p->cache;
		SSL_CTX_sess_set_new_cb(s->ctx, on_new_session);
		SSL_CTX_sess_set_get_cb(s->ctx, on_get_session);
		SSL_CTX_sess_set_remove_cb(s->ctx, on_remove_session);
	}
}

static void set_tickets(struct tls_server *s, const struct tls_server_params *p)
{
	int64_t rotate_s = p->session_timeout_s;

	if (!p->tickets) {
		SSL_CTX_set_options(s->ctx, SSL_OP_NO_TICKET);
		/* Without a cache TLS 1.3 would hand out tickets that nobody can honour. */
		if (!(p->cache_mode & (TLS_CACHE_BUILTIN | TLS_CACHE_SHARED)))
			SSL_CTX_set_num_tickets(s->ctx, 0);
		return;
	}
	rotate_s = rotate_s < ROTATE_MIN_S ? ROTATE_MIN_S : rotate_s;
	s->rotate_s = (uint64_t)(rotate_s > ROTATE_MAX_S ? ROTATE_MAX_S : rotate_s);
	s->tickets = p->tickets;
	SSL_CTX_set_tlsext_ticket_key_evp_cb(s->ctx, on_ticket);
}

static int load_ticket_files(struct tls_server *s, const struct tls_server_params *p, char *err)
{
	int rc = 0;

	if (!p->n_ticket_key_files)
		return 0;
	s->files = calloc(1, sizeof *s->files);
	if (!s->files)
		return tls_ctx_fail(err, "out of memory", NULL, "");
	for (int i = 0; rc == 0 && i < p->n_ticket_key_files; i++)
		rc = tls_tickets_load(s->files, p->ticket_key_files[i], err);
	return rc;
}

/* Early data may be a replay: each is taken once (RFC 8446 8.2), by a memory that all workers share.
 * OpenSSL's own protection would turn tickets into entries of a cache that every worker needs. */
static int on_early_data(SSL *ssl, void *arg)
{
	struct tls_server *s = arg;
	unsigned char random[SSL3_RANDOM_SIZE];
	size_t n = SSL_get_client_random(ssl, random, sizeof random);

	return tls_replays_first(s->replays, slice_make((const char *)random, n),
				 clock_mono_ms() / 1000, s->files != NULL);
}

static void set_early_data(struct tls_server *s, const struct tls_server_params *p)
{
	s->replays = p->replays;
	if (!p->replays)
		return;
	SSL_CTX_set_max_early_data(s->ctx, TLS_EARLY_MAX);
	SSL_CTX_set_recv_max_early_data(s->ctx, TLS_EARLY_MAX);
	SSL_CTX_set_options(s->ctx, SSL_OP_NO_ANTI_REPLAY);
	SSL_CTX_set_allow_early_data_cb(s->ctx, on_early_data, s);
}

static int set_dhparam(SSL_CTX *ctx, const char *path, char *err)
{
	BIO *bio = BIO_new_file(path, "r");
	EVP_PKEY *dh = bio ? PEM_read_bio_Parameters(bio, NULL) : NULL;

	BIO_free(bio);
	if (!dh)
		return tls_ctx_fail(err, "cannot load DH parameters", path, "");
	if (SSL_CTX_set0_tmp_dh_pkey(ctx, dh) != 1) {
		EVP_PKEY_free(dh);
		return tls_ctx_fail(err, "cannot use DH parameters", path, "");
	}
	return 0;
}

static int set_up(struct tls_server *s, const struct tls_server_params *p, char *err)
{
	EVP_MD_CTX *md;
	int rc;

	s->ctx = tls_ctx_new(true, p->protocols, p->ciphers_cstr, err);
	if (!s->ctx)
		return -SL_ETLS;
	SSL_CTX_set_app_data(s->ctx, s);
	s->reject = p->reject;
	s->record_bytes = p->record_bytes ? p->record_bytes : TLS_RECORD_MAX;
	s->verify = p->verify;
	rc = tls_peer_setup(s->ctx, p, err); /* whom it trusts also tells who issued our own */
	if (rc)
		return rc;
	for (int i = 0; i < p->n_pairs; i++) {
		rc = tls_ctx_use_pair(s->ctx, &p->pairs[i], err);
		if (rc)
			return rc;
		s->leaf[i] = SSL_CTX_get0_certificate(s->ctx);
		X509_up_ref(s->leaf[i]);
		if (p->staple)
			rc = tls_staple_new(s->ctx, s->leaf[i], p->pairs[i].cert_cstr, p->staple,
					    &s->staple[i], err);
		if (rc)
			return rc;
	}
	if (p->prefer_server_ciphers)
		SSL_CTX_set_options(s->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (p->ecdh_curve_cstr && !tls_ctx_set_curves(s->ctx, p->ecdh_curve_cstr))
		return tls_ctx_fail(err, "invalid TLS curves", p->ecdh_curve_cstr, "");
	SSL_CTX_set_tlsext_servername_callback(s->ctx, tls_state_on_sni);
	SSL_CTX_set_alpn_select_cb(s->ctx, tls_state_on_alpn, NULL);
	if (p->staple)
		SSL_CTX_set_tlsext_status_cb(s->ctx, on_status);
	rc = p->dhparam_cstr ? set_dhparam(s->ctx, p->dhparam_cstr, err) : 0;
	if (rc == 0)
		rc = load_ticket_files(s, p, err);
	if (rc)
		return rc;
	s->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	s->cipher_128 = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
	if (!s->cipher || !s->cipher_128)
		return tls_ctx_fail(err, "no AES-CBC for session tickets", NULL, "");
	set_sessions(s, p);
	set_tickets(s, p);
	set_early_data(s, p);
	md = EVP_MD_CTX_new();
	rc = 0;
	if (!md || !set_id_context(s, p, md))
		rc = tls_ctx_fail(err, "cannot set the session id context", NULL, "");
	EVP_MD_CTX_free(md);
	return rc ? rc : tls_ctx_command(s->ctx, true, p->commands, err);
}

struct tls_server *tls_server_new(const struct tls_server_params *p, char err[TLS_TEXT_MAX])
{
	struct tls_server *s = calloc(1, sizeof *s);

	if (!s) {
		snprintf(err, TLS_TEXT_MAX, "out of memory");
		return NULL;
	}
	if (set_up(s, p, err)) {
		tls_server_free(s);
		return NULL;
	}
	ERR_clear_error();
	return s;
}

void tls_server_free(struct tls_server *s)
{
	if (!s)
		return;
	SSL_CTX_free(s->ctx);
	for (int i = 0; i < TLS_PAIRS_MAX; i++)
		X509_free(s->leaf[i]);
	for (int i = 0; i < TLS_PAIRS_MAX; i++)
		tls_staple_free(s->staple[i]);
	EVP_CIPHER_free(s->cipher);
	EVP_CIPHER_free(s->cipher_128);
	if (s->files)
		OPENSSL_cleanse(s->files, sizeof *s->files);
	free(s->files);
	free(s);
}
