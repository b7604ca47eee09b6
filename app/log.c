/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

#include <rte_log.h>

static void line(uint32_t level, const char *prefix, const char *format, va_list args)
{
	/* The registration remembers --log-level options for this name, and is found again by it.
	 */
	static int log_type = -1;
	char text[1024];

	if (log_type < 0)
		log_type = rte_log_register_type_and_pick_level("dpdk-wg", RTE_LOG_INFO);
	vsnprintf(text, sizeof(text), format, args);
	rte_log(level, (uint32_t)log_type, "dpdk-wg: %s%s\n", prefix, text);
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line(RTE_LOG_ERR, "", format, args);
	va_end(args);
}

void log_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line(RTE_LOG_WARNING, "warning: ", format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line(RTE_LOG_INFO, "", format, args);
	va_end(args);
}
