/* SPDX-License-Identifier: BSD-2-Clause */
/* Resumption: tickets, the shared cache, what clients keep; and the parts by themselves. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "core/clock.h"
#include "rig.h"

enum { CACHE_BYTES = 65536 };

static void *shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

struct chooser {
	struct tls_server *other;
};

static struct tls_server *pick(struct conn *c, struct slice name, void *data)
{
	return ((struct chooser *)data)->other;
}

/* One connection with an exchange, so that the client gets its tickets; was it resumed? */
static bool visit_as(struct tls_server *s, struct tls_client *c, const char *name,
		     struct chooser *ch, bool notify)
{
	struct duo d;
	bool reused;

	duo_open(&d, 0);
	if (ch) {
		d.listener.pick = pick;
		d.listener.data = ch;
	}
	duo_connect(&d, s, c, name);
	duo_say(&d, &d.b, &d.a, "request");
	duo_say(&d, &d.a, &d.b, "answer");
	reused = tls_session_reused(&d.a);
	assert_int_equal(reused, tls_session_reused(&d.b));
	if (!notify) {
		/* As many peers do: closed without a word. */
		conn_reset(&d.a);
		conn_reset(&d.b);
	}
	duo_close(&d);
	return reused;
}

static bool visit(struct tls_server *s, struct tls_client *c)
{
	return visit_as(s, c, "example.test", NULL, true);
}

/* Two servers stand for two workers, or for one before and after a reload. */
static void resume_case(struct rig *r, unsigned protocol, struct tls_server_params p, bool resumes)
{
	struct tls_server *one, *two;
	struct tls_client *c =
		rig_client((struct tls_client_params){.protocols = protocol,
						      .session_reuse = true,
						      .verify = true,
						      .verify_depth = 1,
						      .ca_cstr = rig_path(r, "ca.crt")});

	p.protocols = protocol;
	one = rig_server(r, "ec", p);
	two = rig_server(r, "ec", p);
	assert_false(visit(one, c));
	for (int i = 0; i < 4; i++)
		assert_int_equal(visit(i % 2 ? one : two, c), resumes);
	assert_int_equal(visit_as(two, c, "example.test", NULL, false), resumes);
	assert_int_equal(visit(one, c), resumes);
	/* Sessions belong to a name. */
	assert_false(visit_as(one, c, "127.0.0.1", NULL, true));
	tls_server_free(one);
	tls_server_free(two);
	tls_client_free(c);
}

static void test_tickets(void **state)
{
	struct tls_tickets *t = shared(sizeof *t);

	tls_tickets_init(t);
	resume_case(*state, TLS_V1_3, (struct tls_server_params){.tickets = t}, true);
	resume_case(*state, TLS_V1_2, (struct tls_server_params){.tickets = t}, true);
	resume_case(*state, TLS_V1_3,
		    (struct tls_server_params){.tickets = t, .cache_mode = TLS_CACHE_OFF}, true);
	resume_case(*state, TLS_V1_3, (struct tls_server_params){0}, false);
	resume_case(*state, TLS_V1_2, (struct tls_server_params){0}, false);
	munmap(t, sizeof *t);
}

static void test_shared_cache(void **state)
{
	void *mem = shared(CACHE_BYTES);
	struct tls_server_params p = {.cache_mode = TLS_CACHE_SHARED,
				      .cache = tls_cache_at(mem, CACHE_BYTES, true)};

	resume_case(*state, TLS_V1_3, p, true);
	resume_case(*state, TLS_V1_2, p, true);
	p.cache_mode |= TLS_CACHE_BUILTIN;
	p.builtin_n = 10;
	resume_case(*state, TLS_V1_2, p, true);
	munmap(mem, CACHE_BYTES);
}

static void test_builtin_cache(void **state)
{
	struct rig *r = *state;
	struct tls_server *s = rig_server(
		r, "ec",
		(struct tls_server_params){.cache_mode = TLS_CACHE_BUILTIN, .builtin_n = 100});

	for (int i = 0; i < 2; i++) {
		struct tls_client *c = rig_client((struct tls_client_params){
			.protocols = i ? TLS_V1_2 : TLS_V1_3, .session_reuse = true});

		assert_false(visit(s, c));
		assert_true(visit(s, c));
		assert_true(visit(s, c));
		tls_client_free(c);
	}
	tls_server_free(s);
}

