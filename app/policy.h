/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Policy rules: are they the kernel's default ones and our own, and if so, in which order are the
 * tables of own default routes asked? Pure functions of the rules.
 *
 * What is understood, by priority: table local; then any number of
 *	lookup main suppress_prefixlength 0
 *	not fwmark TABLE lookup TABLE			(TABLE one of our own)
 * the first kind before the first of the second; table main; table default, which nothing is
 * forwarded by here.
 */
#ifndef APP_POLICY_H
#define APP_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "mirror.h"

struct policy_rule {
	uint32_t priority;
	uint32_t table;
	uint32_t fwmark, fwmask;
	int32_t suppress_prefixlength; /* -1: none */
	bool inverted;		       /* "not" */
	uint8_t protocol;	       /* who made it */
	bool other; /* selects by something else, or does something else than look up a table */
};

struct policy {
	bool plain;	   /* the rules are understood */
	uint32_t stranger; /* if not: priority of the first rule that is not, or of what is missing
			    */
	uint32_t own_tables[MIRROR_OWN_TABLES]; /* in the order they are asked */
	unsigned own_count;
};

/* rules: in the kernel's order. tables: our own. */
void policy_judge(struct policy *out, const struct policy_rule *rules, unsigned n,
	const uint32_t *tables, unsigned table_count);

bool policy_equal(const struct policy *a, const struct policy *b);

#endif
