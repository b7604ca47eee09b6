/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may speak for an address, while allowed IPs are set, move between peers and go: against a
 * plain list of prefixes that is searched from end to end. Hosts that stand with their peer
 * (dp.h, host4 and host6) and those that only the table knows must answer alike.
 */
#include "rig.h"

#include <errno.h>

#define STEPS  3000
#define OWNERS 2 /* peers 1 and 2, of interface 0 */

/* Prefixes that contain each other, of both families; hosts enough for two at a peer. */
static const char *const texts[] = {"10.1.0.0/16", "10.1.0.0/24", "10.1.0.1/32", "10.1.0.2/32",
	"10.1.0.3/32", "10.2.0.1/32", "0.0.0.0/0", "fd01::/16", "fd01::/64", "fd01::1/128",
	"fd01::2/128", "fd01::3/128", "fd02::1/128", "::/0"};
#define PREFIXES (sizeof(texts) / sizeof(texts[0]))

static const char *const sources[] = {"10.1.0.0", "fd01::", "10.1.0.1", "10.1.0.2", "10.1.0.3",
	"10.1.0.4", "10.1.1.1", "10.2.0.1", "fd01::1", "fd01::2", "fd01::3", "fd01::4", "fd01:1::1",
	"fd02::1"};
#define SOURCES (sizeof(sources) / sizeof(sources[0]))

/* The oracle: who owns each prefix; 0: nobody. */
static struct ip_prefix prefixes[PREFIXES];
static uint32_t owners[PREFIXES];

static bool matches(const struct ip_prefix *prefix, const struct ip_addr *addr)
{
	if (prefix->addr.family != addr->family)
		return false;
	for (unsigned bit = 0; bit < prefix->bits; bit++)
		if (((prefix->addr.bytes[bit / 8] ^ addr->bytes[bit / 8]) >> (7 - bit % 8) & 1) !=
			0)
			return false;
	return true;
}

static uint32_t owner_of(const char *text)
{
	struct ip_addr addr;
	uint32_t owner = 0;
	int longest = -1;
	assert_true(ip_addr_parse(text, &addr));
	for (unsigned i = 0; i < PREFIXES; i++)
		if (owners[i] != 0 && (int)prefixes[i].bits > longest &&
			matches(&prefixes[i], &addr)) {
			longest = prefixes[i].bits;
			owner = owners[i];
		}
	return owner;
}

static void set(unsigned i, uint32_t owner)
{
	int error = owner != 0 ? dp_set_allowed_ip(rig.dp, &prefixes[i], owner)
			       : dp_clear_allowed_ip(rig.dp, 0, &prefixes[i]);
	assert_int_equal(error, owner == 0 && owners[i] == 0 ? -ENOENT : 0);
	owners[i] = owner;
}

/* The rig's own prefixes go, so that the oracle knows all. */
static void begin(void)
{
	static const char *const rigs[] = {"10.1.0.0/16", "fd01::/16", "10.2.0.0/16", "fd02::/16"};
	struct ip_prefix prefix;
	for (unsigned i = 0; i < 4; i++) {
		assert_true(ip_prefix_parse(rigs[i], &prefix));
		assert_int_equal(dp_clear_allowed_ip(rig.dp, 0, &prefix), 0);
	}
	for (unsigned i = 0; i < PREFIXES; i++) {
		assert_true(ip_prefix_parse(texts[i], &prefixes[i]));
		owners[i] = 0;
	}
}

static void assert_speaks(unsigned peer, const char *source)
{
	int family = strchr(source, ':') != NULL ? 6 : 4;
	struct packet inner, frame;
	inner_build(&inner, family, source, family == 4 ? "192.168.0.5" : "fd99::5", 60);
	far_seal(&rig.far[peer], 0, inner.bytes, inner.len, 0, &frame);
	rig_receive(0, &frame);
	if (owner_of(source) == peer)
		sink_take(1, &frame);
	else
		assert_dropped(DP_DROP_INNER_SOURCE, 1);
	assert_quiet();
}

static void everybody_speaks(void)
{
	for (unsigned i = 0; i < SOURCES; i++)
		for (unsigned peer = 1; peer <= OWNERS; peer++)
			assert_speaks(peer, sources[i]);
}

static void sources_follow_their_owners(void **state)
{
	(void)state;
	begin();
	everybody_speaks();
	for (unsigned step = 0; step < STEPS; step++) {
		set((unsigned)(rig_random() % PREFIXES), (uint32_t)(rig_random() % (OWNERS + 1)));
		assert_speaks(
			1 + (unsigned)(rig_random() % OWNERS), sources[rig_random() % SOURCES]);
		if (step % 100 == 0)
			everybody_speaks();
		dp_worker_quiescent(rig.worker);
		dp_reclaim_poll(rig.dp->reclaim, UINT32_MAX);
	}
}

static void forget(void *arg, void *object)
{
	(void)arg;
	(void)object;
}

/* What stood with a peer is not its successor's under the same id. */
static void a_new_peer_has_no_hosts(void **state)
{
	struct dp_outer outer = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	(void)state;
	begin();
	set(2, 1); /* 10.1.0.1/32 */
	set(9, 1); /* fd01::1/128 */
	everybody_speaks();
	set(2, 0);
	set(9, 0);
	assert_int_equal(dp_remove_peer(rig.dp, 1, forget, NULL), 0);
	dp_worker_quiescent(rig.worker);
	dp_reclaim_poll(rig.dp->reclaim, UINT32_MAX);
	dp_publish_peer(rig.dp, 1, 0);
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	everybody_speaks();
	set(10, 1); /* fd01::2/128: the place for one is free again */
	everybody_speaks();
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(sources_follow_their_owners),
		TEST(a_new_peer_has_no_hosts),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
