/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "app/policy.h"

#define MANY UINT32_MAX

static const uint32_t own[] = {51820, 51821};

static struct policy_rule lookup(uint32_t priority, uint32_t table)
{
	return (struct policy_rule){
		.priority = priority, .table = table, .suppress_prefixlength = -1};
}

static struct policy_rule narrow(uint32_t priority)
{
	struct policy_rule rule = lookup(priority, 254);

	rule.suppress_prefixlength = 0;
	return rule;
}

static struct policy_rule unmarked(uint32_t priority, uint32_t table)
{
	struct policy_rule rule = lookup(priority, table);

	rule.inverted = true;
	rule.fwmark = table;
	rule.fwmask = MANY;
	return rule;
}

static struct policy judge(const struct policy_rule *rules, unsigned n)
{
	struct policy policy;

	policy_judge(&policy, rules, n, own, 2);
	return policy;
}

static void test_default_rules(void **state)
{
	struct policy_rule v4[] = {lookup(0, 255), lookup(32766, 254), lookup(32767, 253)};

	(void)state;
	assert_true(judge(v4, 3).plain);
	assert_true(judge(v4, 2).plain); /* IPv6 has no more */
	assert_false(judge(v4, 1).plain);
	assert_false(judge(v4 + 1, 2).plain);
	assert_false(judge(v4, 0).plain);
}

static void test_own_tables(void **state)
{
	struct policy_rule rules[] = {lookup(0, 255), narrow(10), unmarked(11, 51821), narrow(12),
		unmarked(13, 51820), lookup(32766, 254)};
	struct policy policy = judge(rules, 6);

	(void)state;
	assert_true(policy.plain);
	assert_int_equal(policy.own_count, 2);
	assert_int_equal(policy.own_tables[0], 51821);
	assert_int_equal(policy.own_tables[1], 51820);
	/* Behind main it is asked too late to matter. */
	rules[4] = lookup(13, 254);
	rules[5] = unmarked(14, 51820);
	policy = judge(rules, 6);
	assert_true(policy.plain);
	assert_int_equal(policy.own_count, 1);
}

static void test_strangers(void **state)
{
	struct policy_rule good[] = {
		lookup(0, 255), narrow(10), unmarked(11, 51820), lookup(12, 254)};
	struct policy_rule bad[4];

	(void)state;
#define WITH(i, change)                                                                            \
	do {                                                                                       \
		for (unsigned j = 0; j < 4; j++)                                                   \
			bad[j] = good[j];                                                          \
		bad[i].change;                                                                     \
		assert_false(judge(bad, 4).plain);                                                 \
		assert_int_equal(judge(bad, 4).stranger, bad[i].priority);                         \
	} while (0)
	assert_true(judge(good, 4).plain);
	WITH(0, other = true);
	WITH(0, table = 99);
	WITH(1, other = true);
	WITH(1, suppress_prefixlength = 1);
	WITH(1, table = 99);
	WITH(1, fwmark = 1);
	WITH(2, table = 99);
	WITH(2, fwmark = 51821);
	WITH(2, fwmask = 0xffff);
	WITH(2, inverted = false);
	WITH(2, suppress_prefixlength = 0);
	WITH(3, inverted = true);
	WITH(3, fwmask = MANY);
	/* An own table asked before main's other routes would shadow them. */
	bad[0] = good[0];
	bad[1] = good[2];
	bad[2] = good[1];
	bad[3] = good[3];
	assert_false(judge(bad, 4).plain);
	assert_int_equal(judge(bad, 4).stranger, 11);
	/* Local must be asked first, and once. */
	bad[0] = good[1];
	bad[1] = good[0];
	bad[2] = good[2];
	assert_false(judge(bad, 4).plain);
	bad[0] = bad[1] = good[0];
	assert_false(judge(bad, 4).plain);
}

static void test_equal(void **state)
{
	struct policy_rule rules[] = {
		lookup(0, 255), narrow(10), unmarked(11, 51820), lookup(12, 254)};
	struct policy a = judge(rules, 4), b = a;

	(void)state;
	assert_true(policy_equal(&a, &b));
	b.own_tables[0] = 51821;
	assert_false(policy_equal(&a, &b));
	b = judge(rules, 2);
	assert_false(policy_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default_rules),
		cmocka_unit_test(test_own_tables),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
