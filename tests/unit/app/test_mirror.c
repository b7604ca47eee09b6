/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mirror against the kernel it mirrors. Two oracles after each change: what `ip route get` and
 * `ip neigh` say of sample addresses, and a second mirror that has just dumped everything.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/mirror.h"
#include "netns.h"
#include "table.h"

#define OUTER_MAC "02:00:00:00:00:a0"
#define INNER_MAC "02:00:00:00:00:b0"
#define MS	  1000000ull

static const uint8_t outer_mac[6] = {2, 0, 0, 0, 0, 0xa0};
static const uint8_t inner_mac[6] = {2, 0, 0, 0, 0, 0xb0};

static uint32_t outer0, inner0, wg0;
static uint64_t now_ns = 1000 * MS;
static uint32_t own_tables[1] = {51820};
static unsigned own_count;

struct subject {
	struct mirror *mirror;
	struct table table;
};

/* Works until there is nothing to do. */
static void settle(struct subject *s)
{
	struct pollfd fd = {.fd = mirror_fd(s->mirror), .events = POLLIN};
	uint64_t deadline;

	for (unsigned turns = 0;; turns++) {
		assert_in_range(turns, 0, 100000);
		mirror_process(s->mirror, now_ns);
		deadline = mirror_deadline_ns(s->mirror);
		if (poll(&fd, 1, 0) > 0)
			continue;
		if (deadline == UINT64_MAX)
			return;
		now_ns = deadline > now_ns ? deadline : now_ns;
	}
}

static void begin(struct subject *s)
{
	struct mirror_callbacks callbacks;

	table_init(&s->table, &callbacks);
	assert_int_equal(mirror_create(&callbacks, TABLE_NEXTHOPS, &s->mirror), 0);
	assert_int_equal(mirror_add_port(s->mirror, outer0, 3, outer_mac), 0);
	assert_int_equal(mirror_add_port(s->mirror, inner0, 4, inner_mac), 0);
	assert_int_equal(mirror_add_wg(s->mirror, wg0, 7), 0);
	assert_int_equal(mirror_add_wg(s->mirror, wg0, 7), -EEXIST);
	assert_int_equal(mirror_start(s->mirror), 0);
	assert_false(mirror_ready(s->mirror));
	settle(s);
	assert_true(mirror_ready(s->mirror));
}

static void end(struct subject *s)
{
	mirror_destroy(s->mirror);
	table_free(&s->table);
}

/* The word behind a word of ip's output, "" if it is not there. */
static const char *word_after(const char *line, const char *word, char *out, size_t room)
{
	char pattern[32];
	const char *at;

	snprintf(pattern, sizeof(pattern), " %s ", word);
	at = strstr(line, pattern);
	out[0] = '\0';
	if (at) {
		at += strlen(pattern);
		snprintf(out, room, "%.*s", (int)strcspn(at, " \n"), at);
	}
	return out;
}

/* The kernel's answers, asked all at once: a line for each sample that it knows a way to. */
struct kernel {
	char routes[8192];
	char neighbours[8192];
};

static const char *const samples[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.255",
	"10.1.0.1", "10.1.0.2", "10.1.0.77", "10.9.0.1", "10.9.1.1", "198.51.100.7", "203.0.113.9",
	"172.16.5.5", "172.16.5.6", "8.8.8.8", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3",
	"2001:db8:9::1", "2001:db8:9:1::1", "fd00:5::1", "2600::1"};

