/* SPDX-License-Identifier: BSD-3-Clause */
#include "naive.h"

#include "net/checksum.h"

/* RFC 1071 section 3. */
static void rfc1071_example(void **state)
{
	static const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	uint16_t sum = checksum_fold(checksum_add(0, data, sizeof(data)));

	(void)state;
	assert_int_equal(be16toh(sum), 0xddf2);
}

static void every_length_and_alignment(void **state)
{
	static uint8_t data[9300];

	(void)state;
	naive_fill(data, sizeof(data));
	for (size_t len = 0; len < 9216; len += len < 300 ? 1 : 37) {
		for (size_t at = 0; at < 8; at++) {
			uint8_t *copy = naive_copy(data + at, len);
			uint16_t sum = checksum_fold(checksum_add(0, copy, len));

			assert_int_equal(be16toh(sum), naive_sum(0, data + at, len));
			assert_int_equal(checksum_fold(checksum_add(0, data + at, len)), sum);
			free(copy);
		}
	}
}

/* All ones: the most carries there can be. */
static void carries(void **state)
{
	static uint8_t data[65536];
	uint64_t sum = 0;

	(void)state;
	memset(data, 0xff, sizeof(data));
	for (unsigned i = 0; i < 1000; i++)
		sum = checksum_add(sum, data, sizeof(data));
	assert_int_equal(checksum_fold(sum), 0xffff);
	assert_int_equal(checksum_fold(UINT64_MAX), 0xffff);
	assert_int_equal(checksum_finish(0), 0xffff);
}

static void spans_add_up(void **state)
{
	uint8_t data[600];

	(void)state;
	naive_fill(data, sizeof(data));
	for (size_t cut = 0; cut <= sizeof(data); cut += 2) {
		uint64_t sum = checksum_add(0, data, cut);

		sum = checksum_add(sum, data + cut, sizeof(data) - cut);
		assert_int_equal(
			checksum_fold(sum), checksum_fold(checksum_add(0, data, sizeof(data))));
	}
}

static void pseudo_headers(void **state)
{
	uint8_t header[40] = {0};

	(void)state;
	naive_fill(header, 32);
	store_be32(header + 32, 9016);
	header[39] = IP_PROTOCOL_UDP;
	assert_int_equal(be16toh(checksum_fold(
				 checksum_pseudo6(header, header + 16, IP_PROTOCOL_UDP, 9016))),
		naive_sum(0, header, 40));
	header[8] = 0;
	header[9] = IP_PROTOCOL_TCP;
	store_be16(header + 10, 1460);
	assert_int_equal(
		be16toh(checksum_fold(checksum_pseudo4(header, header + 4, IP_PROTOCOL_TCP, 1460))),
		naive_sum(0, header, 12));
}

/* An update gives what a new sum gives, and keeps an error an error. */
static void updates(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		uint8_t packet[IPV4_HEADER_BYTES];
		unsigned at = 2 * (unsigned)(naive_random() % 10);
		uint16_t before, after;

		if (at == IPV4_CHECKSUM)
			continue;
		naive_fill(packet, sizeof(packet));
		packet[0] = 0x45;
		store_be16(packet + IPV4_CHECKSUM, 0);
		checksum_store(packet + IPV4_CHECKSUM,
			checksum_finish(checksum_add(0, packet, sizeof(packet))));
		assert_true(checksum_ipv4_valid(packet));
		before = load_be16(packet + at);
		after = (uint16_t)naive_random();
		if (at == 0)
			after = (uint16_t)((after & 0xff) | 0x4500);
		store_be16(packet + at, after);
		assert_int_equal(
			checksum_ipv4_valid(packet), (before + 0xffff - after) % 0xffff == 0);
		checksum_update(packet + IPV4_CHECKSUM, before, after);
		assert_true(checksum_ipv4_valid(packet));
		packet[IPV4_CHECKSUM] ^= 1;
		checksum_update(packet + IPV4_CHECKSUM, after, before);
		store_be16(packet + at, before);
		assert_false(checksum_ipv4_valid(packet));
	}
}

/* RFC 1624 section 4: the case that the older formula gets wrong. */
static void update_of_rfc1624(void **state)
{
	uint8_t field[2] = {0xdd, 0x2f};

	(void)state;
	checksum_update(field, 0x5555, 0x3285);
	assert_int_equal(load_be16(field), 0x0000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc1071_example),
		cmocka_unit_test(every_length_and_alignment),
		cmocka_unit_test(carries),
		cmocka_unit_test(spans_add_up),
		cmocka_unit_test(pseudo_headers),
		cmocka_unit_test(updates),
		cmocka_unit_test(update_of_rfc1624),
	};

	naive_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
