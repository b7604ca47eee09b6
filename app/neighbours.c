/* SPDX-License-Identifier: BSD-3-Clause */
#include "neighbours.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/units.h"
#include "gateway.h"
#include "mirror.h"

/* A pass over all of them each second, so many at a turn: some tens of microseconds. */
#define PASS_NS	   NS_PER_SEC
#define IDS_A_TURN 512
#define IN_USE_NS  (2 * PASS_NS)

/* The next hop of a peer's outer packets. */
struct way {
	uint32_t ifindex; /* 0: none of a port */
	struct ip_addr neighbour;
};

struct neighbours {
	struct way *ways; /* by peer id */
	uint64_t pass_began_ns;
	uint32_t next_peer, next_nexthop; /* of the pass under way */
};

struct neighbours *neighbours_create(void)
{
	struct neighbours *neighbours = calloc(1, sizeof(*neighbours));

	if (!neighbours)
		return NULL;
	neighbours->ways = mmap(NULL, LIMIT_PEERS * sizeof(struct way), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (neighbours->ways == MAP_FAILED) {
		free(neighbours);
		return NULL;
	}
	return neighbours;
}

void neighbours_destroy(struct neighbours *neighbours)
{
	munmap(neighbours->ways, LIMIT_PEERS * sizeof(struct way));
	free(neighbours);
}

void neighbours_set_peer(struct neighbours *neighbours, uint32_t peer_id, uint32_t ifindex,
	const struct ip_addr *neighbour)
{
	neighbours->ways[peer_id] = (struct way){.ifindex = ifindex, .neighbour = *neighbour};
}

bool neighbours_is_behind(const struct neighbours *neighbours, uint32_t peer_id, uint32_t ifindex,
	const struct ip_addr *neighbour)
{
	const struct way *way = &neighbours->ways[peer_id];

	return way->ifindex == ifindex && ip_addr_equal(&way->neighbour, neighbour);
}

static void keep_peer(struct gateway *gateway, uint32_t id, uint64_t now_ns)
{
	const struct way *way = &gateway->neighbours->ways[id];
	struct wg_peer *peer = gateway->peers[id];

	if (!peer || way->ifindex == 0)
		return;
	uint64_t sent_ns =
		atomic_load_explicit(&wg_peer_activity(peer)->last_sent_ns, memory_order_relaxed);
	if (sent_ns != 0 && sent_ns + IN_USE_NS > now_ns)
		mirror_mark_neighbour(gateway->mirror, way->ifindex, &way->neighbour);
}

void neighbours_keep(struct gateway *gateway, uint64_t now_ns)
{
	struct neighbours *n = gateway->neighbours;
	uint32_t nexthops = gateway->dp->nexthops_end;

	if (n->next_peer >= gateway->peer_ids && n->next_nexthop >= nexthops) {
		if (now_ns - n->pass_began_ns < PASS_NS)
			return;
		n->pass_began_ns = now_ns;
		n->next_peer = n->next_nexthop = 0;
	}
	for (unsigned i = 0; i < IDS_A_TURN && n->next_peer < gateway->peer_ids; i++)
		keep_peer(gateway, n->next_peer++, now_ns);
	for (unsigned i = 0; i < IDS_A_TURN && n->next_nexthop < nexthops; i++) {
		uint32_t id = n->next_nexthop++;
		if (dp_nexthop_was_used(gateway->dp, id))
			mirror_mark_nexthop(gateway->mirror, id);
	}
}