/* A server chosen by SNI: the session belongs to the listener's default one, and still to the name.
 */
static void sni_case(struct rig *r, unsigned protocol, struct tls_server_params p)
{
	struct tls_server *s = rig_server(r, "ec", p);
	struct chooser ch = {.other = rig_server(r, "other", p)};
	struct tls_client *c =
		rig_client((struct tls_client_params){.protocols = protocol,
						      .session_reuse = true,
						      .verify = true,
						      .verify_depth = 1,
						      .ca_cstr = rig_path(r, "ca.crt")});

	assert_false(visit_as(s, c, "a.other.test", &ch, true));
	assert_true(visit_as(s, c, "a.other.test", &ch, true));
	assert_true(visit_as(s, c, "a.other.test", &ch, true));
	assert_false(visit_as(s, c, "b.other.test", &ch, true));
	tls_server_free(s);
	tls_server_free(ch.other);
	tls_client_free(c);
}

static void test_sni_resumption(void **state)
{
	struct tls_tickets *t = shared(sizeof *t);
	void *mem = shared(CACHE_BYTES);
	struct tls_server_params cached = {.cache_mode = TLS_CACHE_SHARED,
					   .cache = tls_cache_at(mem, CACHE_BYTES, true)};

	tls_tickets_init(t);
	sni_case(*state, TLS_V1_3, (struct tls_server_params){.tickets = t});
	sni_case(*state, TLS_V1_2, (struct tls_server_params){.tickets = t});
	sni_case(*state, TLS_V1_3, cached);
	sni_case(*state, TLS_V1_2, cached);
	munmap(mem, CACHE_BYTES);
	munmap(t, sizeof *t);
}

/* A server with another certificate does not take them, though it could open them. */
static void test_other_certificate(void **state)
{
	struct tls_tickets *t = shared(sizeof *t);
	struct tls_server *ec, *rsa;
	struct tls_client *c = rig_client((struct tls_client_params){.session_reuse = true});

	tls_tickets_init(t);
	ec = rig_server(*state, "ec", (struct tls_server_params){.tickets = t});
	rsa = rig_server(*state, "rsa", (struct tls_server_params){.tickets = t});
	assert_false(visit(ec, c));
	assert_false(visit(rsa, c));
	assert_true(visit(rsa, c));
	tls_server_free(ec);
	tls_server_free(rsa);
	tls_client_free(c);
	munmap(t, sizeof *t);
}

static void test_ticket_rotation(void **state)
{
	struct tls_tickets *t = shared(sizeof *t);
	struct tls_ticket_key a, b, c, found;

	tls_tickets_init(t);
	assert_int_equal(tls_tickets_open(t, (const uint8_t[16]){0}, 1000, 100, &found),
			 -SL_ENOTFOUND);
	assert_int_equal(tls_tickets_seal(t, 1000, 100, &a), 0);
	assert_int_equal(tls_tickets_seal(t, 1099, 100, &b), 0);
	assert_memory_equal(&a, &b, sizeof a);
	assert_int_equal(tls_tickets_open(t, a.name, 1099, 100, &found), 0);
	assert_memory_equal(&a, &found, sizeof a);
	/* Nobody sealed since: it still opens, but asks for renewal. */
	assert_int_equal(tls_tickets_open(t, a.name, 1150, 100, &found), 1);
	assert_int_equal(tls_tickets_seal(t, 1150, 100, &b), 0);
	assert_memory_not_equal(a.name, b.name, sizeof a.name);
	assert_memory_not_equal(a.aes, b.aes, sizeof a.aes);
	assert_int_equal(tls_tickets_open(t, a.name, 1199, 100, &found), 1);
	assert_memory_equal(&a, &found, sizeof a);
	assert_int_equal(tls_tickets_open(t, b.name, 1199, 100, &found), 0);
	assert_int_equal(tls_tickets_open(t, a.name, 1200, 100, &found), -SL_ENOTFOUND);
	assert_int_equal(tls_tickets_seal(t, 1250, 100, &c), 0);
	assert_int_equal(tls_tickets_open(t, a.name, 1250, 100, &found), -SL_ENOTFOUND);
	assert_int_equal(tls_tickets_open(t, b.name, 1250, 100, &found), 1);
	munmap(t, sizeof *t);
}

