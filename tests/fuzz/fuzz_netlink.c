/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: netlink messages of any content to the mirror, as events and as a dump. What must
 * hold whatever comes: nothing outside of a message is read, and the callbacks keep their promises
 * (table.c checks them).
 *
 * The mirror's source is part of this file, as far as it reads messages, since what is looked for
 * begins behind its sockets. The input is a list of messages: a byte (bits 0-3 the type, bit 4
 * dumped, bit 5 works before the next), flags and a length, and as many bytes behind the netlink
 * header.
 */
#include "app/mirror.c"	     /* NOLINT */
#include "app/mirror_dump.c" /* NOLINT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "input.h"
#include "table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGES_MAX  64
#define BYTES_MAX     1024
#define OUTER_IFINDEX 2
#define INNER_IFINDEX 3
#define WG_IFINDEX    4
#define OWN_TABLE     51

static const uint16_t types[] = {RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEIGH, RTM_DELNEIGH,
	RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWRULE, RTM_DELRULE,
	RTM_NEWNETCONF};

/* In memory of just its length: a read beyond it is found. */
static void take_message(struct mirror *mirror, struct input *input)
{
	uint8_t step = input_byte(input), flags = input_byte(input), body[BYTES_MAX];
	unsigned len = input_u16(input) % BYTES_MAX;
	struct nlmsghdr *nlh;

	len = input_bytes(input, body, len);
	nlh = malloc(sizeof(*nlh) + len);
	MUST(nlh);
	*nlh = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)(sizeof(*nlh) + len),
		.nlmsg_type = types[(step & 15) % (sizeof(types) / sizeof(types[0]))],
		.nlmsg_flags = (uint16_t)(flags << 4), /* the bits of new requests */
	};
	memcpy(nlh + 1, body, len);
	if (step & 0x10)
		take_dumped(mirror, nlh);
	else
		take_event(mirror, nlh);
	free(nlh);
	if (step & 0x20) {
		fib_flush(mirror->fib);
		tell_changes(mirror);
	}
}

static void add_interfaces(struct mirror *mirror)
{
	static const uint8_t mac[MIRROR_MAC_BYTES] = {2, 0, 0, 0, 0, 1};
	static const uint32_t own = OWN_TABLE;

	MUST(mirror_add_port(mirror, OUTER_IFINDEX, 0, mac, false) == 0);
	MUST(mirror_add_port(mirror, INNER_IFINDEX, 1, mac, true) == 0);
	MUST(mirror_add_wg(mirror, WG_IFINDEX, 0) == 0);
	mirror_set_own_tables(mirror, &own, 1);
	/* As if a dump were under way. */
	fib_begin_dump(mirror->fib, FIB_DUMP_ROUTES_V4);
	fib_begin_dump(mirror->fib, FIB_DUMP_ROUTES_V6);
	fib_begin_dump(mirror->fib, FIB_DUMP_NEIGHBOURS);
}

static void finish(struct mirror *mirror)
{
	fib_end_dump(mirror->fib, FIB_DUMP_ROUTES_V4, true);
	fib_end_dump(mirror->fib, FIB_DUMP_ROUTES_V6, true);
	fib_end_dump(mirror->fib, FIB_DUMP_NEIGHBOURS, true);
	addrs_end(mirror, true);
	rules_end(mirror, IP_V4, true);
	rules_end(mirror, IP_V6, true);
	fib_flush(mirror->fib);
	tell_changes(mirror);
	mirror_remove(mirror, INNER_IFINDEX);
	mirror_remove(mirror, WG_IFINDEX);
	mirror_remove(mirror, OUTER_IFINDEX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mirror_callbacks callbacks;
	struct input input = {data, size};
	static struct table table;
	struct mirror *mirror;

	table_init(&table, &callbacks);
	MUST(mirror_create(&callbacks, TABLE_NEXTHOPS, &mirror) == 0);
	add_interfaces(mirror);
	for (unsigned i = 0; i < MESSAGES_MAX && input.left > 0; i++)
		take_message(mirror, &input);
	finish(mirror);
	/* Without ports and tunnels all ways are the host's. */
	for (unsigned i = 0; i < table.n; i++)
		MUST(table.entries[i].nexthop == MIRROR_NEXTHOP_HOST ||
			table.nexthops[table.entries[i].nexthop].kind == MIRROR_HOST);
	mirror_destroy(mirror);
	table_free(&table);
	return 0;
}
