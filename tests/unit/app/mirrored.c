/* SPDX-License-Identifier: BSD-3-Clause */
#include "mirrored.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OUTER_MAC "02:00:00:00:00:a0"
#define INNER_MAC "02:00:00:00:00:b0"

const uint8_t outer_mac[6] = {2, 0, 0, 0, 0, 0xa0};
const uint8_t inner_mac[6] = {2, 0, 0, 0, 0, 0xb0};
uint32_t outer0, inner0, wg0;
uint64_t now_ns = 1000 * MS;
uint32_t own_tables[1] = {51820};
unsigned own_count;

bool mirrored_setup(void)
{
	if (!netns_enter())
		return false;
	outer0 = netns_make("outer0", true, OUTER_MAC);
	inner0 = netns_make("inner0", true, INNER_MAC);
	wg0 = netns_make("wg0", false, NULL);
	run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	return true;
}

void base_addresses(void)
{
	run("ip addr flush dev outer0; ip addr flush dev inner0; ip addr flush dev wg0;"
	    "ip link set outer0 up; ip link set inner0 up; ip link set wg0 up;"
	    "ip addr add 192.0.2.1/24 dev outer0; ip addr add 10.1.0.1/24 dev inner0;"
	    "ip -6 addr add 2001:db8:1::1/64 dev inner0 nodad; ip addr add 10.7.0.1/24 dev wg0");
	/*
	 * The kernel does the rest in its own time: it tests link-local addresses, and makes the
	 * routes of an IPv6 address, the anycast one last, after `ip addr add` has ended.
	 */
	run("for i in $(seq 1000); do [ -z \"$(ip -6 addr show tentative)\" ] &&"
	    "ip -6 route show table local | grep -q 'anycast 2001:db8:1:: dev inner0' && exit 0;"
	    "sleep 0.01; done; exit 1");
}

void clear(void)
{
	run("ip route flush table main 2>/dev/null; ip -6 route flush table main 2>/dev/null;"
	    "ip neigh flush dev outer0 nud all; ip neigh flush dev inner0 nud all;"
	    "ip -6 neigh flush dev inner0 nud all; true");
}

/* Works until there is nothing to do. */
void settle(struct subject *s)
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

void begin(struct subject *s)
{
	struct mirror_callbacks callbacks;

	table_init(&s->table, &callbacks);
	assert_int_equal(mirror_create(&callbacks, TABLE_NEXTHOPS, &s->mirror), 0);
	assert_int_equal(mirror_add_port(s->mirror, outer0, 3, outer_mac, false), 0);
	assert_int_equal(mirror_add_port(s->mirror, inner0, 4, inner_mac, true), 0);
	assert_int_equal(mirror_add_wg(s->mirror, wg0, 7), 0);
	assert_int_equal(mirror_add_wg(s->mirror, wg0, 7), -EEXIST);
	assert_int_equal(mirror_start(s->mirror), 0);
	assert_false(mirror_ready(s->mirror));
	settle(s);
	assert_true(mirror_ready(s->mirror));
}

void end(struct subject *s)
{
	mirror_destroy(s->mirror);
	table_free(&s->table);
}

/* The word behind a word of ip's output, "" if it is not there. */
const char *word_after(const char *line, const char *word, char *out, size_t room)
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

static void compare_fresh(const struct subject *s, const struct subject *fresh)
{
	assert_true(table_same(&s->table, &fresh->table));
	assert_int_equal(s->table.local_count, fresh->table.local_count);
	assert_memory_equal(s->table.locals, fresh->table.locals,
		s->table.local_count * sizeof(s->table.locals[0]));
}

static void compare_kernel(const struct subject *s, const struct kernel *kernel)
{
	for (unsigned i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct ip_addr addr = addr_of(samples[i]);
		struct mirror_nexthop here = table_lookup(&s->table, &addr);
		struct mirror_nexthop there = kernel_nexthop(kernel, samples[i]);

		if (!nexthop_same(&here, &there))
			fail_msg("%s: %d port %u %02x here, %d port %u %02x in the kernel",
				samples[i], here.kind, here.port, here.destination[5], there.kind,
				there.port, there.destination[5]);
	}
}

/* A number that changes when anything does that the mirror mirrors. */
static uint64_t fingerprint(void)
{
	FILE *pipe = popen("ip -batch - <<X\naddr show\nneigh show nud all\n"
			   "route show table all\nX",
		"re");
	uint64_t value = 0;
	int c;

	assert_non_null(pipe);
	while ((c = fgetc(pipe)) != EOF)
		value = (value ^ (uint64_t)c) * 0x100000001b3ull;
	assert_int_equal(pclose(pipe), 0);
	return value;
}

/*
 * The kernel changes by itself too (it tests IPv6 addresses for duplicates, watches links, forgets
 * neighbours): what is compared was read while it did not.
 */
static void compare(struct subject *s, bool with_kernel)
{
	uint64_t before = fingerprint();
	struct kernel kernel;
	struct subject fresh;

	for (unsigned tries = 0; tries < 200; tries++) {
		uint64_t after;

		settle(s);
		if (with_kernel)
			ask_kernel(&kernel);
		begin(&fresh);
		mirror_set_own_tables(fresh.mirror, own_tables, own_count);
		settle(&fresh);
		after = fingerprint();
		if (after == before) {
			if (with_kernel)
				compare_kernel(s, &kernel);
			compare_fresh(s, &fresh);
		}
		end(&fresh);
		if (after == before)
			return;
		before = after;
	}
	fail_msg("the kernel does not come to rest");
}

void check_fresh(struct subject *s)
{
	compare(s, false);
}

void check(struct subject *s)
{
	compare(s, true);
}

struct mirror_path resolve(struct subject *s, const char *remote, const char *local, uint32_t mark)
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
