/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"

#include "configs.h"
#include "options.h"

int check_configuration(const struct options *options)
{
	static struct configs configs;
	int err = configs_load(&configs, options);

	configs_clear(&configs);
	return err ? EXIT_RUN : 0;
}
