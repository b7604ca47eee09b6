/* SPDX-License-Identifier: BSD-3-Clause */
/* A network namespace of the test's own, which ends with its process; and ip(8) in it. */
#ifndef TESTS_APP_NETNS_H
#define TESTS_APP_NETNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A test program's exit status when it cannot run here. */
#define NETNS_SKIP 77

/* False, after a line that says why: not permitted. */
bool netns_enter(void);

/* Runs a command of the shell; fails the test when it fails. */
__attribute__((format(printf, 1, 2))) void run(const char *format, ...);
/* Its standard output (the first bytes of it, trailing newline cut off); status not looked at. */
__attribute__((format(printf, 3, 4))) void output_of(
	char *out, size_t room, const char *format, ...);

/* Makes a TAP or TUN that lives until the process ends, up; its number. */
uint32_t netns_make(const char *name, bool tap, const char *mac);

#endif
