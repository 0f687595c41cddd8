/* SPDX-License-Identifier: BSD-2-Clause */
/* What TLS keeps beside connections: early data that was seen, keys of files, when to fetch a staple. */
#include "rig.h"

#include "tls/tls_replays.h"
#include "tls/tls_staple.h"
#include "tls/tls_tickets.h"

static struct slice text(char *room, int i)
{
	return slice_make(room, (size_t)sprintf(room, "client random %d", i));
}

static void replays(void **state)
{
	void *mem = aligned_alloc(4096, TLS_REPLAYS_BYTES);
	struct tls_replays *r;
	int n = 0, again = 0;
	char room[64];

	memset(mem, 0, TLS_REPLAYS_BYTES);
	r = tls_replays_at(mem, true, 1000);
	assert_true(tls_replays_first(r, text(room, 0), 1000, false));
	assert_false(tls_replays_first(r, text(room, 0), 1000, false));
	assert_ptr_equal(tls_replays_at(mem, false, 1005), r);
	assert_false(tls_replays_first(r, text(room, 0), 1000 + TLS_REPLAYS_KEEP_S - 1, false));
	assert_true(tls_replays_first(r, text(room, 0), 1000 + TLS_REPLAYS_KEEP_S, false));
	/* Keys that are older than this memory: what came before may come again. */
	assert_false(tls_replays_first(r, text(room, 1), 1000 + TLS_REPLAYS_KEEP_S - 1, true));
	assert_true(tls_replays_first(r, text(room, 1), 1000 + TLS_REPLAYS_KEEP_S, true));
	/* However many there are, none is taken twice. */
	for (int i = 10; i < 60000; i++)
		n += tls_replays_first(r, text(room, i), 2000, false);
	assert_in_range(n, 10000, 16384);
	for (int i = 10; i < 60000; i++)
		again += tls_replays_first(r, text(room, i), 2001, false);
	assert_int_equal(again, 0);
	free(mem);
}

static void ticket_files(void **state)
{
	struct rig *r = *state;
	struct tls_ticket_files f = {0};
	struct tls_ticket_key k;
	char err[TLS_TEXT_MAX] = "";
	uint8_t raw[96];

	for (size_t i = 0; i < sizeof raw; i++)
		raw[i] = (uint8_t)i;
	for (int n = 46; n <= 81; n++) {
		FILE *file = fopen(rig_path(r, "key"), "w");

		raw[0] = (uint8_t)n;
		fwrite(raw, 1, (size_t)n, file);
		fclose(file);
		if (n == 48 || n == 80) {
			assert_int_equal(tls_tickets_load(&f, rig_path(r, "key"), err), 0);
			continue;
		}
		assert_int_equal(tls_tickets_load(&f, rig_path(r, "key"), err), -SL_ETLS);
		assert_non_null(strstr(err, "must be 48 or 80 bytes"));
	}
	assert_int_equal(f.n, 2);
	raw[0] = 48;
	assert_int_equal(tls_tickets_open_file(&f, raw, &k), 0);
	assert_true(k.is_128 && k.aes[0] == 16 && k.hmac[0] == 32);
	raw[0] = 80;
	assert_int_equal(tls_tickets_open_file(&f, raw, &k), 1); /* not the first: renewed */
	assert_true(!k.is_128 && k.hmac[0] == 16 && k.aes[0] == 48);
	raw[0] = 1;
	assert_int_equal(tls_tickets_open_file(&f, raw, &k), -SL_ENOTFOUND);
	assert_int_equal(tls_tickets_load(&f, rig_path(r, "none"), err), -SL_ETLS);
	assert_non_null(strstr(err, "cannot read session ticket key"));
}

static void refresh(void **state)
{
	const time_t now = 1000000;

	assert_int_equal(tls_staple_refresh_s(now, 0), now + 3600);
	assert_int_equal(tls_staple_refresh_s(now, now + 7 * 86400), now + 3600);
	assert_int_equal(tls_staple_refresh_s(now, now + 3600), now + 3300);
	assert_int_equal(tls_staple_refresh_s(now, now + 600), now + 300);
	assert_int_equal(tls_staple_refresh_s(now, now + 60), now + 30);
	assert_int_equal(tls_staple_refresh_s(now, now + 1), now + 1);
	assert_int_equal(tls_staple_refresh_s(now, now - 100), now + 1);
}

static void passwords(void **state)
{
	struct rig *r = *state;
	char err[TLS_TEXT_MAX] = "";
	struct tls_passwords *p;
	FILE *f = fopen(rig_path(r, "pw"), "w");

	fputs("one\n\ntwo words\r\nlast", f);
	fclose(f);
	p = tls_passwords_load(rig_path(r, "pw"), err);
	assert_non_null(p);
	assert_int_equal(p->n, 3);
	assert_string_equal(p->cstr[0], "one");
	assert_string_equal(p->cstr[1], "two words");
	assert_string_equal(p->cstr[2], "last");
	tls_passwords_free(p);
	f = fopen(rig_path(r, "pw"), "w");
	for (int i = 0; i < 600; i++)
		fputc('x', f);
	fclose(f);
	assert_null(tls_passwords_load(rig_path(r, "pw"), err));
	assert_null(strstr(err, "xxx"));
	assert_null(tls_passwords_load(rig_path(r, "none"), err));
	tls_passwords_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replays),
		cmocka_unit_test(ticket_files),
		cmocka_unit_test(refresh),
		cmocka_unit_test(passwords),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
