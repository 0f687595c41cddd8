/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the text file that bans outlive a restart in: its format, its atomic replacement, its
 * strict reading. Decides nothing about bans.
 *
 * A line: ADDRESS[/LEN] UNTIL SINCE RULE KIND REASON. Times are milliseconds since the epoch, until
 * 0 is for ever; RULE is 8 hexadecimal digits; KIND 0 (by a rule), 1 (by hand) or 2 (by a rule, behind
 * a proxy), and behind it maybe :TIMES:FORGET:TRIAL (bans in a row, until when that is remembered, 1
 * where a rule with dry_run made it); REASON the rest of the line, maybe empty. Lines that begin with
 * '#' are comments. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/err.h"
#include "core/num.h"
#include "policy/ban.h"

enum { LINE_BYTES = 512, PATH_BYTES = 4096 };

static void put_line(FILE *f, const struct ban_entry *e)
{
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(e->net.family == 4 ? AF_INET : AF_INET6, e->net.bytes, ip, sizeof ip);
	fputs(ip, f);
	if (!ban_net_is_single(&e->net))
		fprintf(f, "/%d", e->net.prefix_len);
	fprintf(f, " %" PRIu64 " %" PRIu64 " %08" PRIx32 " %d", e->until_wall_ms, e->since_wall_ms,
		e->rule_id,
		e->manual     ? 1
		: e->indirect ? 2
			      : 0);
	if (e->n_times > 1 || e->forget_wall_ms || e->net.is_trial)
		fprintf(f, ":%" PRIu32 ":%" PRIu64 ":%d", e->n_times, e->forget_wall_ms,
			e->net.is_trial);
	putc(' ', f);
	for (const char *p = e->reason; *p; p++)
		putc((unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p, f);
	putc('\n', f);
}

static int write_all(const struct ban_table *t, int fd)
{
	FILE *f = fdopen(fd, "w");
	struct ban_entry e;
	uint32_t at = 0;
	int err;

	if (!f) {
		close(fd);
		return -SL_ESYS;
	}
	fputs("# bans of sluice: address until since rule kind[:times:forget:trial] reason; kind 0: by a "
	      "rule, 1: by hand, 2: by a rule, behind a proxy\n",
	      f);
	while (ban_next(t, &at, &e))
		put_line(f, &e);
	err = fflush(f) || ferror(f) || fsync(fd) ? errno : 0;
	if (fclose(f) && !err)
		err = errno;
	errno = err;
	return err ? -SL_ESYS : 0;
}

int ban_save(const struct ban_table *t, const char *path)
{
	char tmp[PATH_BYTES];
	int fd, err;

	if ((size_t)snprintf(tmp, sizeof tmp, "%s.new", path) >= sizeof tmp) {
		errno = ENAMETOOLONG;
		return -SL_ESYS;
	}
	/* What a run that was killed left behind; O_EXCL then follows nobody's link. */
	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -SL_ESYS;
	if (write_all(t, fd) == 0 && rename(tmp, path) == 0)
		return 0;
	err = errno;
	unlink(tmp);
	errno = err;
	return -SL_ESYS;
}

/* The word before the next END; *rest goes behind that. */
static struct slice word_to(struct slice *rest, char end)
{
	ptrdiff_t space = slice_find(*rest, end);
	struct slice w = *rest;

	if (space < 0) {
		*rest = slice_skip(w, w.n);
		return w;
	}
	w.n = (size_t)space;
	*rest = slice_skip(*rest, w.n + 1);
	return w;
}

static struct slice word(struct slice *rest)
{
	return word_to(rest, ' ');
}

static int parse_net(struct slice s, struct ban_net *net)
{
	struct slice ip = word_to(&s, '/');
	uint64_t len = 0;
	struct addr a;

	if (ip.n == 0 || ip.p[0] == '[' || addr_from_ip(ip, 0, &a))
		return -SL_EINVAL;
	if (s.n && (num_u63(s, &len) || len == 0 || len > 128))
		return -SL_EINVAL;
	return ban_net_of(net, &a, (uint8_t)len) ? 0 : -SL_EINVAL;
}

static int parse_kind(struct slice s, struct ban_entry *e)
{
	struct slice kind = word_to(&s, ':'), times = word_to(&s, ':'), forget = word_to(&s, ':');
	uint64_t n = 0;

	if (kind.n != 1 || kind.p[0] < '0' || kind.p[0] > '2')
		return -SL_EINVAL;
	e->manual = kind.p[0] == '1';
	e->indirect = kind.p[0] == '2';
	if (!times.n)
		return 0;
	if (num_u63(times, &n) || n > UINT32_MAX || num_u63(forget, &e->forget_wall_ms) ||
	    s.n != 1 || (s.p[0] != '0' && s.p[0] != '1'))
		return -SL_EINVAL;
	e->n_times = (uint32_t)n;
	e->net.is_trial = s.p[0] == '1';
	return 0;
}

static int parse_rule(struct slice s, uint32_t *out)
{
	uint32_t v = 0;

	if (s.n != 8)
		return -SL_EINVAL;
	for (size_t i = 0; i < s.n; i++) {
		int digit = num_hex_digit(s.p[i]);

		if (digit < 0)
			return -SL_EINVAL;
		v = v << 4 | (uint32_t)digit;
	}
	*out = v;
	return 0;
}

static int parse_reason(struct slice s, char *out)
{
	if (s.n >= BAN_REASON_MAX)
		return -SL_EINVAL;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return -SL_EINVAL;
	if (s.n)
		memcpy(out, s.p, s.n);
	return 0;
}

static int parse_line(struct slice line, struct ban_entry *e)
{
	struct slice net = word(&line), until = word(&line), since = word(&line);
	struct slice rule = word(&line), kind = word(&line);

	memset(e, 0, sizeof *e);
	if (parse_net(net, &e->net) || num_u63(until, &e->until_wall_ms) ||
	    num_u63(since, &e->since_wall_ms) || parse_rule(rule, &e->rule_id) ||
	    parse_kind(kind, e))
		return -SL_EINVAL;
	return parse_reason(line, e->reason);
}

/* What is left of a time by the wall clock, by the other one; at least 1. */
static uint64_t mono_of(uint64_t wall_ms, uint64_t now_mono_ms, uint64_t now_wall_ms)
{
	if (wall_ms > now_wall_ms)
		return now_mono_ms + (wall_ms - now_wall_ms);
	return now_mono_ms ? now_mono_ms : 1;
}

/* LINE ends with '\n', or it is cut off. */
static void load_line(struct ban_table *t, struct slice line, uint64_t now_mono_ms,
		      uint64_t now_wall_ms, uint32_t *n_bad)
{
	struct ban_entry e;

	if (line.p[0] == '#')
		return;
	if (line.p[line.n - 1] != '\n' || parse_line(slice_make(line.p, line.n - 1), &e)) {
		++*n_bad;
		return;
	}
	if (e.until_wall_ms) {
		e.is_past = e.until_wall_ms <= now_wall_ms;
		if (e.is_past && e.forget_wall_ms <= now_wall_ms)
			return;
		e.until_mono_ms = mono_of(e.until_wall_ms, now_mono_ms, now_wall_ms);
	}
	if (e.forget_wall_ms)
		e.forget_mono_ms = mono_of(e.forget_wall_ms, now_mono_ms, now_wall_ms);
	if (ban_put(t, &e) < 0)
		++*n_bad;
}

int ban_load(struct ban_table *t, const char *path, uint64_t now_mono_ms, uint64_t now_wall_ms,
	     uint32_t *n_bad)
{
	bool in_long_line = false;
	char line[LINE_BYTES];
	int fd, err;
	FILE *f;

	*n_bad = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -SL_ESYS;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return -SL_ESYS;
	}
	while (fgets(line, sizeof line, f)) {
		struct slice s = slice_cstr(line);
		bool whole = s.n && s.p[s.n - 1] == '\n';

		if (!in_long_line && s.n)
			load_line(t, s, now_mono_ms, now_wall_ms, n_bad);
		in_long_line = !whole;
	}
	err = ferror(f) ? errno : 0;
	fclose(f);
	errno = err;
	return err ? -SL_ESYS : 0;
}