static void ask_kernel(struct kernel *kernel)
{
	char questions[1024];
	size_t n = 0;

	for (unsigned i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		n += (size_t)snprintf(
			questions + n, sizeof(questions) - n, "route get %s\n", samples[i]);
	kernel->routes[0] = kernel->neighbours[0] = '\n';
	output_of(kernel->routes + 1, sizeof(kernel->routes) - 1,
		"ip -force -batch - 2>/dev/null <<X\n%sX", questions);
	output_of(kernel->neighbours + 1, sizeof(kernel->neighbours) - 1, "ip neigh show nud all");
}

/* The line that begins with these words, cut out; "" if there is none. */
static void line_of(const char *text, char *out, size_t room, const char *words)
{
	char pattern[160];
	const char *at;

	snprintf(pattern, sizeof(pattern), "\n%s ", words);
	at = strstr(text, pattern);
	out[0] = '\0';
	if (at)
		snprintf(out, room, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
}

/* What they mean for the fast path. Only unicast routes begin with the address. */
static struct mirror_nexthop kernel_nexthop(const struct kernel *kernel, const char *address)
{
	struct mirror_nexthop nexthop = {.kind = MIRROR_HOST};
	char line[512], dev[32], via[64], mac[32], words[128];
	unsigned bytes[6];

	line_of(kernel->routes, line, sizeof(line), address);
	word_after(line, "dev", dev, sizeof(dev));
	word_after(line, "via", via, sizeof(via));
	if (strcmp(via, "inet6") == 0)
		word_after(line, "inet6", via, sizeof(via));
	if (strcmp(dev, "wg0") == 0) {
		nexthop.kind = MIRROR_WG;
		nexthop.interface = 7;
		return nexthop;
	}
	if (strcmp(dev, "outer0") != 0 && strcmp(dev, "inner0") != 0)
		return nexthop;
	snprintf(words, sizeof(words), "%s dev %s", via[0] ? via : address, dev);
	line_of(kernel->neighbours, line, sizeof(line), words);
	word_after(line, "lladdr", mac, sizeof(mac));
	if (strstr(line, "FAILED") || strstr(line, "INCOMPLETE") ||
		sscanf(mac, "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
			&bytes[4], &bytes[5]) != 6)
		return nexthop;
	nexthop.kind = MIRROR_PORT;
	nexthop.port = dev[0] == 'o' ? 3 : 4;
	memcpy(nexthop.source, dev[0] == 'o' ? outer_mac : inner_mac, 6);
	for (unsigned n = 0; n < 6; n++)
		nexthop.destination[n] = (uint8_t)bytes[n];
	return nexthop;
}

static void check(struct subject *s)
{
	struct kernel kernel;
	struct subject fresh;

	settle(s);
	ask_kernel(&kernel);
	for (unsigned i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct ip_addr addr = addr_of(samples[i]);
		struct mirror_nexthop here = table_lookup(&s->table, &addr);
		struct mirror_nexthop there = kernel_nexthop(&kernel, samples[i]);

		if (!nexthop_same(&here, &there))
			fail_msg("%s: %d port %u %02x here, %d port %u %02x in the kernel",
				samples[i], here.kind, here.port, here.destination[5], there.kind,
				there.port, there.destination[5]);
	}
	begin(&fresh);
	mirror_set_own_tables(fresh.mirror, own_tables, own_count);
	settle(&fresh);
	assert_true(table_same(&s->table, &fresh.table));
	assert_int_equal(s->table.local_count, fresh.table.local_count);
	assert_memory_equal(s->table.locals, fresh.table.locals,
		s->table.local_count * sizeof(s->table.locals[0]));
	end(&fresh);
}

static void step(struct subject *s, const char *command)
{
	run("ip %s", command);
	check(s);
}

static void base_addresses(void)
{
	run("ip addr flush dev outer0; ip addr flush dev inner0; ip addr flush dev wg0;"
	    "ip link set outer0 up; ip link set inner0 up; ip link set wg0 up;"
	    "ip addr add 192.0.2.1/24 dev outer0; ip addr add 10.1.0.1/24 dev inner0;"
	    "ip -6 addr add 2001:db8:1::1/64 dev inner0 nodad; ip addr add 10.7.0.1/24 dev wg0");
}

static void clear(void)
{
	run("ip route flush table main 2>/dev/null; ip -6 route flush table main 2>/dev/null;"
	    "ip neigh flush dev outer0 nud all; ip neigh flush dev inner0 nud all;"
	    "ip -6 neigh flush dev inner0 nud all; true");
}

/* Each line is one change of the kernel, seen through its event. */
static void test_events(void **state)
{
	static const char *const script[] = {
		/* neighbours of connected subnets */
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev inner0 nud permanent",
		"neigh replace 2001:db8:1::2 lladdr 02:00:00:00:01:06 dev inner0 nud reachable",
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:03 dev inner0 nud stale",
		"neigh replace 10.1.0.2 dev inner0 nud failed",
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:04 dev inner0 nud permanent",
		"neigh del 10.1.0.2 dev inner0",
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev inner0 nud permanent",
		/* a neighbour elsewhere than its route says stands for nothing */
		"neigh replace 10.9.0.1 lladdr 02:00:00:00:01:09 dev outer0 nud permanent",
		/* gateways */
		"route add 10.9.0.0/16 via 10.1.0.2",
		"route add default via 192.0.2.2",
		"neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud reachable",
		"neigh replace 192.0.2.2 lladdr 02:00:00:00:02:03 dev outer0 nud reachable",
		"-6 route add default via 2001:db8:1::2",
		"-6 route add 2001:db8:9::/48 via 2001:db8:1::3",
		"neigh replace 2001:db8:1::3 lladdr 02:00:00:00:01:07 dev inner0 nud stale",
		"neigh del 192.0.2.2 dev outer0",
		"neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent",
		/* through the tunnel */
		"route add 10.9.1.0/24 dev wg0",
		"route add 198.51.100.0/24 via 10.7.0.9 dev wg0",
		"-6 route add 2001:db8:9:1::/64 dev wg0",
		/* metrics, replacement, append */
		"route add 203.0.113.0/24 via 192.0.2.2 metric 50",
		"route add 203.0.113.0/24 dev wg0 metric 20",
		"route add 203.0.113.0/24 via 192.0.2.3 metric 90",
		"route del 203.0.113.0/24 metric 20",
		"route replace 203.0.113.0/24 via 10.1.0.2 metric 50",
		"route append 203.0.113.0/24 dev wg0 metric 50",
		"route prepend 203.0.113.0/24 dev wg0 metric 50 src 10.7.0.1",
		"route del 203.0.113.0/24 dev wg0 metric 50 src 10.7.0.1",
		"route del 203.0.113.0/24 via 10.1.0.2 metric 50",
		"-6 route replace 2001:db8:9:1::/64 via 2001:db8:1::2",
		/* kinds */
		"route add unreachable 172.16.0.0/12",
		"route add 172.16.5.0/24 via 192.0.2.2",
		"route add blackhole 172.16.5.6/32",
		"route replace 172.16.5.0/24 via inet6 2001:db8:1::2 dev inner0",
		"route add local 198.51.100.0/25 dev lo",
		"route del local 198.51.100.0/25 dev lo table local",
		"-6 route add unreachable fd00::/8",
		/* a subnet of a connected one, elsewhere: its neighbours stand no more */
		"neigh replace 10.1.0.77 lladdr 02:00:00:00:01:77 dev inner0 nud permanent",
		"route add 10.1.0.64/26 dev wg0",
		"route del 10.1.0.64/26 dev wg0",
		"route add 10.1.0.77/32 via 192.0.2.2",
		"route del 10.1.0.77/32 via 192.0.2.2",
		/* addresses */
		"addr add 10.1.0.77/32 dev outer0",
		"addr del 10.1.0.77/32 dev outer0",
		"addr add 172.16.5.5/30 dev inner0",
		"route add 8.8.8.8/32 via 192.0.2.2 src 172.16.5.5",
		"addr del 172.16.5.5/30 dev inner0", /* takes the route along, silently */
		"-6 addr add fd00:5::1/64 dev outer0 nodad",
		/* interfaces */
		"link set outer0 down", /* takes its IPv4 routes along, silently */
		"link set outer0 up",
		"route add default via 192.0.2.2",
		"link add name other0 type bridge",
		"link set other0 up",
		"route add 8.0.0.0/8 dev other0",
		"link del other0",
		"link set wg0 mtu 1300",
	};
	struct subject s;
	bool mtu_seen;

	(void)state;
	base_addresses();
	begin(&s);
	check(&s);
	for (unsigned i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
		print_message("ip %s\n", script[i]);
		step(&s, script[i]);
	}
	mtu_seen = s.table.link_ifindex == wg0 && s.table.link_mtu == 1300 && s.table.link_up;
	assert_true(mtu_seen);
	assert_int_equal(s.table.warnings, 0);
	end(&s);
	clear();
}

/* Multipath: the first path that is resolved; which one the kernel takes for a flow is its affair.
 */
static void test_multipath(void **state)
{
	struct ip_addr v4 = addr_of("10.50.1.1"), v6 = addr_of("2001:db8:50::1");
	struct subject s, fresh;

	(void)state;
	base_addresses();
	begin(&s);
	run("ip route add 10.50.0.0/16 nexthop via 192.0.2.10 nexthop via 192.0.2.11 nexthop dev "
	    "wg0");
	run("ip -6 route add 2001:db8:50::/48 nexthop via 2001:db8:1::10 nexthop via "
	    "2001:db8:1::11");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	run("ip neigh replace 192.0.2.11 lladdr 02:00:00:00:00:11 dev outer0 nud permanent");
	run("ip neigh replace 2001:db8:1::11 lladdr 02:00:00:00:06:11 dev inner0 nud permanent");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).destination[5], 0x11);
	assert_int_equal(table_lookup(&s.table, &v6).destination[4], 0x06);
	run("ip neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev outer0 nud permanent");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).destination[5], 0x10);
	/* IPv6 paths come and go one by one. */
	run("ip -6 route append 2001:db8:50::/48 via 2001:db8:1::12");
	run("ip -6 route del 2001:db8:50::/48 via 2001:db8:1::11");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	begin(&fresh);
	assert_true(table_same(&s.table, &fresh.table));
	end(&fresh);
	/* With its interface down a path is dead, without a message about the route. */
	run("ip link set outer0 down");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).kind, MIRROR_WG);
	begin(&fresh);
	assert_true(table_same(&s.table, &fresh.table));
	end(&fresh);
	run("ip link set outer0 up; ip -6 route del 2001:db8:50::/48; ip route del 10.50.0.0/16");
	settle(&s);
	begin(&fresh);
	assert_true(table_same(&s.table, &fresh.table));
	end(&fresh);
	end(&s);
	clear();
}

