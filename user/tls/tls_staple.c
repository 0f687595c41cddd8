/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the answers of OCSP responders: what is asked, which answer is taken, how long it is good. Does no
 * I/O but for ssl_stapling_file. */
#include "tls/tls_staple.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "core/num.h"
#include "core/shm.h"

enum {
	CLOCK_SKEW_S = 300,
	REFRESH_MAX_S = 3600, /* as nginx */
	REFRESH_EARLY_S = 300,
};

struct memory { /* in the zone */
	struct shm_lock lock;
	int64_t valid_s, due_s; /* INT64_MAX: no end */
	uint32_t ready;		/* the lock is made */
	uint32_t n;
	unsigned char der[TLS_STAPLE_DER_MAX];
};

_Static_assert(sizeof(struct memory) <= TLS_STAPLE_ZONE_BYTES, "it fits");

struct tls_staple {
	struct memory *memory; /* fetched; else: */
	unsigned char *file;   /* what the file holds */
	size_t file_n;
	bool verify;
	char *cert, *url, *host, *name, *target;
	struct tls_responder responder;
	OCSP_CERTID *id;
	STACK_OF(X509) * signers; /* the issuer */
	X509_STORE *store;
};

bool tls_staple_is_fetched(const struct tls_staple *s)
{
	return s->memory != NULL;
}

bool tls_staple_same(const struct tls_staple *a, const struct tls_staple *b)
{
	return a->memory && a->memory == b->memory;
}

const struct tls_responder *tls_staple_responder(const struct tls_staple *s)
{
	return &s->responder;
}

const char *tls_staple_cert_cstr(const struct tls_staple *s)
{
	return s->cert;
}

/* The memory. A holder that died may have left half an answer: none, then. */

static void lock(struct memory *m)
{
	if (shm_lock_get(&m->lock))
		m->n = 0;
}

time_t tls_staple_due_s(struct tls_staple *s)
{
	time_t due;

	lock(s->memory);
	due = s->memory->n ? (time_t)s->memory->due_s : 0;
	shm_lock_put(&s->memory->lock);
	return due;
}

size_t tls_staple_copy(struct tls_staple *s, time_t now_s, unsigned char **out)
{
	struct memory *m = s->memory;
	size_t n = 0;

	*out = NULL;
	if (s->file) {
		*out = OPENSSL_memdup(s->file, s->file_n);
		return *out ? s->file_n : 0;
	}
	lock(m);
	if (m->n && m->valid_s > now_s) {
		*out = OPENSSL_memdup(m->der, m->n);
		n = *out ? m->n : 0;
	}
	shm_lock_put(&m->lock);
	return n;
}

time_t tls_staple_refresh_s(time_t now_s, time_t valid_s)
{
	time_t left = valid_s ? valid_s - now_s : 2 * REFRESH_MAX_S, wait;

	wait = left - REFRESH_EARLY_S > left / 2 ? left - REFRESH_EARLY_S : left / 2;
	if (wait > REFRESH_MAX_S)
		wait = REFRESH_MAX_S;
	return now_s + (wait > 0 ? wait : 1);
}

/* An answer. */

