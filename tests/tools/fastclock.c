/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A library to be preloaded into the program under test: it lies about the time, so that hours of
 * the protocol's timers pass in a test. What it adds to the clocks, and how much faster the one of
 * deadlines runs, stands in a file that the test may change at any time: FASTCLOCK names it.
 *
 *   factor     nanoseconds of CLOCK_BOOTTIME for one; from the start on, and should not change
 *   boottime   nanoseconds added to CLOCK_BOOTTIME
 *   realtime   nanoseconds added to CLOCK_REALTIME
 *
 * CLOCK_MONOTONIC tells the truth, as while a machine sleeps: no deadline may go by it. As three
 * 64-bit integers of this machine. Sleeps are not changed: whoever waits for a deadline must wake
 * in between, as dpdk-wg's threads do.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC 1000000000ll

struct lies {
	int64_t factor, boottime, realtime;
};

static const volatile struct lies *lies;
static int64_t begin_ns;

static int system_clock(clockid_t clock, struct timespec *out)
{
	return (int)syscall(SYS_clock_gettime, clock, out);
}

static int64_t in_ns(const struct timespec *time)
{
	return time->tv_sec * NS_PER_SEC + time->tv_nsec;
}

__attribute__((constructor)) static void find_lies(void)
{
	const char *path = getenv("FASTCLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct timespec now;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*lies), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	system_clock(CLOCK_BOOTTIME, &now);
	begin_ns = in_ns(&now);
	if (map != MAP_FAILED)
		lies = map;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	int error = system_clock(clock, out);
	int64_t ns = in_ns(out);

	if (error != 0 || !lies)
		return error;
	if (clock == CLOCK_BOOTTIME)
		ns = begin_ns + (ns - begin_ns) * lies->factor + lies->boottime;
	else if (clock == CLOCK_REALTIME)
		ns += lies->realtime;
	out->tv_sec = ns / NS_PER_SEC;
	out->tv_nsec = ns % NS_PER_SEC;
	return 0;
}
