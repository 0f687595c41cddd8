/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the TLS state of a connection: OpenSSL's SSL over a BIO that reads and writes through
 * conn_raw_read/conn_raw_write, so that no system call is made that is known to end in EAGAIN.
 * Chooses no certificates and no policy. */
#include "tls/tls_conn.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "tls/tls_early.h"
#include "tls/tls_state.h"

/* The one context of the process: nothing of it lives longer than a call. */
static struct {
	BIO *bio;		      /* one for all connections: of the one that is in use */
	char staging[TLS_RECORD_MAX]; /* where small pieces become one record */
} process;

static const struct conn_ops tls_ops;

/* Makes T the connection that OpenSSL works for. */
static void enter(struct tls_conn *t)
{
	tls_bank_enter(&t->seat);
	BIO_set_data(process.bio, t);
	BIO_clear_retry_flags(process.bio);
}

/* The BIO. */

/* As nginx: a TLS record of type handshake, or an SSLv2 hello, which OpenSSL refuses in its own
 * words. */
static bool looks_plain(const char *p)
{
	return !(*p & 0x80) && *p != 0x16;
}

static int keep_plain(struct tls_conn *t, const char *p, size_t n)
{
	t->got_plain = true;
	t->plain = malloc(n);
	if (t->plain) {
		memcpy(t->plain, p, n);
		t->plain_n = (uint16_t)n;
	}
	return 0;
}

static int bio_read(BIO *b, char *to, size_t n, size_t *got)
{
	struct tls_conn *t = BIO_get_data(b);
	bool first = t->listener && !t->seen;
	ssize_t r;

	BIO_clear_retry_flags(b);
	if (first && n > TLS_PLAIN_MAX)
		n = TLS_PLAIN_MAX;
	r = t->rekeys ? -SL_ERESET : conn_raw_read(t->conn, to, n);
	if (r > 0) {
		t->seen = true;
		if (first && looks_plain(to))
			return keep_plain(t, to, (size_t)r);
		*got = (size_t)r;
		return 1;
	}
	*got = 0;
	if (r == -SL_EAGAIN)
		BIO_set_retry_read(b);
	else
		t->raw_rc = r == 0 ? -SL_ETRUNCATED : -SL_ERESET;
	return 0;
}

static int bio_write(BIO *b, const char *from, size_t n, size_t *put)
{
	struct tls_conn *t = BIO_get_data(b);
	ssize_t r = conn_raw_write(t->conn, from, n);

	BIO_clear_retry_flags(b);
	if (r > 0) {
		*put = (size_t)r;
		return 1;
	}
	*put = 0;
	if (r == -SL_EAGAIN) {
		BIO_set_retry_write(b);
	} else if (t->client && t->done) {
		/* A server that answered and left takes no more, but after an error OpenSSL would not
		 * read what it said before: whoever reads meets the end there. */
		t->conn->readable = true;
		t->conn->writable = false;
		BIO_set_retry_write(b);
	} else {
		t->raw_rc = -SL_ERESET;
	}
	return 0;
}

/* BIO_CTRL_EOF is denied on purpose: OpenSSL would send an alert to a peer that is gone and drop
 * the session. raw_rc tells an end without close_notify from an orderly one. */
static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

