/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The config files of a command line, read before anything is touched: a mistake in one leaves the
 * system as it was, and --check finds what the start would. Thread: main.
 */
#ifndef APP_CONFIGS_H
#define APP_CONFIGS_H

#include "uapi/config.h"

struct options;

/* One for each of the options' interfaces; of one without a file it is empty. */
struct configs {
	struct uapi_config of[LIMIT_INTERFACES];
};

/*
 * Reads the files, and checks them against each other. A line for each that is wrong, and for each
 * warning. 0, or -EINVAL when one is wrong; configs_clear() is due in both cases.
 */
int configs_load(struct configs *configs, const struct options *options);
void configs_clear(struct configs *configs);

/* Logs a config's warnings, and forgets them. path: its file. */
void configs_tell_warnings(struct uapi_config *config, const char *path);

#endif
