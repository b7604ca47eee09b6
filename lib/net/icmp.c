/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/icmp.h"

#include <assert.h>
#include <string.h>

#include "net/checksum.h"
#include "net/headers.h"
#include "net/inner.h"

#define ICMP_HEADER_BYTES 8
#define ICMP_CHECKSUM	  2
#define ICMP_WORD	  4 /* MTU, or unused */

/* RFC 1812 section 4.3.2.3: as much of the packet as fits into 576 bytes. */
#define ICMP4_MAX 576

/* Precedence 6 for errors, RFC 1812 section 4.3.2.5. */
#define ICMP4_TOS 0xc0

enum {
	ICMP4_UNREACHABLE = 3,
	ICMP4_HOST_UNREACHABLE = 1,	/* code */
	ICMP4_FRAGMENTATION_NEEDED = 4, /* code */
	ICMP4_SOURCE_QUENCH = 4,
	ICMP4_REDIRECT = 5,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER_PROBLEM = 12,

	ICMP6_UNREACHABLE = 1,
	ICMP6_ADDRESS_UNREACHABLE = 3, /* code */
	ICMP6_TOO_BIG = 2,
	ICMP6_TIME_EXCEEDED = 3,
	ICMP6_INFORMATIONAL = 128, /* types below are errors */
	ICMP6_REDIRECT = 137,
};

static size_t build4(uint8_t *out, enum icmp_error error, uint32_t mtu,
	const struct ip_addr *source, const uint8_t *packet, size_t len);
static size_t build6(uint8_t *out, enum icmp_error error, uint32_t mtu,
	const struct ip_addr *source, const uint8_t *packet, size_t len);

size_t icmp_build_error(uint8_t out[ICMP_ERROR_MAX], enum icmp_error error, uint32_t mtu,
	const struct ip_addr *source, const uint8_t *packet, size_t len)
{
	struct inner inner;

	if (!inner_parse(packet, len, &inner))
		return 0;
	assert(source->family == inner.family);
	if (inner.family == IP_V4)
		return build4(out, error, mtu, source, packet, inner.len);
	return build6(out, error, mtu, source, packet, inner.len);
}

/* RFC 1812 section 4.3.2.7. */
static bool may_answer4(const uint8_t *packet, size_t len)
{
	size_t header = (packet[IPV4_VERSION_IHL] & 0xfu) * 4;

	/* Broadcast of a subnet is known to the kernel alone; such packets never come here. */
	if (inner_scoped4(packet + IPV4_SRC) || packet[IPV4_DST] >= 224)
		return false;
	if (load_be16(packet + IPV4_FRAGMENT) & IPV4_FRAGMENT_OFFSET)
		return false;
	if (packet[IPV4_PROTOCOL] != IP_PROTOCOL_ICMP)
		return true;
	if (len == header)
		return false;
	switch (packet[header]) {
	case ICMP4_UNREACHABLE:
	case ICMP4_SOURCE_QUENCH:
	case ICMP4_REDIRECT:
	case ICMP4_TIME_EXCEEDED:
	case ICMP4_PARAMETER_PROBLEM:
		return false;
	default:
		return true;
	}
}

static size_t build4(uint8_t *out, enum icmp_error error, uint32_t mtu,
	const struct ip_addr *source, const uint8_t *packet, size_t len)
{
	static const uint8_t type_code[][2] = {
		[ICMP_ERROR_UNREACHABLE] = {ICMP4_UNREACHABLE, ICMP4_HOST_UNREACHABLE},
		[ICMP_ERROR_TOO_BIG] = {ICMP4_UNREACHABLE, ICMP4_FRAGMENTATION_NEEDED},
		[ICMP_ERROR_TIME_EXCEEDED] = {ICMP4_TIME_EXCEEDED, 0},
	};
	size_t room = ICMP4_MAX - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES;
	size_t quoted = len < room ? len : room;
	size_t total = IPV4_HEADER_BYTES + ICMP_HEADER_BYTES + quoted;
	uint8_t *icmp = out + IPV4_HEADER_BYTES;

	if (!may_answer4(packet, len))
		return 0;
	memset(out, 0, IPV4_HEADER_BYTES + ICMP_HEADER_BYTES);
	out[IPV4_VERSION_IHL] = 0x45;
	out[IPV4_TOS] = ICMP4_TOS;
	store_be16(out + IPV4_TOTAL_LENGTH, (uint16_t)total);
	out[IPV4_TTL] = IP_DEFAULT_TTL;
	out[IPV4_PROTOCOL] = IP_PROTOCOL_ICMP;
	memcpy(out + IPV4_SRC, source->bytes, 4);
	memcpy(out + IPV4_DST, packet + IPV4_SRC, 4);
	checksum_store(
		out + IPV4_CHECKSUM, checksum_finish(checksum_add(0, out, IPV4_HEADER_BYTES)));

	memcpy(icmp, type_code[error], 2);
	if (error == ICMP_ERROR_TOO_BIG) /* RFC 1191 section 4: the low half */
		store_be16(icmp + ICMP_WORD + 2, (uint16_t)(mtu < UINT16_MAX ? mtu : UINT16_MAX));
	memcpy(icmp + ICMP_HEADER_BYTES, packet, quoted);
	checksum_store(icmp + ICMP_CHECKSUM,
		checksum_finish(checksum_add(0, icmp, ICMP_HEADER_BYTES + quoted)));
	return total;
}

