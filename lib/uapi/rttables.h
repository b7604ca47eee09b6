/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of routing tables, as ip(8) takes them: those in rt_tables and rt_tables.d of
 * /etc/iproute2 and /usr/share/iproute2, and the kernel's "main", "default" and "local", which need
 * no file.
 * Internal to lib/uapi. Thread: any.
 */
#ifndef UAPI_RTTABLES_H
#define UAPI_RTTABLES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "uapi/field.h"

/* The table of that name; false: there is none. */
bool rttables_number(struct span name, uint32_t *number);
/* The same in one file of lines "number name"; what is no such line is passed over. */
bool rttables_find(FILE *file, struct span name, uint32_t *number);

#endif