static time_t when(const ASN1_GENERALIZEDTIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static int refuse(char *err, const char *fmt, int code, const char *text)
{
	int n = snprintf(err, TLS_TEXT_MAX, fmt, code, text);

	if (n >= 0 && n < TLS_TEXT_MAX)
		tls_ctx_take_errors(err + n, TLS_TEXT_MAX - (size_t)n);
	ERR_clear_error();
	return -SL_ETLS;
}

/* The dates of what BASIC says about our certificate, when that is good news. */
static int check(struct tls_staple *s, OCSP_BASICRESP *basic, time_t *valid_s, char *err)
{
	ASN1_GENERALIZEDTIME *this_update = NULL, *next_update = NULL;
	int status = 0;

	if (OCSP_basic_verify(basic, s->signers, s->store,
			      s->verify ? OCSP_TRUSTOTHER : OCSP_NOVERIFY) != 1)
		return refuse(err, "OCSP_basic_verify() failed%.0d%s", 0, "");
	if (OCSP_resp_find_status(basic, s->id, &status, NULL, NULL, &this_update, &next_update) !=
	    1)
		return refuse(err, "certificate status not found in the OCSP response%.0d%s", 0,
			      "");
	if (status != V_OCSP_CERTSTATUS_GOOD)
		return refuse(err, "certificate status %d \"%s\" in the OCSP response", status,
			      OCSP_cert_status_str(status));
	if (OCSP_check_validity(this_update, next_update, CLOCK_SKEW_S, -1) != 1)
		return refuse(err, "OCSP_check_validity() failed%.0d%s", 0, "");
	*valid_s = when(next_update);
	return 0;
}

static void keep(struct memory *m, struct slice der, time_t now_s, time_t valid_s)
{
	lock(m);
	m->n = (uint32_t)der.n;
	memcpy(m->der, der.p, der.n);
	m->valid_s = valid_s ? (int64_t)valid_s : INT64_MAX;
	m->due_s = (int64_t)tls_staple_refresh_s(now_s, valid_s);
	shm_lock_put(&m->lock);
}

int tls_staple_take(struct tls_staple *s, struct slice der, time_t now_s, char err[TLS_TEXT_MAX])
{
	const unsigned char *at = (const unsigned char *)der.p;
	OCSP_RESPONSE *answer;
	OCSP_BASICRESP *basic = NULL;
	time_t valid_s = 0;
	int rc, status;

	ERR_clear_error();
	if (der.n > TLS_STAPLE_DER_MAX)
		return refuse(err, "OCSP response of over %d bytes%s", TLS_STAPLE_DER_MAX, "");
	answer = d2i_OCSP_RESPONSE(NULL, &at, (long)der.n);
	if (!answer)
		return refuse(err, "d2i_OCSP_RESPONSE() failed%.0d%s", 0, "");
	status = OCSP_response_status(answer);
	if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		rc = refuse(err, "OCSP response not successful (%d: %s)", status,
			    OCSP_response_status_str(status));
	else if (!(basic = OCSP_response_get1_basic(answer)))
		rc = refuse(err, "OCSP_response_get1_basic() failed%.0d%s", 0, "");
	else
		rc = check(s, basic, &valid_s, err);
	if (rc == 0)
		keep(s->memory, der, now_s, valid_s);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(answer);
	ERR_clear_error();
	return rc;
}

/* The responder. */

static bool is_host(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ' || (s.p[i] & 0x80) || strchr("/?#@\"\\", s.p[i]))
			return false;
	return s.n > 0 && s.n <= 253;
}

/* "http://host[:port][/path]"; *path is the rest. */
static bool parse_url(struct slice url, struct slice *name, uint16_t *port, struct slice *path)
{
	struct slice rest = slice_skip(url, 7), host;
	ptrdiff_t slash = slice_find(rest, '/'), from, colon;
	uint64_t number = 80;

	if (!slice_istarts(url, SLICE("http://")))
		return false;
	host = slash < 0 ? rest : slice_make(rest.p, (size_t)slash);
	*path = slice_skip(rest, host.n);
	for (size_t i = 0; i < path->n; i++)
		if ((unsigned char)path->p[i] <= ' ' || (path->p[i] & 0x80))
			return false;
	from = slice_find(host, ']') + 1; /* behind an IPv6 address */
	colon = slice_find(slice_skip(host, (size_t)from), ':');
	if (colon >= 0) {
		colon += from;
		if (num_u63(slice_skip(host, (size_t)colon + 1), &number) || !number ||
		    number > 65535)
			return false;
		host.n = (size_t)colon;
	}
	*name = host;
	*port = (uint16_t)number;
	return is_host(host);
}

/* The request in base 64 behind the path, percent-encoded (RFC 6960 A.1). NULL: no memory. */
static char *make_target(struct tls_staple *s, struct slice path)
{
	OCSP_REQUEST *q = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_CERTID_dup(s->id);
	unsigned char *der = NULL;
	char *b64 = NULL, *out = NULL, *to;
	int n = 0;

	if (!q || !id || !OCSP_request_add0_id(q, id)) {
		OCSP_CERTID_free(id);
		goto done;
	}
	n = i2d_OCSP_REQUEST(q, &der);
	b64 = n > 0 ? malloc((size_t)n * 2 + 8) : NULL;
	out = b64 ? malloc(path.n + (size_t)n * 6 + 32) : NULL;
	if (!out)
		goto done;
	EVP_EncodeBlock((unsigned char *)b64, der, n);
	memcpy(out, path.p, path.n);
	to = out + path.n;
	if (!path.n || to[-1] != '/')
		*to++ = '/';
	for (const char *p = b64; *p; p++)
		to += strchr("+/=", *p) ? sprintf(to, "%%%02X", *p) : (*to = *p, 1);
	*to = 0;
done:
	OCSP_REQUEST_free(q);
	OPENSSL_free(der);
	free(b64);
	return out;
}

static bool set_responder(struct tls_staple *s, const char *url, struct slice name, uint16_t port,
			  struct slice path)
{
	char host[300];

	snprintf(host, sizeof host, port == 80 ? "%.*s" : "%.*s:%u", SLICE_FMT(name), port);
	s->url = strdup(url);
	s->host = strdup(host);
	s->name = strndup(name.p, name.n);
	s->target = make_target(s, path);
	if (!s->url || !s->host || !s->name || !s->target)
		return false;
	s->responder = (struct tls_responder){slice_cstr(s->url), slice_cstr(s->host),
					      slice_cstr(s->name), port, slice_cstr(s->target)};
	return true;
}

/* Making one. */

static void warn(const struct tls_staple_params *p, const char *fmt, const char *a, const char *b)
{
	char text[TLS_TEXT_MAX];

	snprintf(text, sizeof text, fmt, a, b);
	p->warn(p->data, text);
	ERR_clear_error();
}

/* Borrowed from CTX, with a reference; NULL when there is none. */
static X509 *find_issuer(SSL_CTX *ctx, X509 *leaf)
{
	X509_STORE_CTX *sc;
	STACK_OF(X509) *chain = NULL;
	X509 *issuer = NULL;

	SSL_CTX_get0_chain_certs(ctx, &chain);
	for (int i = 0; i < sk_X509_num(chain); i++) {
		issuer = sk_X509_value(chain, i);
		if (X509_check_issued(issuer, leaf) == X509_V_OK) {
			X509_up_ref(issuer);
			return issuer;
		}
	}
	issuer = NULL;
	sc = X509_STORE_CTX_new();
	if (!sc || !X509_STORE_CTX_init(sc, SSL_CTX_get_cert_store(ctx), NULL, NULL) ||
	    X509_STORE_CTX_get1_issuer(&issuer, sc, leaf) <= 0)
		issuer = NULL;
	X509_STORE_CTX_free(sc);
	ERR_clear_error();
	return issuer;
}

static int load_file(struct tls_staple *s, const char *path, char *err)
{
	BIO *bio = BIO_new_file(path, "rb");
	OCSP_RESPONSE *answer = bio ? d2i_OCSP_RESPONSE_bio(bio, NULL) : NULL;
	int n = answer ? i2d_OCSP_RESPONSE(answer, &s->file) : 0;

	BIO_free(bio);
	OCSP_RESPONSE_free(answer);
	if (n <= 0)
		return tls_ctx_fail(err, "cannot load OCSP response", path, "");
	s->file_n = (size_t)n;
	return 0;
}

/* The certificate's authority, and those that the user trusts, are whom an answer may come from. */
static int set_trust(struct tls_staple *s, X509 *issuer, const char *trusted, char *err)
{
	s->store = X509_STORE_new();
	s->signers = sk_X509_new_null();
	if (!s->store || !s->signers || !X509_up_ref(issuer))
		return tls_ctx_fail(err, "out of memory", NULL, "");
	if (!sk_X509_push(s->signers, issuer)) {
		X509_free(issuer);
		return tls_ctx_fail(err, "out of memory", NULL, "");
	}
	X509_STORE_set_flags(s->store, X509_V_FLAG_PARTIAL_CHAIN);
	if (X509_STORE_add_cert(s->store, issuer) != 1)
		return tls_ctx_fail(err, "cannot trust the issuer of certificate", s->cert, "");
	if (trusted && X509_STORE_load_file(s->store, trusted) != 1)
		return tls_ctx_fail(err, "cannot load trusted certificates", trusted, "");
	return 0;
}

static struct memory *open_memory(X509 *leaf, const struct tls_staple_params *p)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char name[2 * EVP_MAX_MD_SIZE + 1];
	struct memory *m;
	unsigned n = 0;

	if (X509_digest(leaf, EVP_sha256(), digest, &n) != 1)
		return NULL;
	for (unsigned i = 0; i < n; i++)
		snprintf(name + 2 * (size_t)i, 3, "%02x", digest[i]);
	m = p->zone(p->data, slice_make(name, 2 * (size_t)n));
	if (m && !m->ready) {
		shm_lock_init(&m->lock);
		m->ready = 1;
	}
	return m;
}

