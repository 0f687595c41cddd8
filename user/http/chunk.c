/* SPDX-License-Identifier: BSD-2-Clause */
/* The chunked decoder: a byte-wise machine for the lines between the data, and one move for all of
 * a chunk's data that is there. Keeps no bytes of its own. */
#include "http/chunk.h"

#include "core/err.h"
#include "core/num.h"
#include "http/chars.h"

enum {
	DIGITS_MAX = 15, /* below 2^60: no overflow */
	FREE_BYTES = 16, /* of a chunk's extensions, and two more for each byte of its data */
};

enum state {
	SIZE, /* digits, then ';' or CR */
	SIZE_LF,
	EXT_NAME_FIRST,
	EXT_NAME,
	EXT_NAME_END, /* in white space behind it */
	EXT_VALUE_FIRST,
	EXT_VALUE, /* a token */
	EXT_QUOTED,
	EXT_ESCAPED, /* behind a backslash in quotes */
	EXT_END,     /* behind the closing quote, or in white space */
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_FIRST, /* the first byte of a trailer line or of the end */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
	DONE,
	BROKEN,
};

void chunk_dec_init(struct chunk_dec *d)
{
	*d = (struct chunk_dec){.state = SIZE};
}

void chunk_allow_bws(struct chunk_dec *d)
{
	d->allows_bws = true;
}

void chunk_keep_trailers(struct chunk_dec *d, char *to)
{
	d->kept = to;
}

struct slice chunk_trailers(const struct chunk_dec *d)
{
	if (!d->n_kept)
		return (struct slice){0};
	memcpy(d->kept + d->n_kept, "\r\n", 2);
	return slice_make(d->kept, d->n_kept + 2u);
}

static bool is_bws(const struct chunk_dec *d, char c)
{
	return d->allows_bws && (c == ' ' || c == '\t');
}

/* Each returns the state behind byte C. */
static enum state after_size(struct chunk_dec *d, char c)
{
	int digit = num_hex_digit(c);

	if (digit >= 0) {
		if (d->digits == DIGITS_MAX)
			return BROKEN;
		d->digits++;
		d->left = d->left << 4 | (unsigned)digit;
		return SIZE;
	}
	if (d->digits == 0)
		return BROKEN;
	if (is_bws(d, c))
		return EXT_END;
	return c == '\r' ? SIZE_LF : c == ';' ? EXT_NAME_FIRST : BROKEN;
}

static enum state after_size_lf(struct chunk_dec *d, char c)
{
	if (c != '\n')
		return BROKEN;
	d->digits = 0;
	d->ext_bytes = 0;
	if (d->left > 0) {
		/* A long body may well have many of them; what may not be is much of them for little data. */
		uint64_t credit = FREE_BYTES + 2 * d->left;

		d->overhead -= credit < d->overhead ? (uint32_t)credit : d->overhead;
		return DATA;
	}
	d->in_trailers = true;
	return TRAILER_FIRST;
}

/* Behind white space that RFC 9112 7.1.1 calls bad, where it may be. */
static enum state after_bws(enum state s)
{
	switch (s) {
	case EXT_NAME:
		return EXT_NAME_END;
	case EXT_VALUE:
		return EXT_END;
	default:
		return s;
	}
}

static enum state after_ext(const struct chunk_dec *d, char c)
{
	bool token = chars_is(c, CHARS_TOKEN);
	enum state s = d->state;

	if (is_bws(d, c) && s != EXT_QUOTED && s != EXT_ESCAPED)
		return after_bws(s);
	switch (s) {
	case EXT_NAME_FIRST:
		return token ? EXT_NAME : BROKEN;
	case EXT_VALUE_FIRST:
		return token ? EXT_VALUE : c == '"' ? EXT_QUOTED : BROKEN;
	case EXT_QUOTED:
		if (chars_is(c, CHARS_QDTEXT))
			return EXT_QUOTED;
		return c == '"' ? EXT_END : c == '\\' ? EXT_ESCAPED : BROKEN;
	case EXT_ESCAPED:
		return chars_is(c, CHARS_VALUE) ? EXT_QUOTED : BROKEN;
	case EXT_NAME_END:
		token = false;
		/* fall through */
	case EXT_NAME:
		if (c == '=')
			return EXT_VALUE_FIRST;
		/* fall through */
	case EXT_VALUE:
		if (token)
			return s;
		/* fall through */
	default:
		return c == '\r' ? SIZE_LF : c == ';' ? EXT_NAME_FIRST : BROKEN;
	}
}

