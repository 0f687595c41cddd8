/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what every SSL_CTX of sluice is set to, and the loading of certificates and keys. Decides
 * nothing about verification, sessions or names. */
#include "tls/tls_ctx.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "tls/tls_state.h"

size_t tls_ctx_take_errors(char *to, size_t room)
{
	const char *data, *open = " (SSL: ";
	size_t at = 0;
	unsigned long e;
	char text[256];
	int flags, n;

	to[0] = 0;
	while ((e = ERR_get_error_all(NULL, NULL, NULL, &data, &flags))) {
		ERR_error_string_n(e, text, sizeof text);
		n = snprintf(to + at, room - at, "%s%s%s%s", open, text,
			     flags & ERR_TXT_STRING ? ":" : "", flags & ERR_TXT_STRING ? data : "");
		if (n < 0 || (size_t)n >= room - at)
			break;
		at += (size_t)n;
		open = " ";
	}
	ERR_clear_error();
	if (at && at + 1 < room) {
		to[at++] = ')';
		to[at] = 0;
	}
	return at;
}

int tls_ctx_fail(char err[TLS_TEXT_MAX], const char *what, const char *value, const char *how)
{
	int n = snprintf(err, TLS_TEXT_MAX, value ? "%s \"%.300s\"%s" : "%s%s%s", what,
			 value ? value : "", how);

	if (n >= 0 && n < TLS_TEXT_MAX)
		tls_ctx_take_errors(err + n, TLS_TEXT_MAX - (size_t)n);
	ERR_clear_error();
	return -SL_ETLS;
}