/* 0: it will be fetched; 1: stapling is left out, warn() was told; -SL_ETLS. */
static int set_up(struct tls_staple *s, SSL_CTX *ctx, X509 *leaf, const struct tls_staple_params *p,
		  char *err)
{
	X509 *issuer = find_issuer(ctx, leaf);
	STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(leaf);
	const char *url = p->responder_cstr		    ? p->responder_cstr
			  : sk_OPENSSL_STRING_num(urls) > 0 ? sk_OPENSSL_STRING_value(urls, 0)
							    : NULL;
	struct slice name, path;
	uint16_t port;
	int rc = 1;

	if (!issuer) {
		warn(p,
		     "\"ssl_stapling\" ignored, issuer certificate not found for certificate \"%s\"%s",
		     s->cert, "");
	} else if (!url) {
		warn(p,
		     "\"ssl_stapling\" ignored, no OCSP responder URL in the certificate \"%s\"%s",
		     s->cert, "");
	} else if (!parse_url(slice_cstr(url), &name, &port, &path)) {
		warn(p,
		     "\"ssl_stapling\" ignored, invalid OCSP responder \"%s\" in the certificate "
		     "\"%s\"",
		     url, s->cert);
	} else if (!(s->id = OCSP_cert_to_id(NULL, leaf, issuer)) ||
		   !set_responder(s, url, name, port, path)) {
		rc = tls_ctx_fail(err, "cannot make an OCSP request for certificate", s->cert, "");
	} else {
		rc = set_trust(s, issuer, p->trusted_cstr, err);
	}
	if (rc == 0 && !(s->memory = open_memory(leaf, p)))
		rc = tls_ctx_fail(err, "no memory for OCSP responses of", s->cert, "");
	X509_email_free(urls);
	X509_free(issuer);
	return rc;
}

int tls_staple_new(SSL_CTX *ctx, X509 *leaf, const char *cert_cstr,
		   const struct tls_staple_params *p, struct tls_staple **out,
		   char err[TLS_TEXT_MAX])
{
	struct tls_staple *s = calloc(1, sizeof *s);
	int rc;

	*out = NULL;
	if (!s || !(s->cert = strdup(cert_cstr))) {
		free(s);
		return tls_ctx_fail(err, "out of memory", NULL, "");
	}
	s->verify = p->verify;
	rc = p->file_cstr ? load_file(s, p->file_cstr, err) : set_up(s, ctx, leaf, p, err);
	if (rc == 0)
		*out = s;
	else
		tls_staple_free(s);
	return rc < 0 ? rc : 0;
}

void tls_staple_free(struct tls_staple *s)
{
	if (!s)
		return;
	OPENSSL_free(s->file);
	OCSP_CERTID_free(s->id);
	sk_X509_pop_free(s->signers, X509_free);
	X509_STORE_free(s->store);
	free(s->cert);
	free(s->url);
	free(s->host);
	free(s->name);
	free(s->target);
	free(s);
}
