/* SPDX-License-Identifier: BSD-3-Clause */
/* The TCP header (RFC 9293 section 3.1). */
#ifndef NET_TCP_H
#define NET_TCP_H

#include <stdint.h>

#define TCP_HEADER_BYTES 20 /* without options */

enum tcp_offset {
	TCP_PORTS = 0, /* both */
	TCP_SEQ = 4,
	TCP_ACK_NUMBER = 8,
	TCP_DATA_OFFSET = 12, /* high nibble: the header's length in words */
	TCP_FLAGS = 13,
	TCP_WINDOW = 14,
	TCP_CHECKSUM = 16,
	TCP_URGENT = 18,
};

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
};

static inline uint32_t tcp_header_bytes(const uint8_t *tcp)
{
	return (tcp[TCP_DATA_OFFSET] >> 4) * 4u;
}

#endif