static void set_protocols(SSL_CTX *ctx, unsigned protocols)
{
	static const struct {
		unsigned bit;
		int version;
		uint64_t no;
	} all[] = {
		{TLS_V1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
		{TLS_V1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
		{TLS_V1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
		{TLS_V1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
	};
	int min = 0, max = 0;

	/* The system's openssl.cnf sets a minimum, which only an explicit one replaces. */
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (!(protocols & all[i].bit)) {
			SSL_CTX_set_options(ctx, all[i].no);
			continue;
		}
		min = min ? min : all[i].version;
		max = all[i].version;
	}
	SSL_CTX_set_min_proto_version(ctx, min);
	SSL_CTX_set_max_proto_version(ctx, max);
}

SSL_CTX *tls_ctx_new(bool is_server, unsigned protocols, const char *ciphers_cstr,
		     char err[TLS_TEXT_MAX])
{
	SSL_CTX *ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

	if (!ctx) {
		tls_ctx_fail(err, "cannot make a TLS context", NULL, "");
		return NULL;
	}
	set_protocols(ctx, protocols);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_msg_callback(ctx, tls_state_on_message);
	if (ciphers_cstr && SSL_CTX_set_cipher_list(ctx, ciphers_cstr) != 1) {
		tls_ctx_fail(err, "invalid TLS ciphers", ciphers_cstr, "");
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

bool tls_ctx_set_curves(SSL_CTX *ctx, const char *curves_cstr)
{
	return strcmp(curves_cstr, "auto") == 0 || SSL_CTX_set1_groups_list(ctx, curves_cstr) == 1;
}

int tls_ctx_check_ciphers(const char *ciphers_cstr, char err[TLS_TEXT_MAX])
{
	SSL_CTX *ctx = tls_ctx_new(true, TLS_V1_2, ciphers_cstr, err);

	SSL_CTX_free(ctx);
	return ctx ? 0 : -SL_ETLS;
}

int tls_ctx_check_curves(const char *curves_cstr, char err[TLS_TEXT_MAX])
{
	SSL_CTX *ctx = tls_ctx_new(true, TLS_V1_2, NULL, err);
	int rc = -SL_ETLS;

	if (ctx)
		rc = tls_ctx_set_curves(ctx, curves_cstr)
			     ? 0
			     : tls_ctx_fail(err, "invalid TLS curves", curves_cstr, "");
	SSL_CTX_free(ctx);
	return rc;
}

/* Without a pass phrase such keys are refused: a prompt would hang the start. */
static int no_password(char *buf, int size, int rwflag, void *u)
{
	return -1;
}

static int load_chain(BIO *bio, SSL_CTX *ctx, const char *file, char *err)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509 *x;
	unsigned long e;

	if (!chain)
		return tls_ctx_fail(err, "cannot load certificate", file, ": out of memory");
	while ((x = PEM_read_bio_X509(bio, NULL, no_password, NULL)))
		sk_X509_push(chain, x);
	e = ERR_peek_last_error();
	if (ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) != PEM_R_NO_START_LINE) {
		sk_X509_pop_free(chain, X509_free);
		return tls_ctx_fail(err, "cannot load certificate", file,
				    ": PEM_read_bio_X509() failed");
	}
	ERR_clear_error();
	if (SSL_CTX_set0_chain(ctx, chain) != 1) {
		sk_X509_pop_free(chain, X509_free);
		return tls_ctx_fail(err, "cannot use the chain of certificate", file, "");
	}
	return 0;
}

static int load_cert(SSL_CTX *ctx, const char *file, X509 **leaf, char *err)
{
	BIO *bio = BIO_new_file(file, "r");
	int rc;

	*leaf = NULL;
	if (!bio)
		return tls_ctx_fail(err, "cannot load certificate", file,
				    ": BIO_new_file() failed");
	*leaf = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL);
	if (!*leaf)
		rc = tls_ctx_fail(err, "cannot load certificate", file,
				  ": PEM_read_bio_X509_AUX() failed");
	else if (SSL_CTX_use_certificate(ctx, *leaf) != 1)
		rc = tls_ctx_fail(err, "cannot use certificate", file,
				  ": SSL_CTX_use_certificate() failed");
	else
		rc = load_chain(bio, ctx, file, err);
	BIO_free(bio);
	return rc;
}

/* Tries one pass phrase after the other. */
static int give_password(char *buf, int size, int rwflag, void *u)
{
	const char *text = u;
	size_t n = strlen(text);

	if (n > (size_t)size)
		return -1;
	memcpy(buf, text, n);
	return (int)n;
}

static EVP_PKEY *read_key(BIO *bio, const struct tls_passwords *p)
{
	EVP_PKEY *key;

	if (!p || !p->n)
		return PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	for (int i = 0; i < p->n; i++) {
		key = PEM_read_bio_PrivateKey(bio, NULL, give_password, p->cstr[i]);
		if (key) {
			ERR_clear_error();
			return key;
		}
		if (i + 1 < p->n)
			ERR_clear_error();
		(void)BIO_reset(bio);
	}
	return NULL;
}

int tls_ctx_use_pair(SSL_CTX *ctx, const struct tls_pair *pair, char err[TLS_TEXT_MAX])
{
	EVP_PKEY *key = NULL;
	X509 *leaf = NULL;
	BIO *bio = NULL;
	char how[TLS_TEXT_MAX];
	int rc = load_cert(ctx, pair->cert_cstr, &leaf, err);

	if (rc)
		goto out;
	bio = BIO_new_file(pair->key_cstr, "r");
	if (!bio) {
		rc = tls_ctx_fail(err, "cannot load certificate key", pair->key_cstr,
				  ": BIO_new_file() failed");
		goto out;
	}
	key = read_key(bio, pair->passwords);
	if (!key) {
		rc = tls_ctx_fail(err, "cannot load certificate key", pair->key_cstr,
				  ": PEM_read_bio_PrivateKey() failed");
		goto out;
	}
	if (X509_check_private_key(leaf, key) != 1) {
		snprintf(how, sizeof how, " does not match certificate \"%.300s\"",
			 pair->cert_cstr);
		rc = tls_ctx_fail(err, "certificate key", pair->key_cstr, how);
		goto out;
	}
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
		rc = tls_ctx_fail(err, "cannot use certificate key", pair->key_cstr,
				  ": SSL_CTX_use_PrivateKey() failed");
out:
	EVP_PKEY_free(key);
	X509_free(leaf);
	BIO_free(bio);
	return rc;
}

/* Pass phrases. */

enum { PASSWORDS_MAX = 64, PASSWORD_BYTES_MAX = 512 };

static int read_passwords(struct tls_passwords *p, FILE *f)
{
	char line[PASSWORD_BYTES_MAX + 3];
	int rc = 0;
	size_t n;

	while (rc == 0 && fgets(line, sizeof line, f)) {
		n = strlen(line);
		if (n && line[n - 1] != '\n' && !feof(f))
			rc = -SL_ELIMIT;
		while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
			line[--n] = 0;
		if (rc || !n)
			continue;
		if (p->n == PASSWORDS_MAX)
			rc = -SL_ELIMIT;
		else if ((p->cstr[p->n] = strdup(line)))
			p->n++;
		else
			rc = -SL_ENOMEM;
	}
	OPENSSL_cleanse(line, sizeof line);
	return rc ? rc : ferror(f) ? -SL_ESYS : 0;
}

struct tls_passwords *tls_passwords_load(const char *path_cstr, char err[TLS_TEXT_MAX])
{
	struct tls_passwords *p = calloc(1, sizeof *p);
	FILE *f = fopen(path_cstr, "re");
	char room[BUFSIZ];

	if (!f || !p || !(p->cstr = calloc(PASSWORDS_MAX, sizeof *p->cstr))) {
		snprintf(err, TLS_TEXT_MAX, "cannot open password file \"%.300s\": %s", path_cstr,
			 strerror(errno));
		goto fail;
	}
	setvbuf(f, room, _IOFBF, sizeof room); /* ours, so that it can be wiped */
	switch (read_passwords(p, f)) {
	case 0:
		fclose(f);
		OPENSSL_cleanse(room, sizeof room);
		return p;
	case -SL_ELIMIT:
		snprintf(err, TLS_TEXT_MAX,
			 "password file \"%.300s\" has a line of more than %d bytes, or more than "
			 "%d lines",
			 path_cstr, PASSWORD_BYTES_MAX, PASSWORDS_MAX);
		break;
	default:
		snprintf(err, TLS_TEXT_MAX, "cannot read password file \"%.300s\": %s", path_cstr,
			 strerror(errno));
		break;
	}
fail:
	if (f)
		fclose(f);
	OPENSSL_cleanse(room, sizeof room);
	tls_passwords_free(p);
	return NULL;
}

void tls_passwords_free(struct tls_passwords *p)
{
	for (int i = 0; p && i < p->n; i++) {
		OPENSSL_cleanse(p->cstr[i], strlen(p->cstr[i]));
		free(p->cstr[i]);
	}
	if (p)
		free(p->cstr);
	free(p);
}

/* OpenSSL's own commands. */

static SSL_CONF_CTX *command_ctx(bool is_server, SSL_CTX *ctx)
{
	SSL_CONF_CTX *cc = SSL_CONF_CTX_new();

	if (!cc)
		return NULL;
	SSL_CONF_CTX_set_flags(
		cc, SSL_CONF_FLAG_FILE | SSL_CONF_FLAG_CERTIFICATE | SSL_CONF_FLAG_SHOW_ERRORS |
			    (is_server ? SSL_CONF_FLAG_SERVER : SSL_CONF_FLAG_CLIENT));
	if (ctx)
		SSL_CONF_CTX_set_ssl_ctx(cc, ctx);
	return cc;
}

bool tls_ctx_command_is_path(bool is_server, const char *name_cstr)
{
	SSL_CONF_CTX *cc = command_ctx(is_server, NULL);
	int type = cc ? SSL_CONF_cmd_value_type(cc, name_cstr) : 0;

	SSL_CONF_CTX_free(cc);
	return type == SSL_CONF_TYPE_FILE || type == SSL_CONF_TYPE_DIR;
}

int tls_ctx_command(SSL_CTX *ctx, bool is_server, const struct tls_command *commands,
		    char err[TLS_TEXT_MAX])
{
	SSL_CONF_CTX *cc = commands ? command_ctx(is_server, ctx) : NULL;
	char what[128];
	int rc = 0;

	if (!commands)
		return 0;
	if (!cc)
		return tls_ctx_fail(err, "out of memory", NULL, "");
	for (; commands && rc == 0; commands = commands->next) {
		snprintf(what, sizeof what, "SSL_CONF_cmd(\"%.80s\") failed for",
			 commands->name_cstr);
		if (SSL_CONF_cmd(cc, commands->name_cstr, commands->value_cstr) <= 0)
			rc = tls_ctx_fail(err, what, commands->value_cstr, "");
	}
	if (rc == 0 && SSL_CONF_CTX_finish(cc) != 1)
		rc = tls_ctx_fail(err, "SSL_CONF_CTX_finish() failed", NULL, "");
	SSL_CONF_CTX_free(cc);
	return rc;
}
