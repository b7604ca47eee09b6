/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A library that says it has done its work and has not: nothing is sealed with it. (It is linked
 * with an initialization of its own.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <intel-ipsec-mb.h>
#include <stdbool.h>
#include <string.h>

#include "crypto/aead_batch.h"

void __real_init_mb_mgr_auto(IMB_MGR *manager, IMB_ARCH *arch);
void __wrap_init_mb_mgr_auto(IMB_MGR *manager, IMB_ARCH *arch);

typedef __typeof__(((IMB_MGR *)0)->submit_burst_nocheck) submit_fn;

static submit_fn honest;

static uint32_t do_nothing(IMB_MGR *manager, const uint32_t n, IMB_JOB **jobs)
{
	(void)manager;
	(void)jobs;
	return n;
}

static uint32_t no_tags(IMB_MGR *manager, const uint32_t n, IMB_JOB **jobs)
{
	for (uint32_t i = 0; i < n; i++) {
		static uint8_t lost[64][16];
		jobs[i]->auth_tag_output = lost[i];
	}
	return honest(manager, n, jobs);
}

static submit_fn submit;

void __wrap_init_mb_mgr_auto(IMB_MGR *manager, IMB_ARCH *arch)
{
	__real_init_mb_mgr_auto(manager, arch);
	honest = manager->submit_burst_nocheck;
	if (submit != NULL)
		manager->submit_burst_nocheck = submit;
}

static void assert_refused(submit_fn dishonest)
{
	submit = dishonest;
	errno = 0;
	assert_null(aead_batch_create(AEAD_BACKEND_IPSEC_MB));
	assert_int_equal(errno, ENOTSUP);
}

static void refused(void **state)
{
	struct aead_batch *batch;

	(void)state;
	submit = NULL;
	batch = aead_batch_create(AEAD_BACKEND_IPSEC_MB);
	if (batch == NULL && errno == ENOTSUP)
		skip();
	assert_non_null(batch);
	aead_batch_destroy(batch);
	assert_refused(do_nothing);
	assert_refused(no_tags);
}

/* The automatic backend then does without. */
static void left_out(void **state)
{
	static const uint8_t key[32] = {9};
	uint8_t data[200] = {0}, expected[200] = {0};
	const struct aead_op op = {.data = data, .key = key, .len = 184},
			     same = {.data = expected, .key = key, .len = 184};
	struct aead_batch *batch, *oracle = aead_batch_create(AEAD_BACKEND_SODIUM);

	(void)state;
	submit = do_nothing;
	batch = aead_batch_create(AEAD_BACKEND_AUTO);
	assert_non_null(batch);
	aead_batch_seal(batch, &op, 1);
	aead_batch_seal(oracle, &same, 1);
	assert_memory_equal(data, expected, sizeof(data));
	aead_batch_destroy(batch);
	aead_batch_destroy(oracle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