/* A trailer is a field line as in a head. */
static enum state after_trailer(enum state s, char c)
{
	switch (s) {
	case TRAILER_FIRST:
		return c == '\r' ? END_LF : chars_is(c, CHARS_TOKEN) ? TRAILER_NAME : BROKEN;
	case TRAILER_NAME:
		if (c == ':')
			return TRAILER_VALUE;
		return chars_is(c, CHARS_TOKEN) ? TRAILER_NAME : BROKEN;
	case TRAILER_VALUE:
		if (c == '\r')
			return TRAILER_LF;
		return chars_is(c, CHARS_VALUE) ? TRAILER_VALUE : BROKEN;
	case TRAILER_LF:
		return c == '\n' ? TRAILER_FIRST : BROKEN;
	default:
		return c == '\n' ? DONE : BROKEN;
	}
}

static enum state after(struct chunk_dec *d, char c)
{
	switch (d->state) {
	case SIZE:
		return after_size(d, c);
	case SIZE_LF:
		return after_size_lf(d, c);
	case DATA_CR:
		return c == '\r' ? DATA_LF : BROKEN;
	case DATA_LF:
		return c == '\n' ? SIZE : BROKEN;
	default:
		return d->state < DATA ? after_ext(d, c) : after_trailer(d->state, c);
	}
}

/* Extensions and trailers are dropped, so only a limit keeps a peer from sending them for ever. */
static bool over_limit(struct chunk_dec *d)
{
	bool ext = d->state >= EXT_NAME_FIRST && d->state <= EXT_END;

	if (!ext && (d->state < TRAILER_NAME || d->state > TRAILER_LF))
		return false;
	if (ext && ++d->ext_bytes > CHUNK_EXT_MAX)
		return true;
	return ++d->overhead > CHUNK_OVERHEAD_MAX;
}

/* C was read in state BEFORE. False: there is no room. */
static bool keep(struct chunk_dec *d, enum state before, char c)
{
	if (!d->kept || before < TRAILER_FIRST || before > TRAILER_LF || d->state == END_LF)
		return true;
	if (d->n_kept == CHUNK_OVERHEAD_MAX)
		return false;
	d->kept[d->n_kept++] = c;
	return true;
}

/* Moves what is there of the current chunk's data to OUT; returns how much that is. */
static size_t take_data(struct chunk_dec *d, char *out, const char *in, size_t n)
{
	if (n > d->left)
		n = (size_t)d->left;
	if (out != in)
		memmove(out, in, n);
	d->left -= n;
	if (d->left == 0)
		d->state = DATA_CR;
	return n;
}

int chunk_decode(struct chunk_dec *d, char *buf, size_t n, size_t *out_n, size_t *used)
{
	size_t in = 0, out = 0;
	int rc = 0;

	while (in < n && d->state != DONE && d->state != BROKEN) {
		enum state before = d->state;

		if (d->state == DATA) {
			size_t k = take_data(d, buf + out, buf + in, n - in);

			in += k;
			out += k;
			continue;
		}
		d->state = (uint8_t)after(d, buf[in]);
		if (over_limit(d) || !keep(d, before, buf[in])) {
			d->state = BROKEN;
			rc = -SL_ELIMIT;
		}
		in++;
	}
	*out_n = out;
	*used = in;
	if (d->state == BROKEN)
		return rc ? rc : -SL_EINVAL;
	return d->state == DONE;
}

size_t chunk_put_size_before(char *end, uint64_t size)
{
	char hex[16];
	size_t n = num_put_hex(hex, size);

	end[-2] = '\r';
	end[-1] = '\n';
	memcpy(end - 2 - n, hex, n);
	return n + 2;
}
