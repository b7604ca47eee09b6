/* SPDX-License-Identifier: BSD-3-Clause */
/* See policy.h. */
#include "policy.h"

#include <string.h>

#include <linux/rtnetlink.h>

enum rule_kind {
	RULE_LOCAL,
	RULE_MAIN_BUT_DEFAULT,
	RULE_OWN,
	RULE_MAIN,
	RULE_DEFAULT,
	RULE_STRANGE,
};

static enum rule_kind rule_kind(
	const struct policy_rule *rule, const uint32_t *tables, unsigned table_count)
{
	if (rule->other)
		return RULE_STRANGE;
	if (rule->inverted) {
		if (rule->fwmark != rule->table || rule->fwmask != UINT32_MAX ||
			rule->suppress_prefixlength >= 0)
			return RULE_STRANGE;
		for (unsigned i = 0; i < table_count; i++) {
			if (tables[i] == rule->table)
				return RULE_OWN;
		}
		return RULE_STRANGE;
	}
	if (rule->fwmark != 0 || rule->fwmask != 0)
		return RULE_STRANGE;
	if (rule->suppress_prefixlength == 0 && rule->table == RT_TABLE_MAIN)
		return RULE_MAIN_BUT_DEFAULT;
	if (rule->suppress_prefixlength >= 0)
		return RULE_STRANGE;
	switch (rule->table) {
	case RT_TABLE_LOCAL:
		return RULE_LOCAL;
	case RT_TABLE_MAIN:
		return RULE_MAIN;
	case RT_TABLE_DEFAULT:
		return RULE_DEFAULT;
	default:
		return RULE_STRANGE;
	}
}

/* Takes the next rule into account; false when it is out of place. */
static bool take_rule(struct policy *policy, enum rule_kind kind, uint32_t table, bool *local,
	bool *narrow_main, bool *main)
{
	switch (kind) {
	case RULE_LOCAL:
		if (*local)
			return false;
		return *local = true;
	case RULE_MAIN_BUT_DEFAULT:
		*narrow_main = true;
		return *local;
	case RULE_OWN:
		/* Asked behind main, an own table changes nothing. */
		if (*main)
			return true;
		if (!*local || !*narrow_main || policy->own_count == MIRROR_OWN_TABLES)
			return false;
		policy->own_tables[policy->own_count++] = table;
		return true;
	case RULE_MAIN:
		*main = true;
		return *local;
	case RULE_DEFAULT:
		return *main;
	default:
		return false;
	}
}

void policy_judge(struct policy *out, const struct policy_rule *rules, unsigned n,
	const uint32_t *tables, unsigned table_count)
{
	bool local = false, narrow_main = false, main = false;

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < n; i++) {
		enum rule_kind kind = rule_kind(&rules[i], tables, table_count);

		out->stranger = rules[i].priority;
		if (!take_rule(out, kind, rules[i].table, &local, &narrow_main, &main))
			return;
	}
	out->plain = local && main;
}

bool policy_equal(const struct policy *a, const struct policy *b)
{
	return a->plain == b->plain && (a->plain || a->stranger == b->stranger) &&
	       a->own_count == b->own_count &&
	       memcmp(a->own_tables, b->own_tables, a->own_count * sizeof(a->own_tables[0])) == 0;
}
