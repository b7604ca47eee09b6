/* SPDX-License-Identifier: BSD-3-Clause */
#include "forwarding.h"

#include <string.h>

#include "gateway.h"
#include "log.h"
#include "mirror.h"

const char *forwarding_describe(const struct gateway *gateway, enum ip_family family)
{
	const char *hint;

	if (!mirror_ready(gateway->mirror))
		return "the host's routes are being read";
	hint = mirror_forwarding_hint(gateway->mirror, family);
	if (hint)
		return hint;
	return family == IP_V4 ? "IPv4 is forwarded by the workers"
			       : "IPv6 is forwarded by the workers";
}

static void keep(char *text, size_t size, const char *now)
{
	size_t len = strnlen(now, size - 1);

	memcpy(text, now, len);
	text[len] = '\0';
}

/* Rules and tables are changed in several steps: what lies in between is not told. */
static void follow(const struct gateway *gateway, struct forwarding *state, enum ip_family family)
{
	const char *now = forwarding_describe(gateway, family);
	bool first = state->told[0] == '\0', stayed = strcmp(now, state->next) == 0;

	keep(state->next, sizeof(state->next), now);
	if ((!first && !stayed) || strcmp(now, state->told) == 0)
		return;
	keep(state->told, sizeof(state->told), now);
	log_info("%s", now);
}

void forwarding_follow(struct gateway *gateway)
{
	if (!mirror_ready(gateway->mirror))
		return;
	follow(gateway, &gateway->forwarding_v4, IP_V4);
	follow(gateway, &gateway->forwarding_v6, IP_V6);
}
