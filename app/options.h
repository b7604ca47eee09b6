/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line: dpdk-wg [EAL options] -- [options].
 *
 * options_parse() looks at the whole of argv before EAL does, so that --help, --version and --check
 * work without EAL (no hugepages, no privileges), with or without "--" in front.
 */
#ifndef APP_OPTIONS_H
#define APP_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/limits.h"
#include "crypto/aead_batch.h"

#define OPTIONS_NAME_BYTES    16 /* IFNAMSIZ */
#define OPTIONS_CAPTURE_NAME  "capture0"
#define OPTIONS_MESSAGE_BYTES 320

/* Exit statuses of the program. */
#define EXIT_RUN   1 /* something failed at run time */
#define EXIT_USAGE 2 /* the command line is wrong */

enum options_mode {
	OPTIONS_RUN,
	OPTIONS_CHECK, /* parse and validate everything, then end */
	OPTIONS_HELP,
	OPTIONS_VERSION,
};

struct options_interface {
	char name[OPTIONS_NAME_BYTES];
	const char *path; /* its config file, or NULL */
};

/* Strings point into argv. */
struct options {
	enum options_mode mode;
	int eal_argc;	    /* arguments that are EAL's, the program's name included */
	bool eal_prints;    /* EAL is asked for a list (its -h): it prints and ends */
	bool eal_log_level; /* the operator says what EAL logs */
	bool eal_syslog;    /* and wants it in the system's log */
	const char *outer[LIMIT_PORTS];
	unsigned outer_count;
	const char *inner[LIMIT_PORTS];
	unsigned inner_count;
	struct options_interface interfaces[LIMIT_INTERFACES];
	unsigned interface_count;
	bool poll;	 /* workers never sleep */
	uint16_t mtu;	 /* of all ports; 0: not given */
	bool dumpable;	 /* core dumps and debuggers of the same user are allowed */
	bool no_seccomp; /* system calls are not filtered */
	bool clamp_mss;	 /* TCP connections are offered what fits the tunnel */
	bool capture;	 /* there is an interface to capture frames on: OPTIONS_CAPTURE_NAME */
	unsigned handshake_lcores[LIMIT_HANDSHAKE_LCORES]; /* EAL's numbers, ascending */
	unsigned handshake_lcore_count;
	enum aead_backend aead;
};

/*
 * 0; or -EINVAL and in message one line that names the argument and says what would be right. When
 * mode is RUN or CHECK everything that can be known without opening a file or a port was checked.
 */
int options_parse(
	struct options *options, int argc, char *const argv[], char message[OPTIONS_MESSAGE_BYTES]);

void options_print_help(FILE *to);
void options_print_version(FILE *to);

#endif
