/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the process may do: asked for before the start, and cut down to the need once all is set up.
 * docs/security.md says why each is kept. Thread: main.
 */
#ifndef APP_PRIVILEGES_H
#define APP_PRIVILEGES_H

/* 0; or -EPERM after a line that names the capabilities which are missing and how to give them. */
int privileges_check(void);

/*
 * Keeps all of the process's memory out of swap, as it is touched; where that is not permitted a
 * line says so, and only what secret_mem.h can lock is. Before anything large is mapped.
 */
void privileges_lock_memory(void);

/* No core dumps, no debugger of the same user. EAL must be up: as non-root it reads /proc/self. */
void privileges_refuse_dumps(void);

/*
 * Leaves all threads that exist, and those they make, with the capabilities that a running gateway
 * needs, and with no way to gain others. A thread that does not let go of them makes a warning.
 */
void privileges_drop(void);

#endif
