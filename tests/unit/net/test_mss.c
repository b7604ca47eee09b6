/* SPDX-License-Identifier: BSD-3-Clause */
/* The oracle: the plainest parser of options, and the checksum of the whole segment. */
#include "naive.h"

#include "net/inner.h"
#include "net/mss.h"

#define ROOM 400

/* A segment of a TCP packet, and where its header is. */
struct made {
	uint8_t bytes[ROOM];
	size_t len, tcp;
};

static bool is_v4(const struct made *p)
{
	return p->bytes[0] >> 4 == 4;
}

/* Sum over pseudo-header and segment: 0xffff when the checksum is right. */
static uint32_t tcp_sum(const struct made *p)
{
	size_t addrs = is_v4(p) ? 12 : 8, addrs_len = is_v4(p) ? 8 : 32;
	uint8_t lengths[4] = {0, 6, (uint8_t)((p->len - p->tcp) >> 8), (uint8_t)(p->len - p->tcp)};

	return naive_sum(naive_sum(naive_sum(0, p->bytes + addrs, addrs_len), lengths, 4),
		p->bytes + p->tcp, p->len - p->tcp);
}

static void fix_checksum(struct made *p)
{
	uint32_t sum;

	memset(p->bytes + p->tcp + 16, 0, 2);
	sum = ~tcp_sum(p);
	p->bytes[p->tcp + 16] = (uint8_t)(sum >> 8);
	p->bytes[p->tcp + 17] = (uint8_t)sum;
}

/* A segment with these flags and options behind what stands already, and some data. */
static void add_tcp(
	struct made *p, uint8_t flags, const uint8_t *options, size_t options_len, size_t data_len)
{
	uint8_t *tcp = p->bytes + p->len;
	size_t padded = (options_len + 3) & ~(size_t)3;

	p->tcp = p->len;
	memset(tcp, 0, 60);
	naive_fill(tcp, 20);
	naive_fill(tcp + 20 + padded, data_len);
	if (options_len > 0)
		memcpy(tcp + 20, options, options_len);
	tcp[12] = (uint8_t)((20 + padded) / 4 << 4);
	tcp[13] = flags;
	p->len += 20 + padded + data_len;
	if (is_v4(p)) {
		p->bytes[2] = (uint8_t)(p->len >> 8);
		p->bytes[3] = (uint8_t)p->len;
	} else {
		p->bytes[4] = (uint8_t)((p->len - 40) >> 8);
		p->bytes[5] = (uint8_t)(p->len - 40);
	}
	fix_checksum(p);
}

static void begin4(struct made *p, unsigned option_words)
{
	naive_fill(p->bytes, ROOM);
	p->bytes[0] = (uint8_t)(0x45 + option_words);
	p->bytes[6] = 0x40;
	p->bytes[7] = 0;
	p->bytes[9] = 6;
	p->len = 20 + option_words * 4;
}

static void begin6(struct made *p)
{
	naive_fill(p->bytes, ROOM);
	p->bytes[0] = 0x60;
	p->bytes[6] = 6;
	p->len = 40;
}

/* An extension header before TCP; its own next header is TCP until another one is added. */
static void add_extension(struct made *p, uint8_t *next, uint8_t type, unsigned units)
{
	uint8_t *extension = p->bytes + p->len;

	*next = type;
	memset(extension, 0, units * 8);
	extension[0] = 6;
	extension[1] = type == 44 ? 0 : (uint8_t)(units - 1);
	p->len += units * 8;
}

static bool clamp(struct made *p, unsigned mtu)
{
	uint8_t *copy = naive_copy(p->bytes, p->len);
	bool changed = false;

	if (mss_may_be_offered(copy, p->len))
		changed = mss_clamp(copy, p->len, mtu);
	memcpy(p->bytes, copy, p->len);
	free(copy);
	return changed;
}

static unsigned mss_at(const struct made *p, size_t at)
{
	return (unsigned)p->bytes[p->tcp + at] << 8 | p->bytes[p->tcp + at + 1];
}

/* Clamped to expected, with nothing else changed; or not touched. */
static void assert_clamps(const struct made *p, unsigned mtu, size_t at, unsigned expected)
{
	struct made after = *p;
	bool changes = at != 0 && mss_at(p, at) != expected;

	assert_int_equal(clamp(&after, mtu), changes);
	if (changes) {
		assert_int_equal(mss_at(&after, at), expected);
		assert_int_equal(tcp_sum(&after), 0xffff);
		memcpy(after.bytes + p->tcp + at, p->bytes + p->tcp + at, 2);
		memcpy(after.bytes + p->tcp + 16, p->bytes + p->tcp + 16, 2);
	}
	assert_memory_equal(after.bytes, p->bytes, p->len);
}