static bool bio_make(void)
{
	BIO_METHOD *method;

	if (process.bio)
		return true;
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");
	if (!method)
		return false;
	BIO_meth_set_read_ex(method, bio_read);
	BIO_meth_set_write_ex(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
	process.bio = BIO_new(method);
	if (process.bio)
		BIO_set_init(process.bio, 1);
	else
		BIO_meth_free(method);
	return process.bio != NULL;
}

/* Starting. */

static struct tls_conn *state_new(struct conn *c, SSL_CTX *ctx)
{
	struct tls_conn *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->conn = c;
	t->record_bytes = TLS_RECORD_MAX;
	t->ssl = bio_make() ? tls_bank_new(&t->seat, ctx) : NULL;
	if (!t->ssl) {
		free(t);
		ERR_clear_error();
		return NULL;
	}
	enter(t);
	BIO_up_ref(process.bio);
	SSL_set_bio(t->ssl, process.bio, process.bio);
	return t;
}

static void state_free(struct tls_conn *t)
{
	enter(t);
	tls_bank_free(&t->seat, t->ssl);
	BIO_set_data(process.bio, NULL);
	tls_early_free(t->early);
	free(t->text);
	free(t->plain);
	free(t);
	ERR_clear_error();
}

int tls_accept_start(struct conn *c, const struct tls_listener *l)
{
	struct tls_conn *t = state_new(c, tls_server_ctx(l->server));

	if (!t)
		return -SL_ENOMEM;
	t->listener = l;
	t->record_bytes = (uint16_t)tls_server_record_bytes(l->server);
	if (tls_server_takes_early(l->server) && !(t->early = tls_early_new())) {
		state_free(t);
		return -SL_ENOMEM;
	}
	SSL_set_accept_state(t->ssl);
	c->tls = t;
	c->ops = &tls_ops;
	return 0;
}

/* What the certificate has to be for, and SNI. */
static int set_name(struct tls_conn *t, struct slice name, bool sni)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	struct addr a;
	char text[256];

	if (name.n && name.p[name.n - 1] == '.')
		name.n--;
	if (addr_from_ip(name, 0, &a) == 0) {
		addr_ip_text(&a, text);
		return X509_VERIFY_PARAM_set1_ip_asc(param, text) == 1 ? 0 : -SL_EINVAL;
	}
	if (name.n == 0)
		return tls_client_verifies(t->client) || sni ? -SL_EINVAL : 0;
	if (name.n >= sizeof text || memchr(name.p, 0, name.n))
		return -SL_EINVAL;
	memcpy(text, name.p, name.n);
	text[name.n] = 0;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (X509_VERIFY_PARAM_set1_host(param, text, name.n) != 1 ||
	    (sni && SSL_set_tlsext_host_name(t->ssl, text) != 1))
		return -SL_EINVAL;
	return 0;
}

/* A session that was verified for other names must not stand in for a check of these. */
static void use_session(struct tls_conn *t, struct hash128 key)
{
	t->key = key;
	SSL_set_session(t->ssl, tls_client_session(t->client, key));
}

int tls_accept_name(struct conn *c, struct slice name)
{
	struct tls_conn *t = c->tls;
	struct slice before = slice_make((const char *)&t->key, sizeof t->key);
	char text[ADDR_TEXT_MAX];
	struct addr a;

	if (name.n && name.p[name.n - 1] == '.')
		name.n--;
	if (name.n == 0 || name.n > 255 || memchr(name.p, 0, name.n))
		return -SL_EINVAL;
	enter(t);
	if (addr_from_ip(name, 0, &a) == 0) {
		addr_ip_text(&a, text);
		snprintf(t->also_ip, sizeof t->also_ip, "%.45s", text);
	} else if (X509_VERIFY_PARAM_add1_host(SSL_get0_param(t->ssl), name.p, name.n) != 1) {
		return -SL_EINVAL;
	}
	use_session(t, tls_client_key(t->client, name, before));
	return 0;
}

int tls_connect_start(struct conn *c, struct tls_client *client, struct slice name, bool sni,
		      const struct addr *peer)
{
	struct tls_conn *t = state_new(c, tls_client_ctx(client));
	char text[ADDR_TEXT_MAX];
	size_t n = 0;

	if (!t)
		return -SL_ENOMEM;
	t->client = client;
	if (set_name(t, name, sni)) {
		state_free(t);
		return -SL_EINVAL;
	}
	if (peer)
		n = addr_text(peer, text);
	use_session(t, tls_client_key(client, name, slice_make(text, n)));
	SSL_set_connect_state(t->ssl);
	c->tls = t;
	c->ops = &tls_ops;
	return 0;
}

