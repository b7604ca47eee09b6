/* SPDX-License-Identifier: BSD-3-Clause */
/* EAL for tests and benchmarks: one lcore, no hugepages, no NICs, able to run beside a copy. */
#ifndef TESTS_DATAPATH_EAL_H
#define TESTS_DATAPATH_EAL_H

#include <stdbool.h>

/* 0 or a negative number. */
int eal_start(unsigned megabytes);
/* The same, with hugepages if huge. */
int eal_start_pages(unsigned megabytes, bool huge);
/* Leaves nothing behind in the file system. */
int eal_stop(void);

#endif
