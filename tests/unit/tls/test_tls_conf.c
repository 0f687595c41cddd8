/* SPDX-License-Identifier: BSD-2-Clause */
/* The ssl_* directives: what they make, and what is said when they are wrong. */
#include "rig.h"

#include "conf/load.h"
#include "tls/tls_conf.h"

static const struct conf_row http_rows[] = {
	{.name = "http", .contexts = CTX_MAIN, .type = CONF_BLOCK, .block_ctx = CTX_HTTP},
	{.name = "server",
	 .contexts = CTX_HTTP,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_SERVER,
	 .flags = CONF_MULTI},
};

static const struct conf_module http_module = {.name = "http", .rows = http_rows, .n_rows = 2};

static const struct conf_module *const modules[CONF_N_MODULES] = {
	[MOD_HTTP] = &http_module, [MOD_TLS] = &tls_module};

static const struct var_def *const no_vars[] = {NULL};

struct loaded {
	struct conf c;
	int rc;
	char said[4096]; /* on stderr, the rig's folder as DIR */
};

static void take_said(struct loaded *l, FILE *f, const char *dir)
{
	size_t n, dir_n = strlen(dir);
	char *at;

	fseek(f, 0, SEEK_SET);
	n = fread(l->said, 1, sizeof l->said - 1, f);
	l->said[n] = 0;
	while ((at = strstr(l->said, dir))) {
		memcpy(at, "DIR", 3);
		memmove(at + 3, at + dir_n, strlen(at + dir_n) + 1);
	}
}

static void load(struct loaded *l, struct rig *r, struct shm_registry *shm, const char *text)
{
	FILE *f = tmpfile();
	int saved = dup(STDERR_FILENO);
	char dir[80];

	memset(l, 0, sizeof *l);
	snprintf(dir, sizeof dir, "%s/", r->dir);
	l->c.modules = modules;
	l->c.var_tables = no_vars;
	l->c.prefix = l->c.dir = strdup(dir);
	l->c.path = strdup("t.conf");
	l->c.shm = shm;
	fflush(stderr);
	dup2(fileno(f), STDERR_FILENO);
	l->rc = conf_load_text(&l->c, SLICE(""), slice_cstr(text));
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	take_said(l, f, r->dir);
	fclose(f);
}

static void unload(struct loaded *l)
{
	tls_conf_release(&l->c);
	conf_free(&l->c);
	free(l->c.dir);
	free(l->c.path);
}

/* The struct of the I-th server. */
static struct tls_conf *server(struct loaded *l, int i)
{
	struct conf_block *b = l->c.main->first_child->first_child;

	while (i--)
		b = b->next;
	return b->mod[MOD_TLS];
}

static struct tls_conf *http(struct loaded *l)
{
	return l->c.main->first_child->mod[MOD_TLS];
}

static void test_defaults(void **state)
{
	struct loaded l;

	load(&l, *state, NULL,
	     "http { server { ssl_certificate ec.crt; ssl_certificate_key ec.key; } "
	     "server { } }");
	assert_string_equal(l.said, "");
	assert_int_equal(l.rc, 0);
	assert_int_equal(server(&l, 0)->protocols, TLS_V1_2 | TLS_V1_3);
	assert_true(slice_eq(server(&l, 0)->ciphers, SLICE("HIGH:!aNULL:!MD5")));
	assert_true(slice_eq(server(&l, 0)->ecdh_curve, SLICE("auto")));
	assert_int_equal(server(&l, 0)->prefer_server_ciphers, 1);
	assert_int_equal(server(&l, 0)->session_timeout_s, 300);
	assert_int_equal(server(&l, 0)->session_tickets, 1);
	assert_null(server(&l, 0)->cache);
	assert_non_null(server(&l, 0)->server);
	assert_ptr_equal(tls_conf_build(&l.c, l.c.main->first_child->first_child),
			 server(&l, 0)->server);
	assert_true(tls_conf_has_certificate(l.c.main->first_child->first_child));
	assert_null(server(&l, 1)->server);
	assert_false(tls_conf_has_certificate(l.c.main->first_child->last_child));
	unload(&l);
}

