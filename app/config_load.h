/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Config files from disk, and the names in them from the resolver. Both may block: for the start of
 * the program and --check, not for the control loop.
 */
#ifndef APP_CONFIG_LOAD_H
#define APP_CONFIG_LOAD_H

#include <stdbool.h>

#include "uapi/config.h"

/*
 * Reads and parses a file into config, which has been initialised. 0; or a negative errno, with
 * message saying why. Only a regular file of bounded size is read. Other users being able to read
 * it is a warning.
 */
int config_load(struct uapi_config *config, const char *path, char message[UAPI_MESSAGE_BYTES]);

/*
 * Looks up the endpoints that are host names, or name an interface that was to come. An endpoint
 * that cannot be resolved is left out of the config with a warning, so that one stale name does not
 * keep a gateway down. 0; or -EINTR when ending() was true between two names.
 */
int config_resolve(struct uapi_config *config, const char *path, bool (*ending)(void));

#endif