/* One gateway of many routes flaps: one next hop changes, no prefix. */
static void test_flap(void **state)
{
	struct subject s;
	unsigned sets, nexthops;

	(void)state;
	base_addresses();
	begin(&s);
	run("for i in $(seq 0 199); do echo route add 10.60.$i.0/24 via 192.0.2.2; done | ip "
	    "-batch -");
	settle(&s);
	sets = s.table.sets;
	nexthops = s.table.nexthop_sets;
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	settle(&s);
	assert_int_equal(s.table.nexthop_sets, nexthops + 1);
	assert_int_equal(s.table.sets, sets + 1); /* the neighbour's own address */
	for (unsigned i = 0; i < 5; i++) {
		run("ip neigh replace 192.0.2.2 dev outer0 nud failed");
		settle(&s);
		run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:%02x dev outer0 nud "
		    "permanent",
			i);
		settle(&s);
	}
	assert_int_equal(s.table.nexthop_sets, nexthops + 11);
	assert_int_equal(s.table.sets, sets + 1);
	assert_int_equal(s.table.deletes, 0);
	end(&s);
	clear();
}

/* Events are lost: everything is dumped again, and only what changed is told. */
static void test_overrun(void **state)
{
	struct mirror_stats stats;
	struct subject s;
	unsigned sets, deletes;

	(void)state;
	base_addresses();
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	run("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev inner0 nud permanent");
	run("for i in $(seq 0 199); do echo route add 10.60.$i.0/24 via 192.0.2.2; done | ip "
	    "-batch -");
	begin(&s);
	check(&s);
	assert_int_equal(mirror_set_event_buffer(s.mirror, 1), 0);
	sets = s.table.sets;
	deletes = s.table.deletes;
	run("(for i in $(seq 0 99); do echo route del 10.60.$i.0/24; done;"
	    "for i in $(seq 0 149); do echo route add 10.61.$i.0/24 via 192.0.2.2; done;"
	    "for i in $(seq 100 109); do echo route replace 10.60.$i.0/24 dev wg0; done;"
	    "echo addr add 192.0.2.99/24 dev outer0;"
	    "echo neigh del 10.1.0.2 dev inner0) | ip -batch -");
	check(&s);
	mirror_get_stats(s.mirror, &stats);
	assert_true(stats.overruns > 0);
	assert_int_equal(s.table.sets - sets, 150 + 10 + 1);
	assert_int_equal(s.table.deletes - deletes, 100 + 1);
	assert_true(s.table.forwarding_v4);
	/* And it goes on with events. */
	run("ip route del 10.61.0.0/24");
	check(&s);
	assert_int_equal(s.table.deletes - deletes, 102);
	end(&s);
	run("ip addr del 192.0.2.99/24 dev outer0");
	clear();
}

