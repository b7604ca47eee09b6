/* SPDX-License-Identifier: BSD-3-Clause */
/* --check: reads and validates the config files of a command line, without EAL or privileges. */
#ifndef APP_CHECK_H
#define APP_CHECK_H

struct options;

/* Logs what is wrong, one line a file. The exit status: 0 or EXIT_RUN. */
int check_configuration(const struct options *options);

#endif
