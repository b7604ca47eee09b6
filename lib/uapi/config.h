/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of configuration operations for one interface, as a value: what a config file or one "set"
 * of the UAPI protocol asks for, parsed and validated completely, nothing applied yet. Order is
 * kept, since a later operation on the same peer or prefix takes precedence.
 *
 * Thread: any, one at a time. Its arrays grow in memory for
 * secrets (secret_mem.h); uapi_config_clear() frees and wipes them.
 */
#ifndef UAPI_CONFIG_H
#define UAPI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/limits.h"
#include "wg/constants.h"

/* Operations in one config. Peers: what the program can hold. */
#define UAPI_MAX_PEERS LIMIT_PEERS
/* Allowed IPs: four for each of 2^20 peers, 100 MB of memory. */
#define UAPI_MAX_ALLOWED_IPS (4 * LIMIT_PEERS)
/* Addresses of an interface: checked one by one against each other. */
#define UAPI_MAX_ADDRESSES 256
/* Warnings kept; what comes after them is counted only. */
#define UAPI_MAX_WARNINGS 64

#define UAPI_MESSAGE_BYTES 320

/* One allowed IP (host bits masked off) to give to a peer or to take from it. */
struct uapi_allowed_ip {
	struct ip_prefix prefix;
	bool remove;
};

struct uapi_peer {
	uint8_t public_key[WG_KEY_BYTES];
	uint8_t preshared_key[WG_KEY_BYTES]; /* zero: none */
	struct endpoint endpoint;
	/*
	 * A host name in a config file, or an address with an interface that is not there yet, in
	 * brackets: endpoint has the port only, until uapi_peer_resolve() is called. NULL: endpoint
	 * is complete.
	 */
	char *endpoint_host;
	uint32_t line; /* where the peer begins in its file or request, for messages */
	uint32_t endpoint_line;
	uint32_t first_allowed_ip; /* a run in uapi_config.allowed_ips */
	uint32_t allowed_ip_count;
	uint16_t persistent_keepalive; /* seconds, 0 off */
	bool set_preshared_key;
	bool set_endpoint;
	bool set_persistent_keepalive;
	bool replace_allowed_ips;
	bool remove;	  /* remove the peer; the rest of this entry is not looked at */
	bool update_only; /* do nothing unless the peer exists */
};

/* Which routes the host gets for the allowed IPs (wg-quick's Table). */
enum uapi_table {
	UAPI_TABLE_AUTO,
	UAPI_TABLE_OFF,
	UAPI_TABLE_NUMBER,
};

struct uapi_config {
	bool set_private_key;
	bool set_listen_port;
	bool set_fwmark;
	bool replace_peers;
	uint8_t private_key[WG_KEY_BYTES]; /* zero: none */
	uint16_t listen_port;		   /* 0: any free one */
	uint32_t fwmark;		   /* 0: none */

	struct uapi_peer *peers;
	uint32_t peer_count, peer_room;
	struct uapi_allowed_ip *allowed_ips;
	uint32_t allowed_ip_count, allowed_ip_room;

	/* Config files only. */
	struct ip_prefix
		*addresses; /* host bits kept: the interface's own address and its network */
	uint32_t address_count, address_room;
	uint16_t mtu;		   /* 0: not given */
	uint32_t listen_port_line; /* for messages */
	enum uapi_table table;
	uint32_t table_number;
	/* Complete lines ("wg0.conf:4: DNS is ..."), each one allocated. */
	char **warnings;
	uint32_t warning_count, warning_room;
	uint32_t warnings_left_out;
};

void uapi_config_init(struct uapi_config *config);
/* Frees and wipes everything; config is as after uapi_config_init(). */
void uapi_config_clear(struct uapi_config *config);

/*
 * Append one, zeroed. The allowed IP is appended to the last peer. NULL: out of memory, or the
 * limit is reached (errno is ENOMEM or E2BIG). Pointers stay valid until the next call.
 */
struct uapi_peer *uapi_config_add_peer(struct uapi_config *config);
struct uapi_allowed_ip *uapi_config_add_allowed_ip(struct uapi_config *config);
struct ip_prefix *uapi_config_add_address(struct uapi_config *config);
/* A line for the operator; lost in silence only when memory is out. */
__attribute__((format(printf, 2, 3))) void uapi_config_warn(
	struct uapi_config *config, const char *format, ...);

static inline const struct uapi_allowed_ip *uapi_peer_allowed_ips(
	const struct uapi_config *config, const struct uapi_peer *peer)
{
	return config->allowed_ips + peer->first_allowed_ip;
}

/* Gives an endpoint its address; the port stays as configured. */
void uapi_peer_resolve(struct uapi_peer *peer, const struct ip_addr *addr, uint32_t scope_id);

/* Whether name may be an interface's: 1 to 15 of a-z A-Z 0-9 _ = + . -, not "." or "..". */
bool uapi_interface_name_valid(const char *name);

#endif
