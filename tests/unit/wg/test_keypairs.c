/* SPDX-License-Identifier: BSD-3-Clause */
/* The rotation of sessions, every case of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wg/keypairs.h"
#include "wg/session.h"

static struct wg_session a = {.local_index = 1}, b = {.local_index = 2}, c = {.local_index = 3},
			 d = {.local_index = 4};

static void assert_slots(const struct keypairs *k, const struct wg_session *previous,
	const struct wg_session *current, const struct wg_session *next)
{
	assert_ptr_equal(k->previous, previous);
	assert_ptr_equal(k->current, current);
	assert_ptr_equal(k->next, next);
}

static void assert_dropped(const struct keypairs_dropped *dropped, const struct wg_session *first,
	const struct wg_session *second)
{
	assert_int_equal(dropped->count, (first != NULL) + (second != NULL));
	if (first)
		assert_ptr_equal(dropped->sessions[0], first);
	if (second)
		assert_ptr_equal(dropped->sessions[1], second);
}

static void test_initiated(void **state)
{
	struct keypairs k = {0};
	struct keypairs_dropped dropped;

	(void)state;
	keypairs_add_initiated(&k, &a, &dropped);
	assert_slots(&k, NULL, &a, NULL);
	assert_dropped(&dropped, NULL, NULL);
	keypairs_add_initiated(&k, &b, &dropped);
	assert_slots(&k, &a, &b, NULL);
	assert_dropped(&dropped, NULL, NULL);
	keypairs_add_initiated(&k, &c, &dropped);
	assert_slots(&k, &b, &c, NULL);
	assert_dropped(&dropped, &a, NULL);
}

/* With a session unconfirmed that a packet came for: the peer sends with it, and not with current.
 */
static void test_initiated_over_proven_next(void **state)
{
	struct keypairs k = {.previous = &a, .current = &b, .next = &c};
	struct keypairs_dropped dropped;

	(void)state;
	atomic_store(&c.proven, true);
	keypairs_add_initiated(&k, &d, &dropped);
	atomic_store(&c.proven, false);
	assert_slots(&k, &c, &d, NULL);
	assert_dropped(&dropped, &a, &b);
}

/* Without: it still sends with current until it hears of the new one. */
static void test_initiated_over_unproven_next(void **state)
{
	struct keypairs k = {.previous = &a, .current = &b, .next = &c};
	struct keypairs_dropped dropped;

	(void)state;
	keypairs_add_initiated(&k, &d, &dropped);
	assert_slots(&k, &b, &d, NULL);
	assert_dropped(&dropped, &a, &c);
}

/* There is none that could be worth more. */
static void test_initiated_over_first_next(void **state)
{
	struct keypairs k = {.next = &c};
	struct keypairs_dropped dropped;

	(void)state;
	keypairs_add_initiated(&k, &d, &dropped);
	assert_slots(&k, &c, &d, NULL);
	assert_dropped(&dropped, NULL, NULL);
}

static void test_responded(void **state)
{
	struct keypairs k = {.previous = &a, .current = &b};
	struct keypairs_dropped dropped;

	(void)state;
	keypairs_add_responded(&k, &c, &dropped);
	assert_slots(&k, NULL, &b, &c);
	assert_dropped(&dropped, &a, NULL);
	keypairs_add_responded(&k, &d, &dropped);
	assert_slots(&k, NULL, &b, &d);
	assert_dropped(&dropped, &c, NULL);
}

static void test_confirmed(void **state)
{
	struct keypairs k = {.previous = &a, .current = &b, .next = &c};
	struct keypairs_dropped dropped;

	(void)state;
	assert_false(keypairs_confirm(&k, 1, &dropped));
	assert_false(keypairs_confirm(&k, 2, &dropped));
	assert_slots(&k, &a, &b, &c);
	assert_true(keypairs_confirm(&k, 3, &dropped));
	assert_slots(&k, &b, &c, NULL);
	assert_dropped(&dropped, &a, NULL);
	assert_false(keypairs_confirm(&k, 3, &dropped));
}

static void test_cleared(void **state)
{
	struct keypairs k = {.previous = &a, .current = &b, .next = &c};
	struct keypairs_dropped dropped;

	(void)state;
	keypairs_clear(&k, &dropped);
	assert_slots(&k, NULL, NULL, NULL);
	assert_int_equal(dropped.count, 3);
	keypairs_clear(&k, &dropped);
	assert_int_equal(dropped.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_initiated),
		cmocka_unit_test(test_initiated_over_proven_next),
		cmocka_unit_test(test_initiated_over_unproven_next),
		cmocka_unit_test(test_initiated_over_first_next),
		cmocka_unit_test(test_responded),
		cmocka_unit_test(test_confirmed),
		cmocka_unit_test(test_cleared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