/* Errors. */

/* OpenSSL's reasons for alerts are these and the alert's number (RFC 8446 6). */
enum { REASON_ALERT = 1000 };

static bool is_offence(unsigned long e)
{
	static const uint8_t about_us[] = {42, 43, 44, 45, 46, 48, 90, 113, 114};
	int reason = ERR_GET_REASON(e);

	if (reason == SSL_R_CERT_CB_ERROR || reason == SSL_R_NO_CERTIFICATE_ASSIGNED)
		return false;
	for (size_t i = 0; i < sizeof about_us; i++)
		if (reason == REASON_ALERT + about_us[i])
			return false;
	return true;
}

static void describe(struct tls_conn *t, const char *call)
{
	unsigned long e = ERR_peek_last_error();
	int reason = ERR_GET_REASON(e);
	char text[TLS_TEXT_MAX];

	t->ours = e && (ERR_GET_LIB(e) != ERR_LIB_SSL || reason == ERR_R_MALLOC_FAILURE ||
			reason == ERR_R_INTERNAL_ERROR);
	t->offends = e && !t->ours && is_offence(e);
	if (t->text && !e)
		return;
	tls_ctx_take_errors(text, sizeof text);
	tls_state_text(t, "%s() failed%s", call, text);
}

/* R is what OpenSSL's CALL returned. 0: an orderly end; -SL_EAGAIN, -SL_ERESET, -SL_ETRUNCATED,
 * -SL_ETLS. The error queue is empty afterwards. */
