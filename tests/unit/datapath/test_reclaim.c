/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <rte_rcu_qsbr.h>

#include "datapath/reclaim.h"

#define READERS 4

struct fixture {
	struct rte_rcu_qsbr *qsbr;
	struct dp_reclaim *reclaim;
	uintptr_t released; /* the last one; objects are numbered from 1 in the order retired */
};

static struct rte_rcu_qsbr *make_qsbr(void)
{
	struct rte_rcu_qsbr *qsbr = aligned_alloc(64, rte_rcu_qsbr_get_memsize(READERS));

	assert_non_null(qsbr);
	assert_int_equal(rte_rcu_qsbr_init(qsbr, READERS), 0);
	return qsbr;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->qsbr = make_qsbr();
	f->reclaim = dp_reclaim_create(f->qsbr);
	*state = f;
	return f->reclaim ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dp_reclaim_drain(f->reclaim);
	dp_reclaim_destroy(f->reclaim);
	free(f->qsbr);
	free(f);
	return 0;
}

static void note(void *arg, void *object)
{
	struct fixture *f = arg;

	assert_int_equal((uintptr_t)object, f->released + 1);
	f->released = (uintptr_t)object;
}

static void retire(struct fixture *f, uintptr_t number)
{
	assert_int_equal(dp_reclaim_retire(f->reclaim, note, f, (void *)number), 0);
}

static void reader_start(struct fixture *f, unsigned id)
{
	assert_int_equal(rte_rcu_qsbr_thread_register(f->qsbr, id), 0);
	rte_rcu_qsbr_thread_online(f->qsbr, id);
}

static void without_readers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dp_reclaim_poll(f->reclaim, 10), 0);
	for (uintptr_t i = 1; i <= 100; i++)
		retire(f, i);
	assert_int_equal(f->released, 0);
	assert_int_equal(dp_reclaim_pending(f->reclaim), 100);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 30), 30);
	assert_int_equal(dp_reclaim_pending(f->reclaim), 70);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 1000), 70);
	assert_int_equal(f->released, 100);
}

/* Nothing goes before the slowest reader; what was retired after its report waits for the next. */
static void waits_for_every_reader(void **state)
{
	struct fixture *f = *state;

	reader_start(f, 0);
	reader_start(f, 3);
	retire(f, 1);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 10), 0);
	rte_rcu_qsbr_quiescent(f->qsbr, 0);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 10), 0);
	retire(f, 2);
	rte_rcu_qsbr_quiescent(f->qsbr, 3);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 10), 1);
	assert_int_equal(f->released, 1);
	retire(f, 3);
	rte_rcu_qsbr_quiescent(f->qsbr, 0);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 10), 1);
	assert_int_equal(f->released, 2);
	/* A reader that sleeps holds nothing. */
	rte_rcu_qsbr_thread_offline(f->qsbr, 3);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 10), 1);
	assert_int_equal(f->released, 3);
	/* One that wakes up later sees nothing that was retired before. */
	retire(f, 4);
	rte_rcu_qsbr_thread_online(f->qsbr, 3);
	rte_rcu_qsbr_quiescent(f->qsbr, 0);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 10), 1);
	rte_rcu_qsbr_thread_offline(f->qsbr, 0);
	rte_rcu_qsbr_thread_offline(f->qsbr, 3);
}

/* The ring grows while its content wraps around. */
static void grows_in_order(void **state)
{
	struct fixture *f = *state;
	uintptr_t next = 1;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 37; i++)
			retire(f, next++);
		dp_reclaim_poll(f->reclaim, 23);
	}
	assert_int_equal(dp_reclaim_pending(f->reclaim), 200 * (37 - 23));
	dp_reclaim_drain(f->reclaim);
	assert_int_equal(f->released, next - 1);
	assert_int_equal(dp_reclaim_reserve(f->reclaim, 100000), 0);
	assert_int_equal(dp_reclaim_pending(f->reclaim), 0);
}

static void retire_more(void *arg, void *object)
{
	struct fixture *f = arg;

	note(arg, object);
	for (uintptr_t i = 1; i <= 1000; i++)
		retire(f, (uintptr_t)object + i);
}

/* A release may retire: the session's end retires its peer. */
static void release_retires(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dp_reclaim_retire(f->reclaim, retire_more, f, (void *)1), 0);
	assert_int_equal(dp_reclaim_poll(f->reclaim, 1), 1);
	assert_int_equal(dp_reclaim_pending(f->reclaim), 1000);
	dp_reclaim_drain(f->reclaim);
	assert_int_equal(f->released, 1001);
}

struct shared {
	struct rte_rcu_qsbr *qsbr;
	uint64_t *object; /* never 0 while a reader can see it */
	bool stop;
	unsigned wrong;
};

static void *read_on(void *arg)
{
	struct shared *shared = arg;
	unsigned wrong = 0;

	rte_rcu_qsbr_thread_register(shared->qsbr, 0);
	rte_rcu_qsbr_thread_online(shared->qsbr, 0);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		uint64_t *object = __atomic_load_n(&shared->object, __ATOMIC_ACQUIRE);

		for (unsigned i = 0; i < 20; i++)
			wrong += __atomic_load_n(object, __ATOMIC_RELAXED) == 0;
		rte_rcu_qsbr_quiescent(shared->qsbr, 0);
	}
	rte_rcu_qsbr_thread_offline(shared->qsbr, 0);
	shared->wrong = wrong;
	return NULL;
}

static void clear_and_free(void *arg, void *object)
{
	(void)arg;
	__atomic_store_n((uint64_t *)object, 0, __ATOMIC_RELAXED);
	free(object);
}

static uint64_t *make_object(uint64_t value)
{
	uint64_t *object = malloc(sizeof(*object));

	assert_non_null(object);
	*object = value;
	return object;
}

/* A reader in a thread of its own never meets a released object. */
static void with_a_reader(void **state)
{
	struct fixture *f = *state;
	struct shared shared = {.qsbr = f->qsbr, .object = make_object(1)};
	pthread_t thread;
	size_t most = 0;

	assert_int_equal(pthread_create(&thread, NULL, read_on, &shared), 0);
	for (uint64_t i = 2; i < 200000; i++) {
		uint64_t *old = shared.object;

		__atomic_store_n(&shared.object, make_object(i), __ATOMIC_RELEASE);
		assert_int_equal(dp_reclaim_retire(f->reclaim, clear_and_free, NULL, old), 0);
		dp_reclaim_poll(f->reclaim, 64);
		if (dp_reclaim_pending(f->reclaim) > most)
			most = dp_reclaim_pending(f->reclaim);
	}
	__atomic_store_n(&shared.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	dp_reclaim_drain(f->reclaim);
	free(shared.object);
	print_message("most pending: %zu\n", most);
	assert_int_equal(shared.wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(waits_for_every_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(grows_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(release_retires, setup, teardown),
		cmocka_unit_test_setup_teardown(with_a_reader, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
