/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control loop, on the main lcore: handshakes, timers, hints of the workers, the mirror of the
 * kernel, the sockets of wg(8), requests of telemetry. Sleeps when there is nothing to do.
 */
#ifndef APP_CONTROL_H
#define APP_CONTROL_H

#include <stdbool.h>

struct gateway;

/*
 * Blocks the signals that end a program (SIGINT, SIGTERM, SIGQUIT) and SIGHUP, which here does not,
 * in this thread and those it makes, for control_run() to take: before EAL starts. 0, or a negative
 * errno after a line that says why.
 */
int control_init(void);
void control_fini(void);

/* Whether one that ends it came. For steps before control_run() that take long. */
bool control_end_asked(void);

/* Runs until one of them comes, or no interface is left. */
void control_run(struct gateway *gateway);

/*
 * Runs fn(arg) in the control thread, between two turns of its loop, and returns when it is done;
 * false when the loop does not run (any more). Thread: any but control's and the workers'.
 */
bool control_call(void (*fn)(void *arg), void *arg);

#endif
