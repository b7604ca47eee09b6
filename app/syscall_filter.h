/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls that a running gateway never makes are refused (EPERM) to all of its threads: to
 * start programs or processes, to look into others, to mount, to load kernel code, to run code that
 * was data before. A list of what is refused, not of what is allowed: which calls DPDK's drivers
 * make is theirs to know. docs/security.md has the list.
 */
#ifndef APP_SYSCALL_FILTER_H
#define APP_SYSCALL_FILTER_H

/* Once all is set up; cannot be undone. 0 or a negative errno after a line. Thread: main. */
int syscall_filter_install(void);

#endif
