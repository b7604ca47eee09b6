/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rounds over peers whose endpoints may lead another way now. What stands around is made here:
 * peers without an endpoint, so that a resolution ends as soon as it began, and is counted.
 */
#include "app/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_ring_elem.h>

#include "app/gateway.h"
#include "app/interface.h"
#include "app/log.h"
#include "app/mirror.h"
#include "app/neighbours.h"
#include "base/units.h"

#define PEERS 400

struct wg_peer {
	uint32_t id;
	struct wg_path path;
};

static struct gateway gateway;
static struct dp dp;
static struct interface interface = {.gateway = &gateway};
static struct wg_peer peers[PEERS];
static struct wg_peer *by_id[PEERS];
static unsigned resolved[PEERS];

/* --- What endpoint.c uses --- */

uint32_t wg_peer_id(const struct wg_peer *peer)
{
	return peer->id;
}

const struct wg_path *wg_peer_path(const struct wg_peer *peer)
{
	return &peer->path;
}

void *wg_peer_user(const struct wg_peer *peer)
{
	(void)peer;
	return &interface;
}

struct dp_peer *dp_find_peer(const struct dp *of, uint32_t id)
{
	(void)of;
	(void)id;
	return NULL;
}

int dp_peer_set_outer(struct dp *of, uint32_t id, const struct dp_outer *outer)
{
	(void)of;
	(void)id;
	(void)outer;
	fail();
	return 0;
}

bool mirror_ready(const struct mirror *mirror)
{
	(void)mirror;
	return false;
}

int mirror_resolve(struct mirror *mirror, const struct mirror_query *query, struct mirror_path *out)
{
	(void)mirror;
	(void)query;
	(void)out;
	fail();
	return 0;
}

void neighbours_set_peer(struct neighbours *neighbours, uint32_t peer_id, uint32_t ifindex,
	const struct ip_addr *neighbour)
{
	(void)neighbours;
	(void)neighbour;
	assert_int_equal(ifindex, 0);
	resolved[peer_id]++;
}

/* Peer 7 is behind interface 3. */
bool neighbours_is_behind(const struct neighbours *neighbours, uint32_t peer_id, uint32_t ifindex,
	const struct ip_addr *neighbour)
{
	(void)neighbours;
	(void)neighbour;
	return peer_id == 7 && ifindex == 3;
}

void log_error(const char *format, ...)
{
	fail_msg("%s", format);
}

void log_warning(const char *format, ...)
{
	fail_msg("%s", format);
}

/* --- */

static void add_peers(uint32_t n)
{
	while (n-- > 0) {
		uint32_t id = gateway.peer_ids++;

		peers[id].id = id;
		by_id[id] = &peers[id];
	}
}

static int set_up(void **state)
{
	(void)state;
	memset(&gateway, 0, sizeof(gateway));
	memset(peers, 0, sizeof(peers));
	memset(by_id, 0, sizeof(by_id));
	memset(resolved, 0, sizeof(resolved));
	gateway.peers = by_id;
	return 0;
}

static void finish_round(void)
{
	while (endpoints_step(&gateway) > 0)
		;
}

static unsigned count_resolved(void)
{
	unsigned n = 0;

	for (unsigned id = 0; id < PEERS; id++)
		n += resolved[id];
	return n;
}

static void test_all_in_pieces(void **state)
{
	(void)state;
	assert_int_equal(endpoints_step(&gateway), 0);
	add_peers(200);
	by_id[5] = NULL; /* removed */
	endpoints_changed(&gateway);
	endpoints_step(&gateway);
	assert_in_range(count_resolved(), 1, 100);
	finish_round();
	for (unsigned id = 0; id < 200; id++)
		assert_int_equal(resolved[id], id != 5);
}