static const uint8_t SYN = 0x02, SYN_ACK = 0x12, ACK = 0x10;

static void limit4(void **state)
{
	const uint8_t option[] = {2, 4, 0x05, 0xb4}; /* 1460 */
	struct made p;

	(void)state;
	for (unsigned words = 0; words <= 10; words += 5) {
		begin4(&p, words);
		add_tcp(&p, SYN, option, 4, 0);
		assert_clamps(&p, 1420, 22, 1380);
		assert_clamps(&p, 1499, 22, 1459);
		assert_clamps(&p, 1500, 22, 1460);
		assert_clamps(&p, 9000, 22, 1460);
		assert_clamps(&p, 41, 22, 1);
		assert_clamps(&p, 40, 22, 1460); /* no MTU at all */
		begin4(&p, words);
		add_tcp(&p, SYN_ACK, option, 4, 30);
		assert_clamps(&p, 1420, 22, 1380);
		begin4(&p, words);
		add_tcp(&p, ACK, option, 4, 30);
		assert_clamps(&p, 1420, 0, 0);
	}
	begin4(&p, 0);
	add_tcp(&p, SYN, NULL, 0, 0);
	assert_clamps(&p, 1420, 0, 0);
	p.bytes[9] = 17;
	assert_clamps(&p, 600, 0, 0);
}

static void limit6(void **state)
{
	const uint8_t option[] = {2, 4, 0x05, 0xa0}; /* 1440 */
	struct made p;

	(void)state;
	begin6(&p);
	add_tcp(&p, SYN, option, 4, 0);
	assert_clamps(&p, 1420, 22, 1360);
	assert_clamps(&p, 1500, 22, 1440);
	begin6(&p);
	add_tcp(&p, SYN_ACK, option, 4, 7);
	assert_clamps(&p, 1420, 22, 1360);
	begin6(&p);
	add_tcp(&p, ACK, option, 4, 7);
	assert_clamps(&p, 1420, 0, 0);
	p.bytes[6] = 17;
	assert_clamps(&p, 600, 0, 0);
}

/* The value may begin on any byte: the checksum's words do not. */
static void odd_offsets(void **state)
{
	uint8_t options[40];
	struct made p;

	(void)state;
	for (unsigned nops = 0; nops <= 36; nops++) {
		memset(options, 1, sizeof(options));
		memcpy(options + nops, (uint8_t[]){2, 4, 0x23, 0x28}, 4);
		begin4(&p, 0);
		add_tcp(&p, SYN, options, 40, 0);
		assert_clamps(&p, 1420, 22 + nops, 1380);
		begin6(&p);
		add_tcp(&p, SYN, options, 40, 0);
		assert_clamps(&p, 1420, 22 + nops, 1360);
	}
}

/* What stands behind the end, is too short, or too long, is no option. */
static void malformed_options(void **state)
{
	static const struct {
		uint8_t bytes[12];
		size_t len;
	} cases[] = {
		{{0, 2, 4, 0x23, 0x28}, 5},
		{{2, 3, 0x23, 0x28}, 4},
		{{2, 5, 0x23, 0x28, 9}, 5},
		{{2, 0, 0x23, 0x28}, 4},
		{{3, 0, 2, 4, 0x23, 0x28}, 6},
		{{3, 1, 2, 4, 0x23, 0x28}, 6},
		{{3, 255, 2, 4, 0x23, 0x28}, 6},
		{{1, 1, 2, 4}, 4},
		{{3, 3, 7, 1, 8, 10, 2, 4, 0x23, 0x28}, 10},
	};
	struct made p;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin4(&p, 0);
		add_tcp(&p, SYN, cases[i].bytes, cases[i].len, 3);
		assert_clamps(&p, 1420, 0, 0);
	}
	/* A header that is longer than the packet, or shorter than a header. */
	begin4(&p, 0);
	add_tcp(&p, SYN, (uint8_t[]){2, 4, 0x23, 0x28}, 4, 0);
	p.bytes[p.tcp + 12] = 0x70;
	assert_clamps(&p, 1420, 0, 0);
	for (unsigned words = 0; words < 6; words++) {
		p.bytes[p.tcp + 12] = (uint8_t)(words << 4);
		assert_clamps(&p, 1420, 0, 0);
	}
}