/* As the user's file has them, with a zone that is shared, and all handed down from http. */
static void test_all(void **state)
{
	struct shm_registry shm = {0};
	struct rig *r = *state;
	struct tls_client *c;
	struct loaded l;
	struct duo d;

	load(&l, r, &shm,
	     "http {\n"
	     "  ssl_certificate ec.crt; ssl_certificate_key ec.key;\n"
	     "  ssl_certificate rsa.crt; ssl_certificate_key rsa.key;\n"
	     "  ssl_protocols TLSv1.2; ssl_protocols TLSv1.3;\n"
	     "  ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256;\n"
	     "  ssl_prefer_server_ciphers on; ssl_ecdh_curve X25519:P-256;\n"
	     "  ssl_session_cache builtin:1000 shared:SSL:10m; ssl_session_timeout 1d;\n"
	     "  ssl_session_tickets off;\n"
	     "  server { }\n"
	     "  server { ssl_certificate other.crt; ssl_certificate_key other.key;\n"
	     "           ssl_session_cache shared:SSL; ssl_session_tickets on; }\n"
	     "  server { ssl_session_cache off; }\n"
	     "  server { ssl_session_cache none; }\n"
	     "}\n");
	assert_string_equal(l.said, "");
	assert_int_equal(l.rc, 0);
	assert_int_equal(server(&l, 0)->session_timeout_s, 86400);
	assert_int_equal(server(&l, 0)->cache->mode, TLS_CACHE_BUILTIN | TLS_CACHE_SHARED);
	assert_int_equal(server(&l, 0)->cache->builtin_n, 1000);
	assert_ptr_equal(server(&l, 0)->cache->zone, server(&l, 1)->cache->zone);
	assert_int_equal(server(&l, 0)->cache->zone->bytes, 10 << 20);
	assert_in_range(tls_cache_n_slots(server(&l, 0)->cache->zone->cache), 40000, 41000);
	assert_int_equal(server(&l, 1)->cache->mode, TLS_CACHE_SHARED);
	assert_int_equal(server(&l, 2)->cache->mode, TLS_CACHE_OFF);
	assert_int_equal(server(&l, 3)->cache->mode, TLS_CACHE_NONE);
	assert_ptr_not_equal(server(&l, 0)->server, server(&l, 1)->server);
	assert_non_null(shm.zones);
	c = rig_client((struct tls_client_params){.protocols = TLS_V1_2,
						  .verify = true,
						  .verify_depth = 1,
						  .ciphers_cstr = "ECDHE-RSA-AES128-GCM-SHA256",
						  .ca_cstr = rig_path(r, "ca.crt")});
	duo_open(&d, 0);
	duo_connect(&d, server(&l, 0)->server, c, "example.test");
	duo_close(&d);
	tls_client_free(c);
	unload(&l);
	assert_null(shm.zones);
}

/* A reload keeps the cache and the ticket keys while name and size stay. */
static void test_reload(void **state)
{
	static const char text[] =
		"http { server { ssl_certificate ec.crt; ssl_certificate_key ec.key; "
		"ssl_session_cache shared:A:1m; } }";
	struct shm_registry shm = {0};
	struct loaded one, two, three;
	struct tls_ticket_key a, b;

	load(&one, *state, &shm, text);
	assert_int_equal(tls_tickets_seal(http(&one)->tickets->mem, 10, 300, &a), 0);
	assert_int_equal(tls_cache_put(server(&one, 0)->cache->zone->cache, SLICE("id"),
				       SLICE("session"), 1, 100),
			 0);
	load(&two, *state, &shm, text);
	unload(&one);
	assert_int_equal(tls_tickets_seal(http(&two)->tickets->mem, 11, 300, &b), 0);
	assert_memory_equal(&a, &b, sizeof a);
	assert_int_equal(
		tls_cache_get(server(&two, 0)->cache->zone->cache, SLICE("id"), 2, &b, sizeof b),
		7);
	load(&three, *state, &shm,
	     "http { server { ssl_certificate ec.crt; ssl_certificate_key ec.key; "
	     "ssl_session_cache shared:A:2m; } }");
	unload(&two);
	assert_int_equal(
		tls_cache_get(server(&three, 0)->cache->zone->cache, SLICE("id"), 2, &b, sizeof b),
		0);
	assert_int_equal(tls_tickets_seal(http(&three)->tickets->mem, 11, 300, &b), 0);
	assert_memory_equal(&a, &b, sizeof a);
	unload(&three);
	assert_null(shm.zones);
}

static void refused(struct rig *r, const char *inside, const char *said)
{
	struct loaded l;
	char text[1024];

	snprintf(text, sizeof text, "http { server {\n%s\n} }", inside);
	load(&l, r, NULL, text);
	if (l.rc == 0 || !strstr(l.said, said))
		fail_msg("\"%s\" is not in \"%s\"", said, l.said);
	unload(&l);
}

#define PAIR "ssl_certificate ec.crt; ssl_certificate_key ec.key; "

