/* SPDX-License-Identifier: BSD-3-Clause */
#include "configs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_load.h"
#include "crypto/x25519.h"
#include "log.h"
#include "options.h"

void configs_tell_warnings(struct uapi_config *config, const char *path)
{
	for (uint32_t i = 0; i < config->warning_count; i++) {
		log_warning("%s", config->warnings[i]);
		free(config->warnings[i]);
	}
	if (config->warnings_left_out > 0)
		log_warning("%s: %u more warnings", path, config->warnings_left_out);
	config->warning_count = config->warnings_left_out = 0;
}

static bool is_zero(const uint8_t key[WG_KEY_BYTES])
{
	uint8_t any = 0;

	for (unsigned i = 0; i < WG_KEY_BYTES; i++)
		any |= key[i];
	return any == 0;
}

/* The interface itself is no peer of its own: it is left out, as in Linux. */
static void leave_out_own_key(struct uapi_config *config, const char *path)
{
	uint8_t own[WG_KEY_BYTES];
	uint32_t kept = 0;

	if (is_zero(config->private_key)) {
		uapi_config_warn(config,
			"%s: no PrivateKey: there will be no handshake until \"wg set\" gives one",
			path);
		return;
	}
	x25519_public(own, config->private_key);
	for (uint32_t i = 0; i < config->peer_count; i++) {
		struct uapi_peer *peer = &config->peers[i];

		if (memcmp(peer->public_key, own, sizeof(own)) != 0) {
			config->peers[kept++] = *peer;
			continue;
		}
		uapi_config_warn(config,
			"%s:%u: this [Peer] has the interface's own key: it is left out", path,
			peer->line);
		free(peer->endpoint_host);
	}
	config->peer_count = kept;
}

static int load(struct uapi_config *config, const char *path)
{
	char message[UAPI_MESSAGE_BYTES];
	int err = config_load(config, path, message);

	if (err)
		log_error("%s", message);
	else
		leave_out_own_key(config, path);
	configs_tell_warnings(config, path);
	return err ? -EINVAL : 0;
}

/* Two interfaces cannot have one port. */
static int check_port(const struct configs *configs, const struct options *options, unsigned i)
{
	const struct uapi_config *config = &configs->of[i];

	for (unsigned earlier = 0; earlier < i && config->listen_port != 0; earlier++) {
		const struct uapi_config *other = &configs->of[earlier];

		if (other->listen_port != config->listen_port)
			continue;
		log_error("%s:%u: ListenPort %u is that of %s:%u already",
			options->interfaces[i].path, config->listen_port_line, config->listen_port,
			options->interfaces[earlier].path, other->listen_port_line);
		return -EINVAL;
	}
	return 0;
}

int configs_load(struct configs *configs, const struct options *options)
{
	int err = 0;

	for (unsigned i = 0; i < LIMIT_INTERFACES; i++)
		uapi_config_init(&configs->of[i]);
	for (unsigned i = 0; i < options->interface_count; i++) {
		if (options->interfaces[i].path &&
			load(&configs->of[i], options->interfaces[i].path) != 0)
			err = -EINVAL;
	}
	for (unsigned i = 0; i < options->interface_count; i++) {
		if (check_port(configs, options, i) != 0)
			err = -EINVAL;
	}
	return err;
}

void configs_clear(struct configs *configs)
{
	for (unsigned i = 0; i < LIMIT_INTERFACES; i++)
		uapi_config_clear(&configs->of[i]);
}
