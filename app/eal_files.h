/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files that EAL leaves behind when a program ends, for the next one with the same
 * --file-prefix to find or overwrite: its runtime directory, and its hugepage files (with the
 * memory in them). Thread: main.
 */
#ifndef APP_EAL_FILES_H
#define APP_EAL_FILES_H

#include <stdbool.h>

/* Before rte_eal_init(): the runtime directory will go when the process ends, if it is empty. */
void eal_files_init(void);
/* After rte_eal_cleanup(), or rte_eal_init() that failed: removes what is not another program's. */
void eal_files_remove(void);
/*
 * After rte_eal_init() that failed: true when another program holds the runtime directory that it
 * was to have.
 */
bool eal_files_taken(void);

#endif
