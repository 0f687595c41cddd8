/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the look-up in the lists, and the reading of their files. Says nothing to anybody. */
#include "policy/lists.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/err.h"
#include "core/num.h"

enum { TOKEN_MAX = 64, FIRST_ROOM = 16 };

const struct lists *lists_get(const struct conf *c)
{
	return c ? conf_top_get(c, CTX_XDP, MOD_LISTS) : NULL;
}

static size_t n_bytes(const struct guard_addr *a)
{
	return a->family == 4 ? 4 : 16;
}

bool lists_allow(const struct lists *l, const struct guard_addr *a)
{
	return l && nets_find(&l->allow_nets, a->bytes, n_bytes(a)) != NULL;
}

static bool cidr_has(const struct guard_cidr *c, const struct guard_addr *a)
{
	size_t whole = c->prefix_len / 8;
	unsigned rest = c->prefix_len % 8;

	if (c->addr.family != a->family || memcmp(c->addr.bytes, a->bytes, whole) != 0)
		return false;
	return rest == 0 ||
	       ((c->addr.bytes[whole] ^ a->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

bool lists_allow_net(const struct lists *l, const struct guard_cidr *net)
{
	for (uint32_t i = 0; l && i < l->n_allow; i++)
		if (l->allow[i].prefix_len <= net->prefix_len && cidr_has(&l->allow[i], &net->addr))
			return true;
	return false;
}

const struct list_entry *lists_deny(const struct lists *l, const struct guard_addr *a,
				    uint64_t now_wall_ms)
{
	const struct list_entry *e;

	if (!l || !l->n_deny)
		return NULL;
	e = nets_find(&l->deny_nets, a->bytes, n_bytes(a));
	while (e && e->until_wall_ms && e->until_wall_ms <= now_wall_ms)
		e = e->outer;
	return e;
}

static int by_place(const void *x, const void *y)
{
	const struct list_entry *a = x, *b = y;

	return memcmp(&a->net, &b->net, sizeof a->net);
}

const struct list_entry *lists_find(const struct lists *l, const struct guard_cidr *net)
{
	struct list_entry key = {.net = *net};

	return l && l->n_deny ? bsearch(&key, l->deny, l->n_deny, sizeof key, by_place) : NULL;
}

/* Digits only, as many as N. */
static bool take_num(struct slice *s, size_t n, int *out)
{
	*out = 0;
	if (s->n < n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return false;
		*out = *out * 10 + (s->p[i] - '0');
	}
	*s = slice_skip(*s, n);
	return true;
}

static bool take_char(struct slice *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	*s = slice_skip(*s, 1);
	return true;
}

int lists_parse_time(struct slice s, uint64_t *wall_ms)
{
	struct tm tm = {0}, same;
	time_t t;

	if (!take_num(&s, 4, &tm.tm_year) || !take_char(&s, '-') || !take_num(&s, 2, &tm.tm_mon) ||
	    !take_char(&s, '-') || !take_num(&s, 2, &tm.tm_mday))
		return -SL_EINVAL;
	if (s.n && (!take_char(&s, 'T') || !take_num(&s, 2, &tm.tm_hour) || !take_char(&s, ':') ||
		    !take_num(&s, 2, &tm.tm_min) || !take_char(&s, ':') ||
		    !take_num(&s, 2, &tm.tm_sec) || !take_char(&s, 'Z') || s.n))
		return -SL_EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	same = tm;
	t = timegm(&tm);
	/* The 31st of February becomes another day. */
	if (t <= 0 || tm.tm_mday != same.tm_mday || tm.tm_mon != same.tm_mon ||
	    tm.tm_hour != same.tm_hour || tm.tm_min != same.tm_min || tm.tm_sec != same.tm_sec)
		return -SL_EINVAL;
	*wall_ms = (uint64_t)t * 1000;
	return 0;
}

static void make_room(struct conf *c, struct lists *l, uint32_t hint)
{
	struct list_entry *more;
	uint32_t room = l->deny_room ? 2 * l->deny_room : FIRST_ROOM;

	if (l->n_deny < l->deny_room)
		return;
	if (room < l->n_deny + hint)
		room = l->n_deny + hint;
	more = arena_alloc(&c->arena, room * sizeof *more);
	if (l->n_deny)
		memcpy(more, l->deny, l->n_deny * sizeof *more);
	l->deny = more;
	l->deny_room = room;
}

int lists_add(struct conf *c, struct lists *l, const struct list_source *from, struct slice net,
	      uint64_t until_wall_ms, uint32_t room_hint)
{
	char text[TOKEN_MAX];
	struct list_entry e;

	/* Compared as bytes. */
	memset(&e, 0, sizeof e);
	if (net.n >= sizeof text || memchr(net.p, 0, net.n))
		return -SL_EINVAL;
	memcpy(text, net.p, net.n);
	text[net.n] = 0;
	if (guard_addr_cidr_from_text(&e.net, text) < 0)
		return -SL_EINVAL;
	if (until_wall_ms && until_wall_ms <= clock_wall_ms())
		return 0;
	if (l->n_deny == 2 * GUARD_DENY_NET_MAX)
		return -SL_ELIMIT;
	e.source = from;
	e.until_wall_ms = until_wall_ms;
	make_room(c, l, room_hint);
	l->deny[l->n_deny++] = e;
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line; empty at its end or comment. */
static struct slice word(struct slice *line)
{
	size_t n = 0;
	struct slice w;

	while (line->n && is_blank(line->p[0]))
		*line = slice_skip(*line, 1);
	while (n < line->n && !is_blank(line->p[n]) && line->p[n] != '#' && line->p[n] != ';')
		n++;
	w = slice_make(line->p, n);
	*line = slice_skip(*line, n);
	return w;
}

static int read_line(struct conf *c, struct lists *l, const struct list_source *from,
		     struct slice line, uint32_t hint, char *text, size_t room)
{
	struct slice net = word(&line), more = word(&line), v;
	uint64_t until = from->until_wall_ms;
	int rc;

	if (!net.n)
		return 0;
	if (more.n && (!conf_param(more, "until", &v) || lists_parse_time(v, &until))) {
		snprintf(text, room, "invalid parameter \"%.*s\"", (int)(more.n > 60 ? 60 : more.n),
			 more.p);
		return -SL_EINVAL;
	}
	more = word(&line);
	if (more.n) {
		snprintf(text, room, "unexpected \"%.*s\"", (int)(more.n > 60 ? 60 : more.n),
			 more.p);
		return -SL_EINVAL;
	}
	rc = lists_add(c, l, from, net, until, hint);
	if (rc == -SL_ELIMIT)
		snprintf(text, room, "more than %d networks", 2 * GUARD_DENY_NET_MAX);
	else if (rc)
		snprintf(text, room, "invalid address or network \"%.*s\"",
			 (int)(net.n > 60 ? 60 : net.n), net.p);
	return rc;
}

static int read_text(struct conf *c, struct lists *l, const struct list_source *from,
		     struct slice all, unsigned *line_no, char *text, size_t room)
{
	uint32_t n_lines = 1;

	for (size_t i = 0; i < all.n; i++)
		n_lines += all.p[i] == '\n';
	for (*line_no = 1; all.n; ++*line_no) {
		ptrdiff_t end = slice_find(all, '\n');
		struct slice line = slice_make(all.p, end < 0 ? all.n : (size_t)end);
		int rc = read_line(c, l, from, line, n_lines, text, room);

		if (rc)
			return rc;
		all = slice_skip(all, line.n + (end >= 0));
	}
	return 0;
}

/* Some editors begin a file with a byte order mark. */
static struct slice without_mark(struct slice s)
{
	static const char mark[] = "\xef\xbb\xbf";

	return s.n >= 3 && memcmp(s.p, mark, 3) == 0 ? slice_make(s.p + 3, s.n - 3) : s;
}

int lists_read_file(struct conf *c, struct lists *l, struct list_source *from, const char *path,
		    unsigned *line, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = -SL_ESYS, saved;
	struct stat st;
	char *bytes = NULL;
	size_t n = 0;
	ssize_t got;

	*line = 0;
	if (fd < 0 || fstat(fd, &st))
		goto out;
	errno = S_ISREG(st.st_mode) ? EFBIG : S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	if (!S_ISREG(st.st_mode) || st.st_size > LISTS_FILE_MAX)
		goto out;
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		goto out;
	while ((got = read(fd, bytes + n, (size_t)st.st_size - n)) > 0)
		n += (size_t)got;
	if (got == 0)
		rc = read_text(c, l, from, without_mark(slice_make(bytes, n)), line, text, room);
out:
	saved = errno;
	free(bytes);
	if (fd >= 0)
		close(fd);
	errno = saved;
	return rc;
}
