/* SPDX-License-Identifier: BSD-3-Clause */
#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "eal_files.h"
#include "log.h"
#include "options.h"

static void print_help(const char *program)
{
	(void)program;
	options_print_help(stdout);
	fputs("\n", stdout);
}

/* A copy of standard output, which goes nowhere from here on; negative: it stays as it is. */
static int mute(void)
{
	fflush(stdout);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int copy = null < 0 ? -1 : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (copy >= 0)
		(void)dup2(null, STDOUT_FILENO);
	if (null >= 0)
		close(null);
	return copy;
}

static void unmute(int copy)
{
	if (copy < 0)
		return;
	fflush(stdout);
	(void)dup2(copy, STDOUT_FILENO);
	close(copy);
}

static int explain(int error)
{
	switch (error) {
	case EACCES:
		log_error("DPDK found no hugepages: reserve some (echo 512 > "
			  "/proc/sys/vm/nr_hugepages) and give --in-memory, or do without: "
			  "--no-huge -m 256");
		return EXIT_RUN;
	case EINVAL:
		log_error("EAL refuses its part of the command line, before the \"--\": its own "
			  "lines above say why, and \"dpdk-wg -h\" lists its options");
		return EXIT_USAGE;
	default:
		break;
	}
	if (eal_files_taken())
		log_error("another DPDK program has EAL's runtime directory %s: give each a "
			  "--file-prefix NAME of its own",
			rte_eal_get_runtime_dir());
	else
		log_error("DPDK's environment did not start%s%s: its own lines above say why",
			error ? ", " : "", error ? rte_strerror(error) : "");
	return EXIT_RUN;
}

int environment_start(const struct options *options, char **argv)
{
	eal_files_init();
	(void)rte_set_application_usage_hook(print_help);
	if (!options->eal_log_level)
		(void)rte_log_set_level_pattern("lib.*", RTE_LOG_WARNING);
	int copy = options->eal_prints ? -1 : mute();
	int rc = rte_eal_init(options->eal_argc, argv);
	int error = rte_errno;

	unmute(copy);
	if (rc >= 0)
		return 0;
	int status = explain(error);
	eal_files_remove();
	return status;
}
