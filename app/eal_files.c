/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>

/* The telemetry socket in it goes at exit too, by a handler of EAL's that runs before this one. */
static void remove_directory(void)
{
	(void)rmdir(rte_eal_get_runtime_dir());
}

void eal_files_init(void)
{
	(void)atexit(remove_directory);
}

/*
 * The lock on "config" says whose the prefix is. With --in-memory there is no such file of ours,
 * but there may be another program's, under the default prefix.
 */
enum owner { NOBODY, OURSELVES, ANOTHER };

static enum owner owner_of(const char *directory)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[4096];

	snprintf(path, sizeof(path), "%s/config", directory);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NOBODY;
	/* Not closed: with any descriptor of the file our own lock would go. */
	if (fcntl(fd, F_GETLK, &lock) != 0)
		return NOBODY;
	return lock.l_type == F_UNLCK ? OURSELVES : ANOTHER;
}

bool eal_files_taken(void)
{
	return owner_of(rte_eal_get_runtime_dir()) == ANOTHER;
}

static void unlink_in(const char *directory, const char *prefix)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

/* EAL calls them PREFIXmap_NUMBER, on any mount of hugetlbfs. */
static void unlink_hugepages(const char *prefix)
{
	FILE *mounts = setmntent("/proc/mounts", "r");
	const struct mntent *mount;
	char name[256];

	snprintf(name, sizeof(name), "%smap_", prefix);
	while (mounts && (mount = getmntent(mounts)) != NULL) {
		if (strcmp(mount->mnt_type, "hugetlbfs") == 0)
			unlink_in(mount->mnt_dir, name);
	}
	if (mounts)
		endmntent(mounts);
}

void eal_files_remove(void)
{
	static const char *const names[] = {"config", "fbarray_", "hugepage_", "mp_socket"};
	const char *directory = rte_eal_get_runtime_dir();
	const char *slash = strrchr(directory, '/');

	if (!slash || owner_of(directory) != OURSELVES)
		return;
	unlink_hugepages(slash + 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink_in(directory, names[i]);
}
