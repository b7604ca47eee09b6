/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/mss.h"

#include "net/checksum.h"

#define EXTENSIONS_MAX 8

enum tcp_option {
	TCP_OPTION_END = 0,
	TCP_OPTION_NOP = 1,
	TCP_OPTION_MSS = 2,
};

#define TCP_OPTION_MSS_BYTES 4

static size_t find_tcp4(const uint8_t *packet, size_t len);
static size_t find_tcp6(const uint8_t *packet, size_t len);
static size_t find_mss(const uint8_t *tcp, size_t header);
static void put_mss(uint8_t *tcp, size_t at, uint16_t value);

bool mss_clamp(uint8_t *packet, size_t len, unsigned mtu)
{
	bool ipv4 = ip_version(packet) == 4;
	size_t at = ipv4 ? find_tcp4(packet, len) : find_tcp6(packet, len);
	unsigned headers = (ipv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES) + TCP_HEADER_BYTES;
	uint8_t *tcp = packet + at;
	size_t header, option;

	if (at == 0 || len - at < TCP_HEADER_BYTES || !(tcp[TCP_FLAGS] & TCP_SYN) || mtu <= headers)
		return false;
	header = tcp_header_bytes(tcp);
	if (header > len - at)
		return false;
	option = find_mss(tcp, header);
	if (option == 0 || load_be16(tcp + option) <= mtu - headers)
		return false;
	put_mss(tcp, option, (uint16_t)(mtu - headers));
	return true;
}

/* Offset of the TCP header; 0: none here. */
static size_t find_tcp4(const uint8_t *packet, size_t len)
{
	size_t header = (packet[IPV4_VERSION_IHL] & 0xfu) * 4;

	if (packet[IPV4_PROTOCOL] != IP_PROTOCOL_TCP || header > len ||
		load_be16(packet + IPV4_FRAGMENT) & IPV4_FRAGMENT_OFFSET)
		return 0;
	return header;
}

static size_t find_tcp6(const uint8_t *packet, size_t len)
{
	uint8_t next = packet[IPV6_NEXT_HEADER];
	size_t at = IPV6_HEADER_BYTES;

	for (unsigned i = 0; next != IP_PROTOCOL_TCP; i++) {
		const uint8_t *extension = packet + at;

		if (i == EXTENSIONS_MAX || len - at < 8)
			return 0;
		if (next == IP_PROTOCOL_FRAGMENT) {
			if (load_be16(extension + 2) & IPV6_FRAGMENT_OFFSET)
				return 0;
			at += 8;
		} else if (next == IP_PROTOCOL_HOP_BY_HOP || next == IP_PROTOCOL_ROUTING ||
			   next == IP_PROTOCOL_DESTINATION_OPTIONS) {
			at += (extension[1] + 1u) * 8;
		} else {
			return 0;
		}
		if (at > len)
			return 0;
		next = extension[0];
	}
	return at;
}

/* Offset of the value in the first MSS option; 0: none, or the options are malformed before it. */
static size_t find_mss(const uint8_t *tcp, size_t header)
{
	size_t at = TCP_HEADER_BYTES;

	while (at + TCP_OPTION_MSS_BYTES <= header && tcp[at] != TCP_OPTION_END) {
		if (tcp[at] == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		if (tcp[at] == TCP_OPTION_MSS)
			return tcp[at + 1] == TCP_OPTION_MSS_BYTES ? at + 2 : 0;
		if (tcp[at + 1] < 2)
			return 0;
		at += tcp[at + 1];
	}
	return 0;
}

static uint16_t swapped(uint16_t word)
{
	return (uint16_t)(word << 8 | word >> 8);
}

/* Behind an odd number of NOPs the value lies across two words of the checksum. */
static void put_mss(uint8_t *tcp, size_t at, uint16_t value)
{
	uint16_t old = load_be16(tcp + at);

	store_be16(tcp + at, value);
	if (at % 2 == 0)
		checksum_update(tcp + TCP_CHECKSUM, old, value);
	else
		checksum_update(tcp + TCP_CHECKSUM, swapped(old), swapped(value));
}