/* Only those that a change may concern. */
static void test_by_what_changed(void **state)
{
	struct ip_prefix prefix = {.addr = {.family = IP_V4, .bytes = {192, 0, 2}}, .bits = 24};
	struct ip_addr neighbour = {.family = IP_V4, .bytes = {10, 0, 0, 1}};

	(void)state;
	add_peers(200);
	/* Nobody has an endpoint there; behind the neighbour is one. */
	endpoints_changed_in(&gateway, &prefix, 1);
	finish_round();
	assert_int_equal(count_resolved(), 0);
	endpoints_changed_behind(&gateway, 3, &neighbour);
	finish_round();
	assert_int_equal(count_resolved(), 1);
	assert_int_equal(resolved[7], 1);
	/* What was looked for is forgotten with the round. */
	endpoints_changed_behind(&gateway, 4, &neighbour);
	finish_round();
	assert_int_equal(count_resolved(), 1);
}

/* A change in the middle of a round, and peers that come after it: all the others are looked at. */
static void test_peers_come_on_the_way(void **state)
{
	(void)state;
	add_peers(200);
	endpoints_changed(&gateway);
	endpoints_step(&gateway);
	endpoints_changed(&gateway);
	memset(resolved, 0, sizeof(resolved));
	add_peers(100);
	finish_round();
	for (unsigned id = 0; id < 200; id++)
		assert_true(resolved[id] > 0);
	/* The next round is as long as there are ids. */
	memset(resolved, 0, sizeof(resolved));
	endpoints_changed(&gateway);
	finish_round();
	for (unsigned id = 0; id < 300; id++)
		assert_int_equal(resolved[id], 1);
}

static void say_too_big(unsigned net, unsigned times)
{
	struct dp_too_big too_big = {
		.destination = {.family = IP_V4, .bytes = {192, 0, (uint8_t)net, 1}}};

	while (times-- > 0)
		(void)rte_ring_enqueue_elem(dp.too_big_ring, &too_big, sizeof(too_big));
}

static void hear_too_big(uint64_t now_ns)
{
	endpoints_hear_too_big(&gateway, now_ns);
	finish_round();
}

/*
 * What a router says concerns those that have this endpoint. As anybody can say it, there is one
 * round a second for it, and with many peers fewer; and never are all resolved again.
 */
static void test_too_big(void **state)
{
	static alignas(64) uint8_t memory[8192];
	const uint64_t begin = 100 * NS_PER_SEC;

	(void)state;
	dp.too_big_ring = (struct rte_ring *)memory;
	assert_in_range(
		rte_ring_get_memsize_elem(sizeof(struct dp_too_big), 64), 1, sizeof(memory));
	assert_int_equal(rte_ring_init(dp.too_big_ring, "too_big", 64, 0), 0);
	gateway.dp = &dp;
	add_peers(200);
	for (unsigned id = 0; id < 200; id++)
		peers[id].path.remote.addr =
			(struct ip_addr){.family = IP_V4, .bytes = {192, 0, (uint8_t)id, 1}};
	hear_too_big(begin);
	assert_int_equal(count_resolved(), 0);
	say_too_big(7, 1);
	say_too_big(8, 1);
	hear_too_big(begin);
	assert_int_equal(count_resolved(), 2);
	assert_int_equal(resolved[7] + resolved[8], 2);
	/* A flood. */
	say_too_big(9, 63);
	hear_too_big(begin + NS_PER_SEC);
	assert_int_equal(count_resolved(), 2);
	hear_too_big(begin + NS_PER_SEC + 200 * 5 * NS_PER_US);
	assert_int_equal(resolved[9], 1);
	say_too_big(9, 63);
	hear_too_big(begin + 3 * NS_PER_SEC);
	assert_int_equal(resolved[9], 2);
	/* Many changes that are not done with: it waits. */
	for (unsigned i = 0; i < ENDPOINT_CHANGES; i++)
		endpoints_changed_in(
			&gateway, &(struct ip_prefix){.addr = {.family = IP_V6}, .bits = 64}, 1);
	endpoints_hear_too_big(&gateway, begin + 9 * NS_PER_SEC);
	finish_round();
	assert_int_equal(count_resolved(), 4);
	hear_too_big(begin + 9 * NS_PER_SEC);
	assert_int_equal(count_resolved(), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_all_in_pieces, set_up),
		cmocka_unit_test_setup(test_by_what_changed, set_up),
		cmocka_unit_test_setup(test_peers_come_on_the_way, set_up),
		cmocka_unit_test_setup(test_too_big, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
