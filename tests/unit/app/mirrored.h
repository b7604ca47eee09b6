/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mirror under test in a network namespace of its own, with interfaces outer0, inner0 and wg0,
 * and the plainest table as what it tells. Two oracles: what `ip route get` and `ip neigh` say of
 * sample addresses, and a second mirror that has just dumped everything.
 */
#ifndef TESTS_APP_MIRRORED_H
#define TESTS_APP_MIRRORED_H

#include "app/mirror.h"
#include "netns.h"
#include "table.h"

#define MS 1000000ull

/* Next hops: outer0 is port 3, inner0 port 4, wg0 interface 7. */
extern const uint8_t outer_mac[6], inner_mac[6];
extern uint32_t outer0, inner0, wg0;
/* The mirror's clock: moves to the deadlines that settle() waits for. */
extern uint64_t now_ns;
extern uint32_t own_tables[1];
extern unsigned own_count;

struct subject {
	struct mirror *mirror;
	struct table table;
};

/* Enters a namespace and makes the interfaces; false: not permitted here. */
bool mirrored_setup(void);
/* Addresses 192.0.2.1/24, 10.1.0.1/24, 2001:db8:1::1/64, 10.7.0.1/24; all links up. */
void base_addresses(void);
/* Removes the routes of table main, and neighbours. */
void clear(void);

/* A mirror that knows the three interfaces, after its first dump; its end. */
void begin(struct subject *s);
void end(struct subject *s);
/* Works until there is nothing to do. */
void settle(struct subject *s);
/* Settles, and fails the test unless both oracles agree. */
void check(struct subject *s);
/* The table is that of a mirror that has just dumped everything. */
void check_fresh(struct subject *s);

/* The way to an endpoint. */
struct mirror_path resolve(struct subject *s, const char *remote, const char *local, uint32_t mark);
/* The word behind a word of ip's output, "" if it is not there. */
const char *word_after(const char *line, const char *word, char *out, size_t room);

#endif
