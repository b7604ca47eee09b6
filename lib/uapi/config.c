/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret_mem.h"

void uapi_config_init(struct uapi_config *config)
{
	memset(config, 0, sizeof(*config));
}

void uapi_config_clear(struct uapi_config *config)
{
	for (uint32_t i = 0; i < config->peer_count; i++)
		free(config->peers[i].endpoint_host);
	for (uint32_t i = 0; i < config->warning_count; i++)
		free(config->warnings[i]);
	secret_free(config->peers);
	secret_free(config->allowed_ips);
	secret_free(config->addresses);
	secret_free(config->warnings);
	explicit_bzero(config, sizeof(*config));
}

/* Room for one more element: doubles the array. */
static bool grow(void *array, uint32_t count, uint32_t *room, size_t size, uint32_t limit)
{
	void *old = *(void **)array, *bigger;
	uint32_t wanted = *room ? 2 * *room : 8;

	if (count < *room)
		return true;
	if (count >= limit) {
		errno = E2BIG;
		return false;
	}
	bigger = secret_alloc(wanted * size);
	if (!bigger) {
		errno = ENOMEM;
		return false;
	}
	if (old)
		memcpy(bigger, old, count * size);
	secret_free(old);
	*(void **)array = bigger;
	*room = wanted;
	return true;
}

struct uapi_peer *uapi_config_add_peer(struct uapi_config *config)
{
	struct uapi_peer *peer;

	if (!grow(&config->peers, config->peer_count, &config->peer_room, sizeof(*peer),
		    UAPI_MAX_PEERS))
		return NULL;
	peer = &config->peers[config->peer_count++];
	memset(peer, 0, sizeof(*peer));
	peer->first_allowed_ip = config->allowed_ip_count;
	return peer;
}

struct uapi_allowed_ip *uapi_config_add_allowed_ip(struct uapi_config *config)
{
	struct uapi_allowed_ip *ip;

	if (!grow(&config->allowed_ips, config->allowed_ip_count, &config->allowed_ip_room,
		    sizeof(*ip), UAPI_MAX_ALLOWED_IPS))
		return NULL;
	ip = &config->allowed_ips[config->allowed_ip_count++];
	memset(ip, 0, sizeof(*ip));
	config->peers[config->peer_count - 1].allowed_ip_count++;
	return ip;
}

struct ip_prefix *uapi_config_add_address(struct uapi_config *config)
{
	struct ip_prefix *address;

	if (!grow(&config->addresses, config->address_count, &config->address_room,
		    sizeof(*address), UAPI_MAX_ADDRESSES))
		return NULL;
	address = &config->addresses[config->address_count++];
	memset(address, 0, sizeof(*address));
	return address;
}

void uapi_config_warn(struct uapi_config *config, const char *format, ...)
{
	va_list args;
	char *line;

	if (!grow(&config->warnings, config->warning_count, &config->warning_room, sizeof(char *),
		    UAPI_MAX_WARNINGS)) {
		config->warnings_left_out++;
		return;
	}
	va_start(args, format);
	if (vasprintf(&line, format, args) >= 0)
		config->warnings[config->warning_count++] = line;
	va_end(args);
}

void uapi_peer_resolve(struct uapi_peer *peer, const struct ip_addr *addr, uint32_t scope_id)
{
	peer->endpoint.addr = *addr;
	peer->endpoint.scope_id = scope_id;
	free(peer->endpoint_host);
	peer->endpoint_host = NULL;
}

bool uapi_interface_name_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_=+.-";
	size_t len = strlen(name);

	return len >= 1 && len <= 15 && strspn(name, allowed) == len && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}
