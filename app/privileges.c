/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capabilities belong to threads, and most of ours are EAL's and its drivers'. So each is sent a
 * signal whose handler drops that thread's; the kernel's own account of every thread says when all
 * have done so.
 */
#include "privileges.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>

#include "base/units.h"
#include "log.h"

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

/* What the set-up cannot do without. */
#define NEEDED (CAP_BIT(CAP_NET_ADMIN) | CAP_BIT(CAP_NET_RAW))
/*
 * What may be asked for while running: addresses, routes, marks and sizes of sockets; drivers'
 * packet sockets and queues; a ListenPort below 1,024; memory that grows, locked or seen by a NIC.
 */
#define KEPT (NEEDED | CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_IPC_LOCK))

/* It is ignored where it comes late and has no handler any more. */
#define DROP_SIGNAL  SIGURG
#define DROP_ROUNDS  1000
#define DROP_WAIT_NS (1 * NS_PER_MS)

/* Read by the signal's handler in all threads. [main w before the first signal] */
static uint64_t kept;

/* --- Before the start --- */

static uint64_t effective(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	(void)syscall(SYS_capget, &header, data);
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

int privileges_check(void)
{
	uint64_t missing = NEEDED & ~effective();

	if (missing == 0)
		return 0;
	log_error("%s%s%s missing: run as root, or as another user with both given (systemd: "
		  "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW; setpriv: --inh-caps and "
		  "--ambient-caps +net_admin,+net_raw)",
		missing & CAP_BIT(CAP_NET_ADMIN) ? "CAP_NET_ADMIN" : "",
		missing == NEEDED ? " and " : "",
		missing == NEEDED		 ? "CAP_NET_RAW are"
		: missing & CAP_BIT(CAP_NET_RAW) ? "CAP_NET_RAW is"
						 : " is");
	return -EPERM;
}

void privileges_lock_memory(void)
{
	bool permitted = effective() & CAP_BIT(CAP_IPC_LOCK);
	struct rlimit limit;

	/* With a limit, the mapping that goes beyond it would fail some day: no such surprises. */
	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_MEMLOCK, &limit);
		permitted |= limit.rlim_max == RLIM_INFINITY;
	}
	if (permitted && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
		return;
	log_warning("memory is not locked, keys may reach the swap space: give CAP_IPC_LOCK or "
		    "RLIMIT_MEMLOCK=unlimited, or use no swap (%s)",
		permitted ? strerror(errno) : "not permitted");
}

void privileges_refuse_dumps(void)
{
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* --- All is set up --- */

/* Of the calling thread. Nothing but system calls: it runs in a signal handler too. */
static void drop_own(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)kept, .permitted = (uint32_t)kept},
		{.effective = (uint32_t)(kept >> 32), .permitted = (uint32_t)(kept >> 32)},
	};

	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(kept & CAP_BIT(cap)))
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	(void)syscall(SYS_capset, &header, data);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void on_drop_signal(int number)
{
	int saved = errno;

	(void)number;
	drop_own();
	errno = saved;
}

/* Whether a thread has no capability but those kept; its name is given. One that ended has not. */
static bool has_dropped(const char *tid, char name[64])
{
	char path[64], line[256];
	bool dropped = true;
	uint64_t caps;
	int no_new;

	snprintf(path, sizeof(path), "/proc/self/task/%.16s/status", tid);
	FILE *status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status)) {
		(void)sscanf(line, "Name: %63s", name);
		if (sscanf(line, "CapPrm: %lx", &caps) == 1)
			dropped &= (caps & ~kept) == 0;
		if (sscanf(line, "NoNewPrivs: %d", &no_new) == 1)
			dropped &= no_new == 1;
	}
	if (status)
		fclose(status);
	return dropped;
}

/* Sends the signal to all threads that have not dropped. Returns how many; the name is of one. */
static unsigned signal_threads(char name[64])
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *entry;
	unsigned left = 0;

	while (tasks && (entry = readdir(tasks)) != NULL) {
		char its_name[64] = "";
		int tid = atoi(entry->d_name);

		if (tid <= 0 || has_dropped(entry->d_name, its_name))
			continue;
		memcpy(name, its_name, sizeof(its_name));
		(void)syscall(SYS_tgkill, getpid(), tid, DROP_SIGNAL);
		left++;
	}
	if (tasks)
		closedir(tasks);
	return left;
}

void privileges_drop(void)
{
	/* What sleeps in a system call goes on with it. */
	struct sigaction action = {.sa_handler = on_drop_signal, .sa_flags = SA_RESTART};
	struct timespec wait = {.tv_nsec = (long)DROP_WAIT_NS};
	char name[64] = "";
	unsigned left = 1;

	kept = KEPT & effective();
	/* Memory that grows is found by its physical address: the kernel tells it to nobody else.
	 */
	if (rte_eal_iova_mode() == RTE_IOVA_PA)
		kept |= CAP_BIT(CAP_SYS_ADMIN) & effective();
	drop_own();
	sigaction(DROP_SIGNAL, &action, NULL);
	/* A thread may make another one before its turn comes. */
	for (unsigned round = 0; round < DROP_ROUNDS; round++) {
		left = signal_threads(name);
		if (left == 0)
			break;
		(void)nanosleep(&wait, NULL);
	}
	action.sa_handler = SIG_DFL;
	sigaction(DROP_SIGNAL, &action, NULL);
	if (left > 0)
		log_warning("%u threads keep privileges that are not needed any more, among them "
			    "\"%s\"",
			left, name);
}
