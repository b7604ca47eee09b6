/* SPDX-License-Identifier: BSD-3-Clause */
#include "naive.h"

#include "net/ecn.h"

static void sealing_copies(void **state)
{
	(void)state;
	for (unsigned class = 0; class < 256; class ++)
		assert_int_equal(ecn_seal((uint8_t) class), class & 3);
}

/* RFC 6040 figure 4, but for its drop. */
static void opening_combines(void **state)
{
	static const uint8_t table[4][4] = {
		/* outer:       not-ECT      ECT(1)       ECT(0)       CE */
		[ECN_NOT_ECT] = {ECN_NOT_ECT, ECN_NOT_ECT, ECN_NOT_ECT, ECN_NOT_ECT},
		[ECN_ECT0] = {ECN_ECT0, ECN_ECT1, ECN_ECT0, ECN_CE},
		[ECN_ECT1] = {ECN_ECT1, ECN_ECT1, ECN_ECT1, ECN_CE},
		[ECN_CE] = {ECN_CE, ECN_CE, ECN_CE, ECN_CE},
	};

	(void)state;
	for (uint8_t inner = 0; inner < 4; inner++)
		for (uint8_t outer = 0; outer < 4; outer++)
			assert_int_equal(
				ecn_combine(inner | 0xb8, outer | 0x44), table[inner][outer]);
}

static void packets4(void **state)
{
	(void)state;
	for (unsigned class = 0; class < 256; class ++) {
		for (uint8_t outer = 0; outer < 4; outer++) {
			uint8_t packet[20], before[20];

			naive_fill(packet, sizeof(packet));
			packet[0] = 0x45;
			packet[IPV4_TOS] = (uint8_t) class;
			store_be16(packet + IPV4_CHECKSUM, 0);
			checksum_store(packet + IPV4_CHECKSUM,
				checksum_finish(checksum_add(0, packet, 20)));
			memcpy(before, packet, sizeof(packet));
			ecn_open(packet, packet[IPV4_TOS], outer);
			assert_int_equal(packet[IPV4_TOS],
				(class & 0xfc) | ecn_combine((uint8_t) class, outer));
			assert_int_equal(naive_sum(0, packet, 20), 0xffff);
			packet[IPV4_TOS] = (uint8_t) class;
			memcpy(packet + IPV4_CHECKSUM, before + IPV4_CHECKSUM, 2);
			assert_memory_equal(packet, before, 20);
		}
	}
}

static void packets6(void **state)
{
	(void)state;
	for (unsigned class = 0; class < 256; class ++) {
		for (uint8_t outer = 0; outer < 4; outer++) {
			uint8_t packet[40], before[40];

			naive_fill(packet, sizeof(packet));
			packet[0] = 0x60;
			ipv6_set_traffic_class(packet, (uint8_t) class);
			assert_int_equal(ip_version(packet), 6);
			memcpy(before, packet, sizeof(packet));
			ecn_open(packet, ipv6_traffic_class(packet), outer);
			assert_int_equal(ipv6_traffic_class(packet),
				(class & 0xfc) | ecn_combine((uint8_t) class, outer));
			ipv6_set_traffic_class(packet, (uint8_t) class);
			assert_memory_equal(packet, before, 40);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sealing_copies),
		cmocka_unit_test(opening_combines),
		cmocka_unit_test(packets4),
		cmocka_unit_test(packets6),
	};

	naive_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