/* Events that are older than what was lost are not taken for news while the dump runs. */
static void test_overrun_with_backlog(void **state)
{
	struct subject s, fresh;

	(void)state;
	base_addresses();
	begin(&s);
	assert_int_equal(mirror_set_event_buffer(s.mirror, 1 << 20), 0);
	run("(for i in $(seq 0 3999); do echo route add 10.$((60 + i / 250)).$((i %% 250)).0/24 "
	    "dev wg0; "
	    "done; for i in $(seq 0 3999); do echo route del 10.$((60 + i / 250)).$((i %% "
	    "250)).0/24; "
	    "done) | ip -batch -");
	/* Dumps become due while most of the backlog is still there. */
	for (unsigned i = 0; i < 40; i++) {
		now_ns += 20 * MS;
		mirror_process(s.mirror, now_ns);
	}
	settle(&s);
	begin(&fresh);
	assert_true(table_same(&s.table, &fresh.table));
	end(&fresh);
	end(&s);
	clear();
}

/* A dump under way while the kernel changes: no event is undone by what the dump had copied. */
static void test_dump_race(void **state)
{
	struct mirror_callbacks callbacks;
	struct subject s, fresh;

	(void)state;
	base_addresses();
	run("for i in $(seq 0 1499); do echo route add 10.$((60 + i / 250)).$((i %% 250)).0/24 via "
	    "192.0.2.2; done | ip -batch -");
	for (unsigned round = 0; round < 6; round++) {
		table_init(&s.table, &callbacks);
		assert_int_equal(mirror_create(&callbacks, TABLE_NEXTHOPS, &s.mirror), 0);
		assert_int_equal(mirror_start(s.mirror), 0);
		/* The kernel has filled the first piece of some dump by now. */
		for (unsigned i = 0; i < round; i++)
			mirror_process(s.mirror, now_ns);
		run("(for i in $(seq 0 2 99); do echo route del 10.60.$i.0/24; done;"
		    "for i in $(seq 1 2 99); do echo route replace 10.60.$i.0/24 dev wg0; done;"
		    "for i in $(seq 0 2 99); do echo route add 10.80.$i.0/24 dev wg0; done) | "
		    "ip -batch -");
		settle(&s);
		run("(for i in $(seq 0 2 99); do echo route add 10.60.$i.0/24 via 192.0.2.2; done;"
		    "for i in $(seq 1 2 99); do echo route replace 10.60.$i.0/24 via 192.0.2.2; "
		    "done)"
		    "| ip -batch -");
		run("ip -batch - <<X\n$(for i in $(seq 0 2 99); do echo route del 10.80.$i.0/24; "
		    "done)\nX");
		table_init(&fresh.table, &callbacks);
		assert_int_equal(mirror_create(&callbacks, TABLE_NEXTHOPS, &fresh.mirror), 0);
		assert_int_equal(mirror_start(fresh.mirror), 0);
		settle(&fresh);
		settle(&s);
		assert_true(table_same(&s.table, &fresh.table));
		end(&fresh);
		end(&s);
	}
	clear();
}

