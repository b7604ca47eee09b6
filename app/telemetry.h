/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the program tells of itself on DPDK's telemetry socket, under /wg/. DPDK answers in a thread
 * of its own; what control owns is read by control, on its behalf (control_call). Each answer is
 * described in docs/operations.md.
 */
#ifndef APP_TELEMETRY_H
#define APP_TELEMETRY_H

struct gateway;

/* Registers the commands. 0 or a negative errno. */
int telemetry_init(struct gateway *gateway);
/* From now on the commands answer that the program is ending. */
void telemetry_fini(void);

#endif
