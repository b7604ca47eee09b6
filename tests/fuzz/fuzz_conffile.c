/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: a config file of any bytes. What must hold whatever comes:
 * - a refusal says why, in one printable line, and leaves an empty config;
 * - what is accepted is complete: masked prefixes, peers with endpoints that have a port, and it
 * fits a device, which a second application leaves as it is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fake_device.h"
#include "must.h"
#include "uapi/apply.h"
#include "uapi/conffile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line)
{
	MUST(strlen(line) < UAPI_MESSAGE_BYTES);
	MUST(line[0] == 'f');
	for (const char *p = line; *p; p++)
		MUST(*p >= ' ' && *p <= '~');
}

static void check_config(struct uapi_config *config)
{
	uint32_t next = 0;

	for (uint32_t i = 0; i < config->allowed_ip_count; i++) {
		struct ip_prefix masked = config->allowed_ips[i].prefix;

		ip_prefix_mask(&masked);
		MUST(ip_prefix_equal(&masked, &config->allowed_ips[i].prefix));
		MUST(!config->allowed_ips[i].remove);
	}
	for (uint32_t i = 0; i < config->peer_count; i++) {
		struct uapi_peer *peer = &config->peers[i];

		MUST(peer->first_allowed_ip == next);
		next += peer->allowed_ip_count;
		MUST(!peer->set_endpoint || peer->endpoint.port != 0);
		if (peer->endpoint_host)
			uapi_peer_resolve(peer, &(struct ip_addr){IP_V4, {192, 0, 2, 1}}, 0);
	}
	MUST(next == config->allowed_ip_count);
	for (uint32_t i = 0; i < config->warning_count; i++)
		check_line(config->warnings[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct uapi_hooks hooks;
	const struct wg_time now = {1, 1};
	char message[UAPI_MESSAGE_BYTES];
	struct uapi_config config;
	struct wg_device *device;

	uapi_config_init(&config);
	if (conffile_parse(&config, "f", (const char *)data, size, message) != 0) {
		check_line(message);
		MUST(!config.peers && !config.allowed_ips && config.peer_count == 0);
		return 0;
	}
	MUST(message[0] == '\0');
	check_config(&config);
	device = fake_device_create();
	MUST(uapi_apply(device, &config, &hooks, now, NULL) == 0);
	fake_device_changes(device);
	MUST(uapi_apply(device, &config, &hooks, now, NULL) == 0);
	MUST(fake_device_changes(device)[0] == '\0');
	fake_device_destroy(device);
	uapi_config_clear(&config);
	return 0;
}
