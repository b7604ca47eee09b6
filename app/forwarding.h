/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells the operator when the fast path does not forward, and why: nothing of it can be seen from
 * outside but the speed. Thread: control.
 */
#ifndef APP_FORWARDING_H
#define APP_FORWARDING_H

#include "base/addr.h"

/* What is to be told next, of one family. */
struct forwarding {
	char told[320]; /* the last line; "": nothing yet */
	char next[320]; /* what it is now, if it stays so */
};

struct gateway;

/* Logs what has changed and stayed so since the last call. To be called a few times a second. */
void forwarding_follow(struct gateway *gateway);

/* One line, for telemetry; the string lives until the next call. */
const char *forwarding_describe(const struct gateway *gateway, enum ip_family family);

#endif
