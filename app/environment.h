/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EAL's start, as an operator meets it: its hundred lines of usage only when he asks for them, its
 * progress only when he asks for that, and a line of ours behind its own when it fails. Thread:
 * main.
 */
#ifndef APP_ENVIRONMENT_H
#define APP_ENVIRONMENT_H

struct options;

/* 0; or an exit status (EXIT_RUN, EXIT_USAGE) after a line on what is wrong. */
int environment_start(const struct options *options, char **argv);

#endif
