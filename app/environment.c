/* SPDX-License-Identifier: BSD-3-Clause */
#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* Where EAL makes its runtime directory (eal_filesystem.c); it says EINVAL when it cannot. */
static bool runtime_directory_fails(void)
{
	const char *base = getenv("RUNTIME_DIRECTORY");
	char path[4096];

	if (!base)
		base = getuid() == 0 ? "/var/run" : getenv("XDG_RUNTIME_DIR");
	snprintf(path, sizeof(path), "%s/dpdk", base ? base : "/tmp");
	if (mkdir(path, 0700) == 0)
		return rmdir(path) != 0;
	if (errno == EEXIST && access(path, W_OK | X_OK) == 0)
		return false;
	log_error("EAL's runtime directory cannot be made: %s: %s; RUNTIME_DIRECTORY=DIR in the "
		  "environment names another place",
		path, strerror(errno));
	return true;
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
		if (runtime_directory_fails())
			return EXIT_RUN;
		log_error("EAL refuses its part of the command line, before the \"--\": its own "
			  "lines above say why, and \"dpdk-wg -h\" lists its options");
		return EXIT_USAGE;
	case ENOSPC:
		log_error("no space for EAL's files in %s: it wants some 4 MB",
			rte_eal_get_runtime_dir());
		return EXIT_RUN;
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

/*
 * EAL writes to its files through mappings: where their file system is full, that ends in a SIGBUS.
 * It catches those of huge pages itself.
 */
static sigjmp_buf file_system_is_full;

static void on_sigbus(int number)
{
	(void)number;
	siglongjmp(file_system_is_full, 1);
}

static int start_eal(const struct options *options, char **argv)
{
	struct sigaction catch = {.sa_handler = on_sigbus}, before;
	volatile int rc = -1;

	(void)sigaction(SIGBUS, &catch, &before);
	if (sigsetjmp(file_system_is_full, 1) == 0)
		rc = rte_eal_init(options->eal_argc, argv);
	else
		rte_errno = ENOSPC;
	(void)sigaction(SIGBUS, &before, NULL);
	return rc;
}

int environment_start(const struct options *options, char **argv)
{
	eal_files_init();
	(void)rte_set_application_usage_hook(print_help);
	if (!options->eal_log_level)
		(void)rte_log_set_level_pattern("lib.*", RTE_LOG_WARNING);
	/* By itself EAL writes to both, and under systemd both are the journal. */
	if (!options->eal_syslog)
		(void)rte_openlog_stream(stderr);
	int copy = options->eal_prints ? -1 : mute();
	int rc = start_eal(options, argv);
	int error = rte_errno;

	unmute(copy);
	if (rc >= 0)
		return 0;
	int status = explain(error);
	eal_files_remove();
	return status;
}
