/* SPDX-License-Identifier: BSD-3-Clause */
/* Dumps: when events were lost, while the kernel changes, and of many routes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <linux/netlink.h>

#include "mirrored.h"

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
	s.table.address_ifindex = 0;
	run("(for i in $(seq 0 99); do echo route del 10.60.$i.0/24; done;"
	    "for i in $(seq 0 149); do echo route add 10.61.$i.0/24 via 192.0.2.2; done;"
	    "for i in $(seq 100 109); do echo route replace 10.60.$i.0/24 dev wg0; done;"
	    "echo addr add 192.0.2.99/24 dev outer0;"
	    "echo neigh del 10.1.0.2 dev inner0) | ip -batch -");
	check(&s);
	mirror_get_stats(s.mirror, &stats);
	assert_true(stats.overruns > 0);
	/* Nobody knows what went and came back meanwhile. */
	assert_int_not_equal(s.table.address_ifindex, 0);
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
	struct subject s;

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
	check_fresh(&s);
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
		assert_int_equal(mirror_add_port(s.mirror, outer0, 3, outer_mac, false), 0);
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

static unsigned failing_dumps; /* the kernel has no memory for so many */

ssize_t __real_recv(int fd, void *buf, size_t room, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t room, int flags);

/* A dump that the kernel gives up: some messages do not come, and the last one says why. */
ssize_t __wrap_recv(int fd, void *buf, size_t room, int flags)
{
	ssize_t got = __real_recv(fd, buf, room, flags);
	static const int out_of_memory = -ENOBUFS;
	struct nlmsghdr *nlh = buf;

	if (failing_dumps == 0 || got < 0)
		return got;
	for (int left = (int)got; NLMSG_OK(nlh, (unsigned)left); nlh = NLMSG_NEXT(nlh, left)) {
		if (!(nlh->nlmsg_flags & NLM_F_MULTI))
			continue;
		if (nlh->nlmsg_type == NLMSG_DONE) {
			memcpy(NLMSG_DATA(nlh), &out_of_memory, sizeof(out_of_memory));
			failing_dumps--;
		} else {
			nlh->nlmsg_type = NLMSG_NOOP;
		}
	}
	return got;
}

/* What such a dump did not name is not taken for gone. */
static void test_dumps_that_fail(void **state)
{
	struct subject s;
	unsigned deletes;

	(void)state;
	base_addresses();
	run("ip addr add 192.0.2.99/24 dev outer0; ip route add 10.9.0.0/16 dev wg0");
	begin(&s);
	deletes = s.table.deletes;
	failing_dumps = 2;
	run("ip addr del 192.0.2.99/24 dev outer0"); /* has routes dumped */
	check(&s);
	assert_int_equal(failing_dumps, 0);
	assert_int_equal(s.table.deletes, deletes + 1);
	end(&s);
	clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_overrun_with_backlog),
		cmocka_unit_test(test_dump_race),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_dumps_that_fail),
	};

	if (!mirrored_setup())
		return NETNS_SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
