/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The config file: wg(8)'s format and wg-quick(8)'s additions.
 *
 * Sections and keys in any case, white space anywhere around them, comments from '#' to the end of
 * the line, lists with commas or repeated keys, host bits of allowed IPs masked off. Address, MTU
 * and Table are for the host interface. PreUp, PostUp, PreDown, PostDown, DNS and SaveConfig make a
 * warning that names the key and the line: they are wg-quick's to carry out. Everything else that
 * is not known, stands in the wrong section, is given twice or is missing is an error.
 *
 * Thread: any; reads no file and asks no name server.
 */
#ifndef UAPI_CONFFILE_H
#define UAPI_CONFFILE_H

#include <stddef.h>

#include "uapi/config.h"

/*
 * Parses len bytes of text into config, which has been initialised. name is what messages call the
 * file. 0; or a negative errno (-EINVAL, -ENOMEM, -E2BIG), *config empty, and in message one line
 * "name:line: what is wrong and what would be right". Messages and warnings hold no secret.
 *
 * The result replaces all there is (replace_peers, replace_allowed_ips, every interface field set).
 */
int conffile_parse(struct uapi_config *config, const char *name, const char *text, size_t len,
	char message[UAPI_MESSAGE_BYTES]);

#endif