static int classify(struct tls_conn *t, int r, const char *call)
{
	int e = SSL_get_error(t->ssl, r);
	int rc = t->raw_rc ? t->raw_rc : -SL_ETLS;

	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return -SL_EAGAIN;
	if (e == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (e == SSL_ERROR_SSL)
		rc = -SL_ETLS;
	if (t->got_plain)
		tls_state_text(t, "client sent plain HTTP request to HTTPS port");
	else if (rc == -SL_ETLS)
		describe(t, call);
	else if (rc == -SL_ERESET)
		tls_state_text(t, "%s() failed: connection reset by peer", call);
	else if (!t->done)
		tls_state_text(t, "peer closed connection in SSL handshake");
	if (rc != -SL_ETLS || t->got_plain)
		t->offends = t->seen;
	t->broken = rc != -SL_ETRUNCATED || !t->done;
	ERR_clear_error();
	return rc;
}

/* Errors that another part of the process left would be taken for this connection's. */
static void forget_old_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

static bool has_pending(const struct tls_conn *t)
{
	return SSL_has_pending(t->ssl) || (t->early && tls_early_pending(t->early));
}

/* When a TLS 1.3 session is used, OpenSSL marks it "not resumable", and the mark is copied to each
 * session that the server gives for it: every second handshake would be a full one. It does so only
 * where a context caches, so during handshakes ours does not; TLS 1.3 hands sessions out later,
 * earlier versions now. */
static int client_handshake(struct tls_conn *t)
{
	SSL_CTX *ctx = tls_client_ctx(t->client);
	long mode = SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	int r = SSL_do_handshake(t->ssl);
	SSL_SESSION *sess;

	SSL_CTX_set_session_cache_mode(ctx, mode);
	if (r != 1 || SSL_version(t->ssl) >= TLS1_3_VERSION)
		return r;
	sess = SSL_get1_session(t->ssl);
	if (!sess || !SSL_SESSION_is_resumable(sess) || !tls_client_keep(t->client, t->key, sess))
		SSL_SESSION_free(sess);
	return r;
}

/* Once nothing early is left, the handshake (if that is still open) goes on by itself. */
static void end_early(struct tls_conn *t)
{
	if (t->early && !tls_early_is_on(t->early)) {
		tls_early_free(t->early);
		t->early = NULL;
	}
}

/* What OpenSSL keeps of a handshake though nobody asks for it any more. */
static void free_handshake(struct tls_conn *t)
{
	STACK_OF(SSL_CIPHER) *offered = SSL_get_client_ciphers(t->ssl);

	SSL_set_tlsext_status_ocsp_resp(t->ssl, NULL, 0);
	if (offered && !t->early) {
		sk_SSL_CIPHER_zero(offered);
		sk_SSL_CIPHER_reserve(offered, 0);
	}
}

static int server_handshake(struct tls_conn *t)
{
	int r = t->early ? tls_early_handshake(t->early, t->ssl) : SSL_do_handshake(t->ssl);

	end_early(t);
	return r;
}

int tls_handshake(struct conn *c)
{
	struct tls_conn *t = c->tls;
	int r, rc;

	if (t->done)
		return 0;
	if (t->broken)
		return -SL_ETLS;
	enter(t);
	forget_old_errors();
	r = t->client ? client_handshake(t) : server_handshake(t);
	if (r == 1) {
		t->done = true;
		/* What came in the same segment as the last message is OpenSSL's already. */
		t->pending = has_pending(t);
		if (t->listener)
			free_handshake(t);
		return 0;
	}
	rc = classify(t, r, "SSL_do_handshake");
	if (rc == -SL_EAGAIN)
		return rc;
	if (rc == 0)
		tls_state_text(t, "peer closed connection in SSL handshake");
	t->broken = true;
	if (t->client)
		tls_client_forget(t->client, t->key);
	return -SL_ETLS;
}

/* The I/O table. */

static ssize_t tls_read(struct conn *c, void *to, size_t n)
{
	struct tls_conn *t = c->tls;
	size_t got = 0;
	int r = 1, rc;

	if (t->ended) {
		t->pending = false;
		return t->end_rc;
	}
	/* OpenSSL would take 16 KB from the heap only to learn this. */
	if (!t->pending && !c->readable && !c->peer_closed &&
	    !(t->read_waits_to_write && c->writable))
		return -SL_EAGAIN;
	enter(t);
	forget_old_errors();
	t->read_waits_to_write = false;
	while (got < n) {
		size_t want = n - got < INT32_MAX ? n - got : INT32_MAX;

		r = t->early ? tls_early_read(t->early, t->ssl, (char *)to + got, (int)want)
			     : SSL_read(t->ssl, (char *)to + got, (int)want);
		end_early(t);
		if (r <= 0)
			break;
		got += (size_t)r;
		t->pending = has_pending(t);
		if (!t->pending)
			break;
	}
	if (r <= 0) {
		t->read_waits_to_write = SSL_want_write(t->ssl);
		rc = classify(t, r, "SSL_read");
		t->ended = rc != -SL_EAGAIN;
		t->end_rc = (int8_t)rc;
		t->pending = t->ended && got;
		if (!got)
			return rc;
	}
	c->n_received += got;
	return (ssize_t)got;
}

/* Up to one record from IOV, beginning with byte *OFF of iov[*I]: direct where that is large or the
 * last, gathered else. The same bytes cut otherwise give at least as many as before, which OpenSSL
 * asks of whoever repeats a write. */
static size_t next_record(size_t max, const struct iovec *iov, int n_iov, int *i, size_t *off,
			  const char **p)
{
	size_t n = 0, left;
	int j;

	while (*i < n_iov && *off == iov[*i].iov_len) {
		*off = 0;
		++*i;
	}
	if (*i == n_iov)
		return 0;
	left = iov[*i].iov_len - *off;
	*p = (const char *)iov[*i].iov_base + *off;
	if (left >= max || *i + 1 == n_iov)
		return left < max ? left : max;
	memcpy(process.staging, *p, left);
	n = left;
	for (j = *i + 1; j < n_iov && n < max; j++) {
		size_t m = iov[j].iov_len < max - n ? iov[j].iov_len : max - n;

		memcpy(process.staging + n, iov[j].iov_base, m);
		n += m;
	}
	*p = process.staging;
	return n;
}

static void advance(const struct iovec *iov, int n_iov, int *i, size_t *off, size_t n)
{
	while (n && *i < n_iov) {
		size_t left = iov[*i].iov_len - *off;

		if (n < left) {
			*off += n;
			return;
		}
		n -= left;
		*off = 0;
		++*i;
	}
}

static ssize_t tls_writev(struct conn *c, const struct iovec *iov, int n_iov)
{
	struct tls_conn *t = c->tls;
	size_t put = 0, n, off = 0;
	const char *p;
	int i = 0, r = 1, rc;

	if (t->broken)
		return t->raw_rc == -SL_ERESET ? -SL_ERESET : -SL_ETLS;
	if (!c->writable)
		return -SL_EAGAIN;
	enter(t);
	forget_old_errors();
	while (c->writable && (n = next_record(t->record_bytes, iov, n_iov, &i, &off, &p))) {
		r = t->early ? tls_early_write(t->early, t->ssl, p, (int)n)
			     : SSL_write(t->ssl, p, (int)n);
		if (r <= 0)
			break;
		put += (size_t)r;
		advance(iov, n_iov, &i, &off, (size_t)r);
	}
	c->n_sent += put;
	if (r > 0)
		return (ssize_t)put;
	rc = classify(t, r, "SSL_write");
	if (put)
		return (ssize_t)put; /* an error comes again */
	return rc == 0 ? -SL_ERESET : rc;
}

static bool tls_pending(const struct conn *c)
{
	const struct tls_conn *t = c->tls;

	return t->pending || (t->read_waits_to_write && c->writable);
}

static void tls_shutdown(struct conn *c)
{
	struct tls_conn *t = c->tls;

	if (t->done && !t->broken) {
		enter(t);
		SSL_shutdown(t->ssl);
		ERR_clear_error();
	}
	/* conn_close() comes here too, and its close(2) sends the FIN. */
	if (c->shut)
		shutdown(c->io.fd, SHUT_WR);
}

static void tls_fini(struct conn *c)
{
	struct tls_conn *t = c->tls;

	enter(t);
	/* Else OpenSSL takes the session for a bad one: peers often leave without close_notify. */
	if (!t->broken || t->raw_rc)
		SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	state_free(t);
	c->tls = NULL;
	c->ops = &conn_plain_ops;
}

static const struct conn_ops tls_ops = {
	.read = tls_read,
	.writev = tls_writev,
	.pending = tls_pending,
	.shutdown = tls_shutdown,
	.fini = tls_fini,
};

/* What failed. */

static const struct tls_conn *state(const struct conn *c)
{
	return c->ops == &tls_ops ? c->tls : NULL;
}

const char *tls_error_text(const struct conn *c)
{
	const struct tls_conn *t = state(c);

	return t && t->text ? t->text : "";
}

bool tls_error_is_peers(const struct conn *c)
{
	const struct tls_conn *t = state(c);

	return t && !t->ours;
}

bool tls_error_is_offence(const struct conn *c)
{
	const struct tls_conn *t = state(c);

	return t && !t->done && t->offends;
}

bool tls_got_plain_http(const struct conn *c)
{
	const struct tls_conn *t = state(c);

	return t && t->got_plain;
}

size_t tls_drop(struct conn *c, void *to, size_t room)
{
	struct tls_conn *t = c->tls;
	size_t n = t->plain_n < room ? t->plain_n : room;

	if (n)
		memcpy(to, t->plain, n);
	tls_fini(c);
	return n;
}

bool tls_handshake_done(const struct conn *c)
{
	const struct tls_conn *t = state(c);

	return t && t->done;
}

struct tls_seat *tls_conn_seat(const struct conn *c)
{
	return &((struct tls_conn *)c->tls)->seat;
}

SSL *tls_conn_ssl(const struct conn *c)
{
	struct tls_conn *t = c->ops == &tls_ops ? c->tls : NULL;

	if (!t)
		return NULL;
	enter(t);
	return t->ssl;
}
