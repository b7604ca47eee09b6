/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <rte_eal.h>

int eal_start(unsigned megabytes)
{
	return eal_start_pages(megabytes, false);
}

int eal_start_pages(unsigned megabytes, bool huge)
{
	char args[][32] = {"test", "", "--no-pci", "-m", "", "-l", "0", "--no-telemetry",
		"--log-level=error", ""};
	char *argv[sizeof(args) / sizeof(args[0])];
	for (unsigned i = 0; i < sizeof(args) / sizeof(args[0]); i++)
		argv[i] = args[i];
	snprintf(args[1], sizeof(args[1]), huge ? "--in-memory" : "--no-huge");
	snprintf(args[4], sizeof(args[4]), "%u", megabytes);
	snprintf(args[9], sizeof(args[9]), "--file-prefix=wgt%d", getpid());
	return rte_eal_init(sizeof(argv) / sizeof(argv[0]), argv);
}

/* EAL leaves the files of its run-time directory. */
static void remove_directory(const char *path)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	rmdir(path);
}

int eal_stop(void)
{
	char path[256];
	snprintf(path, sizeof(path), "%s", rte_eal_get_runtime_dir());
	int error = rte_eal_cleanup();
	remove_directory(path);
	return error;
}
