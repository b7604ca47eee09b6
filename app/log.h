/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines for the operator, on standard error, through DPDK's log under the type "dpdk-wg" (so that
 * --log-level and --syslog work on them). One line each, without a full stop or newline at the end.
 * Thread: any but workers, which count instead.
 */
#ifndef APP_LOG_H
#define APP_LOG_H

__attribute__((format(printf, 1, 2))) void log_error(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_warning(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_info(const char *format, ...);

#endif