static void test_errors(void **state)
{
	struct rig *r = *state;
	FILE *f = fopen(rig_path(r, "empty.crt"), "w");

	fclose(f);
	f = fopen(rig_path(r, "locked.key"), "w");
	PEM_write_PrivateKey(f, r->ca_key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6,
			     NULL, NULL);
	fclose(f);
	refused(r, "ssl_certificate ec.crt;",
		"[emerg] no \"ssl_certificate_key\" is defined for certificate \"DIR/ec.crt\" in "
		"t.conf:2\n");
	refused(r, PAIR "\nssl_certificate rsa.crt;",
		"no \"ssl_certificate_key\" is defined for certificate \"DIR/rsa.crt\" in "
		"t.conf:3\n");
	refused(r, PAIR "\nssl_certificate_key rsa.key;",
		"no \"ssl_certificate\" is defined for certificate key \"DIR/rsa.key\" in "
		"t.conf:3\n");
	refused(r, "\nssl_certificate gone.crt; ssl_certificate_key ec.key;",
		"cannot load certificate \"DIR/gone.crt\": BIO_new_file() failed (SSL: "
		"error:80000002:system "
		"library::No such file or directory:");
	refused(r, "\nssl_certificate gone.crt; ssl_certificate_key ec.key;", " in t.conf:3\n");
	refused(r, "ssl_certificate ec.crt; ssl_certificate_key gone.key;",
		"cannot load certificate key \"DIR/gone.key\": BIO_new_file() failed (SSL: error:");
	refused(r, "ssl_certificate empty.crt; ssl_certificate_key ec.key;",
		"cannot load certificate \"DIR/empty.crt\": PEM_read_bio_X509_AUX() failed (SSL: "
		"error:");
	refused(r, "ssl_certificate ec.crt; ssl_certificate_key empty.crt;",
		"cannot load certificate key \"DIR/empty.crt\": PEM_read_bio_PrivateKey() failed "
		"(SSL: error:");
	refused(r, "ssl_certificate ec.crt; ssl_certificate_key locked.key;",
		"cannot load certificate key \"DIR/locked.key\": PEM_read_bio_PrivateKey() failed");
	refused(r, "ssl_certificate ec.crt; ssl_certificate_key other.key;",
		"certificate key \"DIR/other.key\" does not match certificate \"DIR/ec.crt\" (SSL: "
		"error:");
	refused(r, "ssl_certificate ec.crt; ssl_certificate_key rsa.key;",
		"certificate key \"DIR/rsa.key\" does not match certificate \"DIR/ec.crt\" (SSL: "
		"error:");
	refused(r, "ssl_certificate data:x;",
		"\"ssl_certificate\" cannot take \"data:\" in t.conf:2");
	refused(r, "ssl_certificate $ssl_server_name.crt;",
		"variables in \"ssl_certificate\" are not supported");
	refused(r, "\nssl_ciphers NO-SUCH-CIPHER;",
		"[emerg] invalid TLS ciphers \"NO-SUCH-CIPHER\" (SSL: error:0A0000B9:SSL "
		"routines::no cipher match)"
		" in t.conf:3\n");
	refused(r, "ssl_ecdh_curve nocurve;", "invalid TLS curves \"nocurve\"");
	refused(r, "ssl_protocols SSLv3;", "SSLv3");
	refused(r, "ssl_session_tickets maybe;", "maybe");
	refused(r, "ssl_session_cache shared:S:4k;",
		"session cache \"shared:S:4k\" is too small in t.conf:2 (at least 32k)");
	refused(r, "ssl_session_cache shared:S:1x;", "invalid session cache \"shared:S:1x\"");
	refused(r, "ssl_session_cache shared::1m;", "invalid session cache \"shared::1m\"");
	refused(r, "ssl_session_cache shared:S;", "session cache \"shared:S\" has no size");
	refused(r, "ssl_session_cache builtin:0;", "invalid session cache \"builtin:0\"");
	refused(r, "ssl_session_cache off shared:S:1m;", "invalid session cache \"off\"");
	refused(r, "ssl_session_cache shared:S:1m; } server { ssl_session_cache shared:S:2m;",
		"the size of session cache \"shared:S:2m\" conflicts with its size of 1048576 "
		"bytes above");
}

static void test_missing(void **state)
{
	struct loaded l;
	FILE *f = tmpfile();
	int saved = dup(STDERR_FILENO);

	load(&l, *state, NULL, "http {\nserver { } }");
	assert_int_equal(l.rc, 0);
	dup2(fileno(f), STDERR_FILENO);
	assert_null(tls_conf_build(&l.c, l.c.main->first_child->first_child));
	dup2(saved, STDERR_FILENO);
	close(saved);
	take_said(&l, f, "nothing");
	fclose(f);
	assert_string_equal(l.said, "sluice: [emerg] no \"ssl_certificate\" is defined for the "
				    "\"listen ... ssl\" directive in t.conf:2\n");
	unload(&l);
	load(&l, *state, NULL, "# no http block\n");
	assert_int_equal(l.rc, 0);
	unload(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_all),
		cmocka_unit_test(test_reload),	 cmocka_unit_test(test_errors),
		cmocka_unit_test(test_missing),
	};

	return cmocka_run_group_tests_name("tls_conf", tests, rig_setup, rig_teardown);
}
