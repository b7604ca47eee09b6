/* SPDX-License-Identifier: BSD-3-Clause */
/* In a child process for each test, since the filter stays for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "app/syscall_filter.h"

/* Runs check() behind the filter in a child; it returns the number of what went wrong, or 0. */
static void behind_filter(int (*check)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(syscall_filter_install() == 0 ? check() : 255);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool refused(long rc, int with)
{
	return rc == -1 && errno == with;
}

static int try_programs_and_processes(void)
{
	char name[] = "true", *argv[] = {name, NULL}, *env[] = {NULL};

	if (!refused(execve("/bin/true", argv, env), EPERM))
		return 1;
	if (!refused(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, env, 0), EPERM))
		return 2;
	if (!refused(fork(), EPERM))
		return 3;
	if (!refused(syscall(SYS_clone, SIGCHLD | CLONE_VM, NULL, NULL, NULL, NULL), EPERM))
		return 4;
	if (!refused(syscall(SYS_clone3, NULL, 0), ENOSYS))
		return 5;
	return system("true") == 0 ? 6 : 0;
}

static int try_privileged_calls(void)
{
	static const long calls[] = {SYS_ptrace, SYS_process_vm_readv, SYS_mount, SYS_init_module,
		SYS_bpf, SYS_keyctl, SYS_setns, SYS_unshare, SYS_perf_event_open, SYS_reboot,
		SYS_setuid, SYS_iopl, SYS_io_uring_setup, SYS_personality};

	/* Arguments that the kernel itself would answer in another way. */
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (!refused(syscall(calls[i], -1L, -1L, -1L, -1L, -1L), EPERM))
			return (int)i + 1;
	return 0;
}

static int try_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	if (!refused(mprotect(p, 4096, PROT_READ | PROT_EXEC), EPERM))
		return 2;
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
			MAP_FAILED ||
		errno != EPERM)
		return 3;
	return mprotect(p, 4096, PROT_READ) == 0 ? 0 : 4;
}

static int try_sockets(void)
{
	static const int allowed[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (socket(allowed[i], SOCK_DGRAM, 0) < 0)
			return 1;
	for (int family = 0; family < 64; family++) {
		bool listed = family == AF_PACKET;

		for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
			listed |= family == allowed[i];
		if (!listed && !refused(socket(family, SOCK_DGRAM, 0), EAFNOSUPPORT))
			return 10 + family;
	}
	/* libc passes an int; the register has room for more. */
	if (!refused(syscall(SYS_socket, 0x100000000L | AF_ALG, SOCK_SEQPACKET, 0), EAFNOSUPPORT))
		return 2;
	return 0;
}

static void *say_so(void *arg)
{
	*(bool *)arg = true;
	return NULL;
}

static void *sleep_for_ever(void *arg)
{
	sem_t *sem = arg;

	while (sem_wait(sem) != 0)
		;
	return NULL;
}

/* What EAL does: threads made later, cancelled and joined. */
static int use_threads(void)
{
	pthread_t thread;
	bool said = false;
	sem_t never;

	if (pthread_create(&thread, NULL, say_so, &said) != 0)
		return 1;
	if (pthread_join(thread, NULL) != 0 || !said)
		return 2;
	sem_init(&never, 0, 0);
	if (pthread_create(&thread, NULL, sleep_for_ever, &never) != 0 ||
		pthread_cancel(thread) != 0)
		return 3;
	return pthread_join(thread, NULL) == 0 ? 0 : 4;
}

static void test_no_programs_no_processes(void **state)
{
	(void)state;
	behind_filter(try_programs_and_processes);
}

static void test_no_privileged_calls(void **state)
{
	(void)state;
	behind_filter(try_privileged_calls);
}

static void test_no_new_code(void **state)
{
	(void)state;
	behind_filter(try_code);
}

static void test_only_listed_families(void **state)
{
	(void)state;
	behind_filter(try_sockets);
}

static void test_threads_as_before(void **state)
{
	(void)state;
	behind_filter(use_threads);
}

struct other {
	sem_t begin, done;
	bool was_refused;
};

static void *other_thread(void *arg)
{
	struct other *other = arg;

	while (sem_wait(&other->begin) != 0)
		;
	other->was_refused = refused(syscall(SYS_ptrace, -1L, -1L, -1L, -1L), EPERM);
	sem_post(&other->done);
	return NULL;
}

/* Threads that were there before are behind the filter too: EAL's are. */
static void test_threads_of_before(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		struct other other = {0};
		pthread_t thread;

		sem_init(&other.begin, 0, 0);
		sem_init(&other.done, 0, 0);
		if (pthread_create(&thread, NULL, other_thread, &other) != 0 ||
			syscall_filter_install() != 0)
			_exit(2);
		sem_post(&other.begin);
		while (sem_wait(&other.done) != 0)
			;
		_exit(other.was_refused ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_programs_no_processes),
		cmocka_unit_test(test_no_privileged_calls),
		cmocka_unit_test(test_no_new_code),
		cmocka_unit_test(test_only_listed_families),
		cmocka_unit_test(test_threads_as_before),
		cmocka_unit_test(test_threads_of_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