static void test_rules(void **state)
{
	struct ip_addr far = addr_of("8.8.8.8"), near = addr_of("10.9.0.1");
	struct subject s;

	(void)state;
	base_addresses();
	run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	run("ip route add default via 192.0.2.2; ip route add 10.9.0.0/16 via 192.0.2.2");
	begin(&s);
	assert_true(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_null(mirror_forwarding_hint(s.mirror, IP_V4));
	run("ip rule add from 10.0.0.0/8 lookup 99");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_non_null(strstr(mirror_forwarding_hint(s.mirror, IP_V4), "policy rules"));
	run("ip rule del from 10.0.0.0/8 lookup 99; ip -6 rule add fwmark 5 lookup 99");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_false(s.table.forwarding_v6);
	run("ip -6 rule del fwmark 5 lookup 99");
	/* wg-quick's rules: strange until their table is known as our own. */
	run("ip route add default dev wg0 table 51820; ip rule add not fwmark 51820 lookup 51820;"
	    "ip rule add lookup main suppress_prefixlength 0");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	own_count = 1;
	mirror_set_own_tables(s.mirror, own_tables, own_count);
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&s.table, &near).kind, MIRROR_PORT);
	check(&s);
	run("ip route add 10.10.0.0/16 dev wg0 table 51820");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	assert_non_null(strstr(mirror_forwarding_hint(s.mirror, IP_V4), "further routes"));
	run("ip route del 10.10.0.0/16 dev wg0 table 51820");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	/* Without the rule the table does not count. */
	run("ip rule del not fwmark 51820 lookup 51820");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_PORT);
	run("ip rule del lookup main suppress_prefixlength 0; ip route flush table 51820");
	run("sysctl -qw net.ipv4.ip_forward=0");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_non_null(strstr(mirror_forwarding_hint(s.mirror, IP_V4), "net.ipv4.ip_forward=1"));
	run("sysctl -qw net.ipv4.ip_forward=1");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	own_count = 0;
	end(&s);
	clear();
}

