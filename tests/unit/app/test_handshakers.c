/* SPDX-License-Identifier: BSD-3-Clause */
/* The cryptography of handshakes on an lcore of its own, which here is a thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>

#include <rte_ring.h>

#include "app/handshakers.h"
#include "base/limits.h"
#include "frames.h"
#include "tests/datapath/stalled_ring.h"
#include "wg/work.h"

#define TIMEOUT_MS 10000

static struct handshakers *handshakers;
static pthread_t thread;
static bool stalled;

/* Of a peer that cannot be reached: nothing to compute. */
static struct wg_work nothing = {.kind = WORK_INITIATE};

static bool submit(void)
{
	return handshakers_submit(handshakers, &nothing, &stalled);
}

/* Takes one that is done. */
static bool take(void)
{
	struct pollfd fd = {.fd = handshakers_fd(handshakers), .events = POLLIN};
	struct wg_work *work;
	void *owner;

	while (poll(&fd, 1, TIMEOUT_MS) == 1) {
		handshakers_hear(handshakers);
		if (!handshakers_take(handshakers, &work, &owner))
			continue;
		assert_ptr_equal(work, &nothing);
		assert_ptr_equal(owner, &stalled);
		return true;
	}
	return false;
}

/* Another lcore takes the oldest work, and is put aside in the middle of it. */
static void stall(void)
{
	assert_true(submit());
	(void)ring_claim(rte_ring_lookup("wg_todo"));
	stalled = true;
}

static void resume(void)
{
	if (stalled)
		ring_resume_consumer(rte_ring_lookup("wg_todo"));
	stalled = false;
}

static void *run(void *arg)
{
	(void)handshakers_run(arg);
	return NULL;
}

static int setup(void **state)
{
	(void)state;
	if (handshakers_create(2, &handshakers) != 0)
		return -1;
	stall();
	return pthread_create(&thread, NULL, run, handshakers_lcore(handshakers, 0, 1));
}

static int teardown(void **state)
{
	(void)state;
	resume();
	handshakers_end(handshakers);
	pthread_join(thread, NULL);
	handshakers_destroy(handshakers);
	return 0;
}

/* The others need not wait for it; what finds no place meanwhile is refused, and never lost. */
static void an_lcore_is_put_aside(void **state)
{
	(void)state;
	for (unsigned i = 1; i < LIMIT_HANDSHAKE_WORKS; i++) {
		assert_true(submit());
		assert_true(take());
	}
	assert_false(submit());
	assert_int_equal(handshakers_pending(handshakers), 1);
	resume();
	assert_true(submit());
	assert_true(take());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_lcore_is_put_aside, setup, teardown),
	};

	if (frames_set_up("handshakers", 64) == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
