/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A library to be preloaded into the program under test: its pool of packet buffers has only
 * SMALLPOOL of them, far fewer than its rings hold, so that they can run out.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

struct rte_mempool;

typedef struct rte_mempool *create_fn(const char *name, unsigned n, unsigned cache_size,
	uint16_t priv_size, uint16_t data_room_size, int socket_id, const char *ops_name);

create_fn rte_pktmbuf_pool_create_by_ops;

struct rte_mempool *rte_pktmbuf_pool_create_by_ops(const char *name, unsigned n,
	unsigned cache_size, uint16_t priv_size, uint16_t data_room_size, int socket_id,
	const char *ops_name)
{
	create_fn *real = (create_fn *)dlsym(RTLD_NEXT, "rte_pktmbuf_pool_create_by_ops");
	const char *wanted = getenv("SMALLPOOL");

	return real(name, wanted ? (unsigned)atoi(wanted) : n, cache_size, priv_size,
		data_room_size, socket_id, ops_name);
}