static struct mirror_path resolve(
	struct subject *s, const char *remote, const char *local, uint32_t mark)
{
	struct mirror_query query = {.mark = mark, .local_port = 51820};
	struct mirror_path path;

	query.remote.addr = addr_of(remote);
	query.remote.port = 51820;
	if (local)
		query.local = addr_of(local);
	assert_int_equal(mirror_resolve(s->mirror, &query, &path), 0);
	return path;
}

static void test_resolve(void **state)
{
	static const uint8_t gateway_mac[6] = {2, 0, 0, 0, 2, 2};
	struct mirror_path path;
	struct ip_addr expected;
	struct subject s;
	char text[512], word[64];

	(void)state;
	base_addresses();
	run("ip addr add 192.0.2.50/24 dev outer0; ip link set outer0 mtu 1500");
	run("ip route add 198.51.100.0/24 via 192.0.2.2; ip route add 203.0.113.0/24 via 192.0.2.2 "
	    "mtu "
	    "1400 src 192.0.2.50; ip route add 100.64.0.0/10 via 10.1.0.2 table 99; ip -6 route "
	    "add "
	    "2001:db8:9::/48 via 2001:db8:1::2; ip route add unreachable 172.16.0.0/12");
	begin(&s);
	path = resolve(&s, "198.51.100.7", NULL, 0);
	assert_true(path.via_kernel);
	assert_int_equal(path.ifindex, outer0);
	expected = addr_of("192.0.2.2");
	assert_true(ip_addr_equal(&path.neighbour, &expected));
	/* The neighbour is found: those that go through it are told, nobody else. */
	s.table.neighbour_changes = s.table.routing_changes = 0;
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud reachable");
	settle(&s);
	assert_int_equal(s.table.neighbour_changes, 1);
	assert_int_equal(s.table.routing_changes, 0);
	assert_true(ip_addr_equal(&s.table.last_neighbour, &expected));
	path = resolve(&s, "198.51.100.7", NULL, 0);
	assert_false(path.via_kernel);
	assert_int_equal(path.port, 3);
	assert_int_equal(path.mtu, 1500);
	assert_memory_equal(path.destination, gateway_mac, 6);
	assert_memory_equal(path.source_mac, outer_mac, 6);
	output_of(text, sizeof(text), "ip route get 198.51.100.7");
	expected = addr_of(word_after(text, "src", word, sizeof(word)));
	assert_true(ip_addr_equal(&path.local, &expected));
	/* Our address that the peer knows, while it is ours. */
	path = resolve(&s, "198.51.100.7", "192.0.2.50", 0);
	expected = addr_of("192.0.2.50");
	assert_true(ip_addr_equal(&path.local, &expected));
	path = resolve(&s, "198.51.100.7", "192.0.2.51", 0);
	expected = addr_of("192.0.2.1");
	assert_true(ip_addr_equal(&path.local, &expected));
	/* A route's own MTU and source. */
	path = resolve(&s, "203.0.113.9", NULL, 0);
	expected = addr_of("192.0.2.50");
	assert_true(ip_addr_equal(&path.local, &expected));
	assert_int_equal(path.mtu, 1400);
	/* On-link, IPv6. */
	run("ip neigh replace 2001:db8:1::2 lladdr 02:00:00:00:01:06 dev inner0 nud permanent");
	settle(&s);
	path = resolve(&s, "2001:db8:1::2", NULL, 0);
	assert_false(path.via_kernel);
	assert_int_equal(path.port, 4);
	path = resolve(&s, "2001:db8:9::9", "2001:db8:1::1", 0);
	assert_false(path.via_kernel);
	expected = addr_of("2001:db8:1::1");
	assert_true(ip_addr_equal(&path.local, &expected));
	/* Rules: with the mark another way, which has no neighbour yet. */
	path = resolve(&s, "100.64.0.1", NULL, 0);
	assert_int_equal(path.ifindex, 0);
	run("ip rule add fwmark 77 lookup 99");
	settle(&s);
	path = resolve(&s, "100.64.0.1", NULL, 0);
	assert_int_equal(path.ifindex, 0);
	path = resolve(&s, "100.64.0.1", NULL, 77);
	assert_int_equal(path.ifindex, inner0);
	assert_true(path.via_kernel);
	run("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev inner0 nud permanent");
	settle(&s);
	assert_false(resolve(&s, "100.64.0.1", NULL, 77).via_kernel);
	run("ip rule del fwmark 77 lookup 99; ip route flush table 99");
	settle(&s);
	/* No way, ourselves, the tunnel. */
	assert_int_equal(resolve(&s, "172.16.1.1", NULL, 0).ifindex, 0);
	assert_true(resolve(&s, "172.16.1.1", NULL, 0).via_kernel);
	assert_true(resolve(&s, "192.0.2.1", NULL, 0).via_kernel);
	path = resolve(&s, "10.7.0.5", NULL, 0);
	assert_true(path.via_kernel);
	assert_int_equal(path.ifindex, wg0);
	/* The neighbour fails. */
	run("ip neigh replace 192.0.2.2 dev outer0 nud failed");
	settle(&s);
	assert_true(resolve(&s, "198.51.100.7", NULL, 0).via_kernel);
	/* A change of the route names its prefix. */
	run("ip route replace 198.51.100.0/24 via 192.0.2.3");
	settle(&s);
	assert_int_equal(s.table.last_change.bits, 24);
	expected = addr_of("198.51.100.0");
	assert_true(ip_addr_equal(&s.table.last_change.addr, &expected));
	end(&s);
	run("ip addr del 192.0.2.50/24 dev outer0");
	clear();
}