/* Every length that a packet may be cut to; a sanitizer sees what is read behind it. */
static void truncated(void **state)
{
	const uint8_t option[] = {1, 2, 4, 0x23, 0x28};
	struct made p, cut;

	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		if (v6) {
			begin6(&p);
			add_extension(&p, &p.bytes[6], 60, 2);
		} else {
			begin4(&p, 2);
		}
		add_tcp(&p, SYN, option, 5, 20);
		for (size_t len = v6 ? 40 : 28; len < p.len; len++) {
			cut = p;
			cut.len = len;
			/* The header is whole from here on. */
			assert_int_equal(clamp(&cut, 1420), len >= p.tcp + 28);
		}
	}
}

/* The first fragment has the header; in the others its place holds anything. */
static void fragments(void **state)
{
	const uint8_t option[] = {2, 4, 0x23, 0x28};
	struct made p;

	(void)state;
	begin4(&p, 0);
	add_tcp(&p, SYN, option, 4, 8);
	p.bytes[6] = 0x20;
	assert_clamps(&p, 1420, 22, 1380);
	p.bytes[7] = 1;
	assert_clamps(&p, 1420, 0, 0);
	begin6(&p);
	add_extension(&p, &p.bytes[6], 44, 1);
	add_tcp(&p, SYN, option, 4, 8);
	p.bytes[43] = 1; /* more fragments */
	assert_clamps(&p, 1420, 22, 1360);
	p.bytes[43] = 8;
	assert_clamps(&p, 1420, 0, 0);
}

static void extension_headers(void **state)
{
	static const uint8_t types[] = {0, 60, 43, 44, 60};
	const uint8_t option[] = {2, 4, 0x23, 0x28};
	struct made p;

	(void)state;
	for (unsigned count = 1; count <= 12; count++) {
		uint8_t *next = &p.bytes[6];

		begin6(&p);
		for (unsigned i = 0; i < count; i++) {
			uint8_t type = types[i % sizeof(types)];
			size_t at = p.len;

			add_extension(&p, next, type, type == 44 ? 1 : 1 + i % 3);
			next = &p.bytes[at];
		}
		add_tcp(&p, SYN, option, 4, 0);
		assert_clamps(&p, 1420, count <= 8 ? 22 : 0, 1360);
		/* One that is not known ends it. */
		*next = 51;
		assert_clamps(&p, 1420, 0, 0);
	}
	/* A header that reaches beyond the packet. */
	begin6(&p);
	add_extension(&p, &p.bytes[6], 60, 1);
	add_tcp(&p, SYN, option, 4, 0);
	p.bytes[41] = 255;
	assert_clamps(&p, 1420, 0, 0);
}

/* Where the plainest reader finds the value; 0: nowhere. */
static size_t naive_mss(const uint8_t *options, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t size = options[at] == 1 ? 1 : at + 1 < len ? options[at + 1] : 0;

		if (options[at] == 0 || size == 0 || at + size > len ||
			(options[at] != 1 && size < 2))
			return 0;
		if (options[at] == 2)
			return size == 4 ? 20 + at + 2 : 0;
		at += size;
	}
	return 0;
}

static void random_packets(void **state)
{
	unsigned found = 0;
	struct made p;

	(void)state;
	naive_seed();
	for (unsigned i = 0; i < 200000; i++) {
		uint8_t options[40];
		size_t len = naive_random() % 11 * 4, at;
		unsigned mtu = 576 + (unsigned)(naive_random() % 8500), limit;
		bool v6 = naive_random() & 1;

		/* Bytes that make options more often than not. */
		for (size_t k = 0; k < len; k++)
			options[k] = naive_random() % 3 ? (uint8_t)(naive_random() % 5)
							: (uint8_t)naive_random();
		if (v6)
			begin6(&p);
		else
			begin4(&p, (unsigned)(naive_random() % 11));
		add_tcp(&p, naive_random() % 8 ? SYN : ACK, options, len, naive_random() % 30);
		at = p.bytes[p.tcp + 13] == SYN ? naive_mss(options, len) : 0;
		limit = mtu - (v6 ? 60 : 40);
		found += at != 0 && mss_at(&p, at) > limit;
		if (at != 0 && mss_at(&p, at) <= limit)
			at = 0;
		assert_clamps(&p, mtu, at, limit);
	}
	assert_true(found > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit4),
		cmocka_unit_test(limit6),
		cmocka_unit_test(odd_offsets),
		cmocka_unit_test(malformed_options),
		cmocka_unit_test(truncated),
		cmocka_unit_test(fragments),
		cmocka_unit_test(extension_headers),
		cmocka_unit_test(random_packets),
	};

	naive_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
