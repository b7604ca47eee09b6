/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"

#include <stdio.h>

#include "config_load.h"
#include "options.h"

int check_configuration(const struct options *options)
{
	int status = 0;

	for (unsigned i = 0; i < options->interface_count; i++) {
		struct uapi_config config;
		char message[UAPI_MESSAGE_BYTES];

		if (!options->interfaces[i].path)
			continue;
		uapi_config_init(&config);
		if (config_load(&config, options->interfaces[i].path, message) != 0) {
			fprintf(stderr, "dpdk-wg: %s\n", message);
			status = EXIT_RUN;
		}
		for (uint32_t w = 0; w < config.warning_count; w++)
			fprintf(stderr, "dpdk-wg: warning: %s\n", config.warnings[w]);
		if (config.warnings_left_out > 0)
			fprintf(stderr, "dpdk-wg: %s: %u more warnings\n",
				options->interfaces[i].path, config.warnings_left_out);
		uapi_config_clear(&config);
	}
	return status;
}