/*
 * Finds the upper layer behind the extension headers. False: not the first fragment, or the chain
 * leaves the packet. *offset is where *protocol begins.
 */
static bool find_upper_layer(const uint8_t *packet, size_t len, uint8_t *protocol, size_t *offset)
{
	*protocol = packet[IPV6_NEXT_HEADER];
	*offset = IPV6_HEADER_BYTES;
	for (;;) {
		switch (*protocol) {
		case IP_PROTOCOL_HOP_BY_HOP:
		case IP_PROTOCOL_ROUTING:
		case IP_PROTOCOL_DESTINATION_OPTIONS:
		case IP_PROTOCOL_FRAGMENT:
			break;
		default:
			return *offset <= len;
		}
		if (*offset + 8 > len)
			return false;
		if (*protocol == IP_PROTOCOL_FRAGMENT) {
			if (load_be16(packet + *offset + 2) & 0xfff8)
				return false;
			*protocol = packet[*offset];
			*offset += 8;
		} else {
			*protocol = packet[*offset];
			*offset += 8 + packet[*offset + 1] * 8u;
		}
	}
}

/* RFC 4443 section 2.4 (e). */
static bool may_answer6(enum icmp_error error, const uint8_t *packet, size_t len)
{
	const uint8_t *src = packet + IPV6_SRC;
	uint8_t protocol;
	size_t offset;

	if (src[0] == 0xff || load_be64(src) == 0)
		return false;
	if (packet[IPV6_DST] == 0xff && error != ICMP_ERROR_TOO_BIG)
		return false;
	if (!find_upper_layer(packet, len, &protocol, &offset))
		return false;
	if (protocol != IP_PROTOCOL_ICMPV6)
		return true;
	return offset < len && packet[offset] >= ICMP6_INFORMATIONAL &&
	       packet[offset] != ICMP6_REDIRECT;
}

static size_t build6(uint8_t *out, enum icmp_error error, uint32_t mtu,
	const struct ip_addr *source, const uint8_t *packet, size_t len)
{
	static const uint8_t type_code[][2] = {
		[ICMP_ERROR_UNREACHABLE] = {ICMP6_UNREACHABLE, ICMP6_ADDRESS_UNREACHABLE},
		[ICMP_ERROR_TOO_BIG] = {ICMP6_TOO_BIG, 0},
		[ICMP_ERROR_TIME_EXCEEDED] = {ICMP6_TIME_EXCEEDED, 0},
	};
	size_t room = ICMP_ERROR_MAX - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES;
	size_t quoted = len < room ? len : room;
	size_t payload = ICMP_HEADER_BYTES + quoted;
	uint8_t *icmp = out + IPV6_HEADER_BYTES;
	uint64_t sum;

	if (!may_answer6(error, packet, len))
		return 0;
	memset(out, 0, IPV6_HEADER_BYTES + ICMP_HEADER_BYTES);
	store_be16(out, 6 << 12);
	store_be16(out + IPV6_PAYLOAD_LENGTH, (uint16_t)payload);
	out[IPV6_NEXT_HEADER] = IP_PROTOCOL_ICMPV6;
	out[IPV6_HOP_LIMIT] = IP_DEFAULT_TTL;
	memcpy(out + IPV6_SRC, source->bytes, 16);
	memcpy(out + IPV6_DST, packet + IPV6_SRC, 16);

	memcpy(icmp, type_code[error], 2);
	if (error == ICMP_ERROR_TOO_BIG)
		store_be32(icmp + ICMP_WORD, mtu);
	memcpy(icmp + ICMP_HEADER_BYTES, packet, quoted);
	sum = checksum_pseudo6(
		source->bytes, packet + IPV6_SRC, IP_PROTOCOL_ICMPV6, (uint32_t)payload);
	checksum_store(icmp + ICMP_CHECKSUM, checksum_finish(checksum_add(sum, icmp, payload)));
	return IPV6_HEADER_BYTES + payload;
}

/* ---- what routers say ---- */

bool icmp6_says_too_big(
	const uint8_t *packet, size_t len, struct ip_addr *destination, uint16_t *source_port)
{
	const uint8_t *icmp = packet + IPV6_HEADER_BYTES, *quoted = icmp + ICMP_HEADER_BYTES;

	if (len < 2 * IPV6_HEADER_BYTES + ICMP_HEADER_BYTES + UDP_HEADER_BYTES ||
		ip_version(packet) != 6 || packet[IPV6_NEXT_HEADER] != IP_PROTOCOL_ICMPV6 ||
		icmp[0] != ICMP6_TOO_BIG || icmp[1] != 0)
		return false;
	/* Ours have no extension headers. */
	if (ip_version(quoted) != 6 || quoted[IPV6_NEXT_HEADER] != IP_PROTOCOL_UDP)
		return false;
	*destination = (struct ip_addr){.family = IP_V6};
	memcpy(destination->bytes, quoted + IPV6_DST, 16);
	*source_port = load_be16(quoted + IPV6_HEADER_BYTES + UDP_SRC_PORT);
	return true;
}
