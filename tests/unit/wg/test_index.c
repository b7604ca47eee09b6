/* SPDX-License-Identifier: BSD-3-Clause */
/* Receiver indices and peer ids against plain arrays as oracles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node.h"
#include "wg/device.h"
#include "wg/ids.h"
#include "wg/index.h"

static struct rng rng;

static void random_bytes(void *arg, void *buf, size_t len)
{
	(void)arg;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)rng_next(&rng);
}

static struct wg_peer *fake_peer(uintptr_t n)
{
	return (struct wg_peer *)(n * 64 + 64);
}

#define HELD 3000

static void test_against_array(void **state)
{
	struct wg_index_table *table = wg_index_table_create(random_bytes, NULL);
	static struct {
		uint32_t index;
		struct wg_peer *peer;
	} held[HELD];
	unsigned count = 0;

	(void)state;
	rng.state = rng_seed("index");
	assert_non_null(table);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned at = count ? (unsigned)rng_below(&rng, count) : 0;

		if (count < HELD && rng_chance(&rng, i / 20000 % 2 ? 35 : 65)) {
			held[count].peer = fake_peer(i);
			held[count].index = wg_index_take(table, held[count].peer);
			assert_int_not_equal(held[count].index, WG_INDEX_NONE);
			count++;
		} else if (count && rng_chance(&rng, 20)) {
			wg_index_orphan(table, held[at].index);
			held[at].peer = NULL;
		} else if (count) {
			wg_index_release(table, held[at].index);
			assert_null(wg_index_find(table, held[at].index));
			held[at] = held[--count];
		}
		assert_int_equal(wg_index_count(table), count);
		if (count) {
			at = (unsigned)rng_below(&rng, count);
			assert_ptr_equal(wg_index_find(table, held[at].index), held[at].peer);
			/* The same slot with other random bits is another index. */
			assert_null(wg_index_find(
				table, held[at].index ^ (1u << (LIMIT_INDEX_BITS + i % 10))));
		}
	}
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(
				wg_index_slot(held[i].index), wg_index_slot(held[j].index));
	wg_index_table_destroy(table);
}

/* All 32 bits look random: no slot is preferred. */
static void test_spread(void **state)
{
	struct wg_index_table *table = wg_index_table_create(random_bytes, NULL);
	unsigned bits[32] = {0};

	(void)state;
	rng.state = rng_seed("index spread");
	assert_null(wg_index_find(table, WG_INDEX_NONE));
	for (unsigned i = 0; i < 10000; i++) {
		uint32_t index = wg_index_take(table, fake_peer(i));

		for (unsigned b = 0; b < 32; b++)
			bits[b] += index >> b & 1;
	}
	for (unsigned b = 0; b < 32; b++)
		assert_in_range(bits[b], 4600, 5400);
	wg_index_table_destroy(table);
}

/* Three quarters of all slots, as with 2^20 peers, and back. */
static void test_many(void **state)
{
	struct wg_index_table *table = wg_index_table_create(random_bytes, NULL);
	uint32_t n = 3u << (LIMIT_INDEX_BITS - 2);
	uint32_t *taken = malloc(n * sizeof(*taken));

	(void)state;
	rng.state = rng_seed("index many");
	for (uint32_t i = 0; i < n; i++) {
		taken[i] = wg_index_take(table, fake_peer(i));
		assert_true(taken[i] != WG_INDEX_NONE);
	}
	for (uint32_t i = 0; i < n; i += 7)
		assert_true(wg_index_find(table, taken[i]) == fake_peer(i));
	for (uint32_t i = 0; i < n; i++)
		wg_index_release(table, taken[i]);
	assert_int_equal(wg_index_count(table), 0);
	free(taken);
	wg_index_table_destroy(table);
}

#define IDS 1000

static void test_ids(void **state)
{
	struct wg_ids *ids = wg_ids_create(IDS);
	uint32_t held[IDS], lately[100];
	bool taken[IDS] = {0};
	unsigned count = 0;

	(void)state;
	rng.state = rng_seed("ids");
	memset(lately, 0xff, sizeof(lately));
	for (unsigned i = 0; i < 300000; i++) {
		if (rng_chance(&rng, i / 10000 % 2 ? 45 : 55)) {
			uint32_t id = wg_ids_take(ids);

			if (count == IDS) {
				assert_int_equal(id, WG_ID_NONE);
				continue;
			}
			assert_in_range(id, 0, IDS - 1);
			assert_false(taken[id]);
			/* One just given back is not given out while there are others. */
			if (count < IDS / 2)
				for (unsigned j = 0; j < 100; j++)
					assert_int_not_equal(lately[j], id);
			taken[id] = true;
			held[count++] = id;
		} else if (count) {
			unsigned at = (unsigned)rng_below(&rng, count);

			wg_ids_release(ids, held[at]);
			memmove(lately, lately + 1, sizeof(lately) - sizeof(lately[0]));
			lately[99] = held[at];
			taken[held[at]] = false;
			held[at] = held[--count];
		}
	}
	wg_ids_destroy(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_array),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