static void wait_state(struct subject *s, const char *state)
{
	char text[256];

	for (unsigned i = 0; i < 200; i++) {
		output_of(text, sizeof(text), "ip neigh show 192.0.2.2 dev outer0 nud all");
		if (strstr(text, state)) {
			settle(s);
			return;
		}
		usleep(10000);
	}
	fail_msg("the neighbour is %s", text);
}

/* What is in use and stale is probed, once a second at most; what is not stale is left alone. */
static void test_probe(void **state)
{
	struct ip_addr gateway = addr_of("192.0.2.2");
	struct ip_prefix prefix = prefix_of("198.51.100.0/24");
	const struct table_entry *entry;
	struct mirror_stats stats;
	struct subject s;

	(void)state;
	base_addresses();
	run("ip route add 198.51.100.0/24 via 192.0.2.2");
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	begin(&s);
	entry = table_find(&s.table, &prefix);
	assert_non_null(entry);
	mirror_mark_nexthop(s.mirror, entry->nexthop);
	mirror_mark_nexthop(s.mirror, MIRROR_NEXTHOP_HOST);
	mirror_mark_nexthop(s.mirror, TABLE_NEXTHOPS + 5);
	mirror_mark_neighbour(s.mirror, outer0, &gateway);
	mirror_get_stats(s.mirror, &stats);
	assert_int_equal(stats.probes, 0);
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud stale");
	settle(&s);
	mirror_mark_nexthop(s.mirror, entry->nexthop);
	mirror_mark_neighbour(s.mirror, outer0, &gateway);
	mirror_get_stats(s.mirror, &stats);
	assert_int_equal(stats.probes, 1);
	wait_state(&s, "DELAY");
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud stale");
	now_ns += 1001 * MS;
	settle(&s);
	mirror_mark_neighbour(s.mirror, outer0, &gateway);
	mirror_get_stats(s.mirror, &stats);
	assert_int_equal(stats.probes, 2);
	end(&s);
	clear();
}

