/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells the service manager that started us (systemd's Type=notify) when all is up: a datagram to
 * the socket that the environment names. Without one nothing is done. Thread: main.
 */
#ifndef APP_NOTIFY_H
#define APP_NOTIFY_H

/* Before privileges are dropped: the socket to it, or -1 (after a warning, if it should be there).
 */
int notify_open(void);
/* Sends "READY=1" and closes fd, unless that is -1. */
void notify_ready(int fd);

#endif