/* A worker that dies with the lock takes its keys with it, nobody hangs. */
static void test_ticket_owner_died(void **state)
{
	struct tls_tickets *t = shared(sizeof *t);
	struct tls_ticket_key a, b;
	int status;
	pid_t pid;

	tls_tickets_init(t);
	assert_int_equal(tls_tickets_seal(t, 1000, 100, &a), 0);
	pid = fork();
	if (pid == 0) {
		shm_lock_get(&t->lock);
		raise(SIGKILL);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(tls_tickets_seal(t, 1001, 100, &b), 0);
	assert_memory_not_equal(a.name, b.name, sizeof a.name);
	assert_int_equal(tls_tickets_open(t, a.name, 1001, 100, &b), -SL_ENOTFOUND);
	munmap(t, sizeof *t);
}

/* The cache by itself. */

static struct slice id_of(unsigned i, char id[32])
{
	memset(id, 0, 32);
	memcpy(id, &i, sizeof i);
	return slice_make(id, 32);
}

static void test_cache(void **state)
{
	void *mem = shared(CACHE_BYTES);
	struct tls_cache *c = tls_cache_at(mem, CACHE_BYTES, true);
	char id[32], der[212], got[212];
	unsigned n_kept = 0, n_slots = tls_cache_n_slots(c);

	assert_in_range(n_slots, CACHE_BYTES / 256 - 16, CACHE_BYTES / 256);
	memset(der, 7, sizeof der);
	assert_int_equal(tls_cache_get(c, id_of(1, id), 10, got, sizeof got), 0);
	assert_int_equal(tls_cache_put(c, id_of(1, id), slice_make(der, sizeof der), 10, 20), 0);
	assert_int_equal(tls_cache_get(c, id_of(1, id), 19, got, sizeof got), sizeof der);
	assert_memory_equal(got, der, sizeof der);
	assert_int_equal(tls_cache_get(c, id_of(1, id), 19, got, 10), 0);
	/* Another process, or the next configuration, sees the same memory. */
	assert_int_equal(tls_cache_get(tls_cache_at(mem, CACHE_BYTES, false), id_of(1, id), 19, got,
				       sizeof got),
			 sizeof der);
	assert_int_equal(tls_cache_put(c, id_of(1, id), SLICE("new"), 10, 30), 0);
	assert_int_equal(tls_cache_get(c, id_of(1, id), 25, got, sizeof got), 3);
	assert_int_equal(tls_cache_get(c, id_of(1, id), 30, got, sizeof got), 0);
	assert_int_equal(tls_cache_put(c, id_of(1, id), SLICE("x"), 10, 30), 0);
	tls_cache_remove(c, id_of(1, id));
	assert_int_equal(tls_cache_get(c, id_of(1, id), 10, got, sizeof got), 0);
	/* What does not fit. */
	assert_int_equal(tls_cache_put(c, id_of(1, id), slice_make(mem, 213), 10, 30), -SL_ELIMIT);
	assert_int_equal(tls_cache_put(c, slice_make(der, 33), SLICE("x"), 10, 30), -SL_ELIMIT);
	assert_int_equal(tls_cache_put(c, SLICE(""), SLICE("x"), 10, 30), -SL_ELIMIT);
	assert_int_equal(tls_cache_get(c, slice_make(der, 33), 10, got, sizeof got), 0);
	/* Ten times as many as there is room for: the table stays full of the newest. */
	for (unsigned i = 0; i < 10 * n_slots; i++)
		assert_int_equal(tls_cache_put(c, id_of(i, id), SLICE("s"), 10 + i, 100000), 0);
	for (unsigned i = 8 * n_slots; i < 10 * n_slots; i++)
		n_kept += tls_cache_get(c, id_of(i, id), 20000, got, sizeof got) == 1;
	assert_in_range(n_kept, n_slots * 8 / 10, n_slots);
	/* Sessions in use outlive those that nobody asks for. */
	assert_int_equal(tls_cache_put(c, id_of(7, id), SLICE("mine"), 30000, 100000), 0);
	for (unsigned i = 0; i < 3 * n_slots; i++) {
		assert_int_equal(
			tls_cache_put(c, id_of(1000000 + i, id), SLICE("s"), 30001 + i, 100000), 0);
		assert_int_equal(tls_cache_get(c, id_of(7, id), 30001 + i, got, sizeof got), 4);
	}
	munmap(mem, CACHE_BYTES);
}

/* What a client keeps is bounded, and the least used goes. */
static void test_client_bound(void **state)
{
	struct tls_tickets *t = shared(sizeof *t);
	struct tls_server *s;
	struct tls_client *c = rig_client((struct tls_client_params){.session_reuse = true});
	char name[32];

	tls_tickets_init(t);
	s = rig_server(*state, "ec", (struct tls_server_params){.tickets = t});
	for (int i = 0; i < TLS_CLIENT_N_SESSIONS + 1; i++) {
		snprintf(name, sizeof name, "n%d.test", i);
		assert_false(visit_as(s, c, name, NULL, true));
		if (i == 20)
			assert_true(visit_as(s, c, "n0.test", NULL, true));
	}
	assert_true(visit_as(s, c, "n0.test", NULL, true)); /* in use */
	assert_true(visit_as(s, c, name, NULL, true));
	assert_false(visit_as(s, c, "n1.test", NULL, true)); /* went */
	tls_client_free(c);
	/* Without reuse nothing is kept. */
	c = rig_client((struct tls_client_params){0});
	assert_false(visit(s, c));
	assert_false(visit(s, c));
	tls_client_free(c);
	tls_server_free(s);
	munmap(t, sizeof *t);
}

/* Peers of one name have their own sessions; a failed handshake drops the one it tried. */
static void test_client_peers(void **state)
{
	struct rig *r = *state;
	struct tls_tickets *t = shared(sizeof *t);
	struct tls_client *c = rig_client((struct tls_client_params){.session_reuse = true});
	struct hash128 one = tls_client_key(c, SLICE("a.test"), SLICE("192.0.2.1:443"));
	struct hash128 two = tls_client_key(c, SLICE("a.test"), SLICE("192.0.2.2:443"));
	struct hash128 three = tls_client_key(c, SLICE("b.test"), SLICE("192.0.2.1:443"));
	struct tls_server *s;
	struct duo d;
	int sa, sb;

	assert_true(one.lo != two.lo && one.lo != three.lo && two.lo != three.lo);
	assert_null(tls_client_session(c, one));
	tls_tickets_init(t);
	s = rig_server(r, "ec", (struct tls_server_params){.tickets = t, .protocols = TLS_V1_3});
	assert_false(visit(s, c));
	assert_true(visit(s, c));
	assert_non_null(tls_client_session(c, tls_client_key(c, SLICE("example.test"), SLICE(""))));
	tls_server_free(s);
	/* The server speaks another protocol now. */
	s = rig_server(r, "ec", (struct tls_server_params){.protocols = TLS_V1_2});
	duo_open(&d, 0);
	duo_start(&d, s, c, "example.test");
	SSL_set_min_proto_version(tls_conn_ssl(&d.b), TLS1_3_VERSION);
	duo_shake(&d, &sa, &sb);
	assert_int_equal(sb, -SL_ETLS);
	duo_close(&d);
	assert_null(tls_client_session(c, tls_client_key(c, SLICE("example.test"), SLICE(""))));
	tls_server_free(s);
	tls_client_free(c);
	munmap(t, sizeof *t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tickets),		  cmocka_unit_test(test_shared_cache),
		cmocka_unit_test(test_builtin_cache),	  cmocka_unit_test(test_sni_resumption),
		cmocka_unit_test(test_other_certificate), cmocka_unit_test(test_ticket_rotation),
		cmocka_unit_test(test_ticket_owner_died), cmocka_unit_test(test_cache),
		cmocka_unit_test(test_client_bound),	  cmocka_unit_test(test_client_peers),
	};

	return cmocka_run_group_tests_name("tls_sessions", tests, rig_setup, rig_teardown);
}