static void test_interface_gone(void **state)
{
	struct subject s;
	struct ip_addr far = addr_of("10.90.1.1");
	uint32_t ifindex;

	(void)state;
	base_addresses();
	run("ip link add br9 address 02:00:00:00:00:c0 type bridge; ip link set br9 up;"
	    "ip addr add 10.91.0.1/24 dev br9; ip route add 10.90.0.0/16 via 10.91.0.2;"
	    "ip neigh replace 10.91.0.2 lladdr 02:00:00:00:09:02 dev br9 nud permanent");
	begin(&s);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_HOST);
	ifindex = resolve(&s, "10.90.1.1", NULL, 0).ifindex;
	/* A port that comes while running. */
	assert_int_equal(mirror_add_port(s.mirror, ifindex, 9, outer_mac), 0);
	assert_int_equal(s.table.link_ifindex, ifindex);
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_PORT);
	assert_int_equal(table_lookup(&s.table, &far).port, 9);
	mirror_remove(s.mirror, ifindex);
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_HOST);
	assert_int_equal(mirror_add_wg(s.mirror, ifindex, 5), 0);
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &far).interface, 5);
	run("ip link del br9");
	check(&s);
	assert_int_equal(s.table.gone_ifindex, ifindex);
	end(&s);
	clear();
}

/* Many routes: a bounded piece a call, and in good time. */
static void test_many(void **state)
{
	struct subject s;
	struct mirror_stats stats;
	unsigned calls = 0, most = 0;

	(void)state;
	base_addresses();
	run("seq 0 19999 | awk '{printf \"route add 10.%%d.%%d.%%d/32 via 192.0.2.2\\n\", "
	    "100+int($1/65536), int($1/256)%%256, $1%%256}' | ip -batch -");
	{
		struct mirror_callbacks callbacks;

		table_init(&s.table, &callbacks);
		s.table.count_only = true;
		assert_int_equal(mirror_create(&callbacks, TABLE_NEXTHOPS, &s.mirror), 0);
		assert_int_equal(mirror_add_port(s.mirror, outer0, 3, outer_mac), 0);
		assert_int_equal(mirror_start(s.mirror), 0);
	}
	while (!mirror_ready(s.mirror)) {
		unsigned before = s.table.sets;

		mirror_process(s.mirror, now_ns);
		most = s.table.sets - before > most ? s.table.sets - before : most;
		assert_in_range(++calls, 1, 100000);
	}
	mirror_get_stats(s.mirror, &stats);
	assert_in_range(stats.routes, 20000, 20100);
	assert_in_range(most, 1, MIRROR_DUMP_DATAGRAMS * 1000);
	print_message("20000 routes in %u calls, at most %u a call\n", calls, most);
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	calls = s.table.sets;
	settle(&s);
	assert_int_equal(s.table.sets, calls + 1);
	end(&s);
	clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_multipath),
		cmocka_unit_test(test_flap),
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_overrun_with_backlog),
		cmocka_unit_test(test_dump_race),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_interface_gone),
		cmocka_unit_test(test_many),
	};

	if (!netns_enter())
		return NETNS_SKIP;
	outer0 = netns_make("outer0", true, OUTER_MAC);
	inner0 = netns_make("inner0", true, INNER_MAC);
	wg0 = netns_make("wg0", false, NULL);
	run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
