/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration protocol of userspace WireGuard (wireguard.com/xplatform): "get=1" and "set=1"
 * as key=value lines, ended by an empty line. No sockets here: bytes in, bytes out.
 *
 * Thread: control. The parser holds one config that grows with the request, within UAPI_MAX_PEERS
 * and UAPI_MAX_ALLOWED_IPS, and one line of UAPI_LINE_BYTES.
 */
#ifndef UAPI_PROTOCOL_H
#define UAPI_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "uapi/config.h"
#include "wg/device.h"

/* The longest line that is read: a key and a value of 64 hexadecimal digits, three times over. */
#define UAPI_LINE_BYTES 256

/* --- Requests --- */

enum uapi_request {
	UAPI_REQUEST_NONE,  /* not complete: feed more */
	UAPI_REQUEST_GET,   /* answer with a uapi_printer */
	UAPI_REQUEST_SET,   /* apply uapi_parser_config(), answer with its errno */
	UAPI_REQUEST_BAD,   /* complete, but answer uapi_parser_errno() */
	UAPI_REQUEST_BROKEN /* the same, then close: the end of this request cannot be known */
};

struct uapi_parser;

/* NULL: out of memory. */
struct uapi_parser *uapi_parser_create(void);
/* Wipes what it holds. */
void uapi_parser_destroy(struct uapi_parser *parser);
/* Reads up to the end of one request. Returns the bytes used: all, unless a request is complete. */
size_t uapi_parser_feed(struct uapi_parser *parser, const char *data, size_t len);
enum uapi_request uapi_parser_request(const struct uapi_parser *parser);
/* Of a complete "set". The parser's: valid until uapi_parser_reset(). */
struct uapi_config *uapi_parser_config(struct uapi_parser *parser);
/* Negative errno of a bad request, and why: "line 3: ..." (no secret in it). */
int uapi_parser_errno(const struct uapi_parser *parser);
const char *uapi_parser_reason(const struct uapi_parser *parser);
/* Ready for the next request. */
void uapi_parser_reset(struct uapi_parser *parser);

/* --- Answers --- */

/*
 * Prints a device piece by piece, in the order of creation of its peers. It keeps the list of
 * public keys from its beginning (32 bytes a peer), not pointers: peers may come and go between two
 * pieces. Those that went are left out. The text itself never exists as a whole (1,000,000 peers:
 * 400 MB), but for one peer with all its allowed IPs at a time.
 */
struct uapi_printer;

/* NULL: out of memory. device must outlive the printer. */
struct uapi_printer *uapi_printer_create(
	struct wg_device *device, uint16_t listen_port, uint32_t fwmark);
void uapi_printer_destroy(struct uapi_printer *printer);
/*
 * The next piece, with "errno=0" and the empty line at the end of the last: *text, of *len bytes,
 * is valid until the next call, which wipes it. 1; 0: no more; -ENOMEM.
 */
int uapi_printer_next(struct uapi_printer *printer, const char **text, size_t *len);

#define UAPI_ERRNO_BYTES 32
/* The answer to a "set", or to anything that failed: "errno=N" and an empty line. Returns its
 * length. */
size_t uapi_print_errno(char text[UAPI_ERRNO_BYTES], int error);

#endif
