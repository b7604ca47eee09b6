/* SPDX-License-Identifier: BSD-3-Clause */
#include "tunnels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_ethdev.h>

#include "base/addr.h"
#include "base/units.h"
#include "crypto/aead_batch.h"
#include "crypto/blake2s.h"
#include "crypto/random.h"
#include "crypto/x25519.h"
#include "uapi/keytext.h"
#include "wg/cookie.h"
#include "wg/messages.h"
#include "wg/noise.h"
#include "wg/tai64n.h"

#define GATEWAY		   UINT32_MAX /* its number, where tunnels have theirs */
#define LISTEN_PORT	   51820
#define FIRST_PORT	   10000 /* source port of tunnel 0 */
#define AT_ONCE		   16	 /* handshakes: below the gateway's load limit */
#define ANSWER_TIMEOUT_NS  (500 * NS_PER_MS)
#define HANDSHAKE_ATTEMPTS 10

#define OUTER_GATEWAY "192.0.2.1"
#define OUTER_OURS    "192.0.2.2"
#define INNER_OURS    "192.168.0.2"

static const struct rte_ether_addr our_macs[2] = {
	[OUTER_PORT] = {{2, 0, 0, 0, 0, 2}},
	[INNER_PORT] = {{2, 0, 0, 0, 0, 3}},
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* ---- keys and the config file ---- */

static void identity_of(uint32_t number, struct noise_identity *identity)
{
	static const char label[] = "dpdk-wg's generator";
	uint8_t key[WG_KEY_BYTES];

	blake2s_hash2(key, label, sizeof(label), &number, sizeof(number));
	x25519_clamp(key);
	noise_identity_set(identity, key);
}

static uint32_t network_of(unsigned number)
{
	return 10u << 24 | number << 8;
}

void tunnels_write_config(FILE *to, unsigned count, unsigned mtu)
{
	struct noise_identity identity;
	char text[KEYTEXT_BASE64_CHARS + 1];

	identity_of(GATEWAY, &identity);
	key_to_base64(text, identity.private_key);
	fprintf(to, "[Interface]\nPrivateKey = %s\nListenPort = %d\nMTU = %u\n", text, LISTEN_PORT,
		mtu);
	for (unsigned i = 0; i < count; i++) {
		uint32_t net = network_of(i);

		identity_of(i, &identity);
		key_to_base64(text, identity.public_key);
		fprintf(to, "\n[Peer]\nPublicKey = %s\nAllowedIPs = %u.%u.%u.0/24\n", text,
			net >> 24, net >> 16 & 0xff, net >> 8 & 0xff);
	}
}

/* ---- set-up ---- */

static struct endpoint endpoint(const char *address, uint16_t port)
{
	struct endpoint made = {.port = port};

	ip_addr_parse(address, &made.addr);
	return made;
}

static void prepare(uint8_t header[OUTER_HEADER4_BYTES], enum generator_port port,
	const struct rte_ether_addr macs[2], struct endpoint src, struct endpoint dst)
{
	uint8_t both[12], whole[OUTER_HEADER_MAX];

	memcpy(both, &macs[port], 6);
	memcpy(both + 6, &our_macs[port], 6);
	outer_prepare(whole, both, &src, &dst, 0);
	memcpy(header, whole, OUTER_HEADER4_BYTES);
}

int tunnels_create(struct tunnels *tunnels, unsigned count, unsigned mtu,
	const struct rte_ether_addr macs[2], struct rte_mempool *pool)
{
	*tunnels = (struct tunnels){.count = count, .mtu = mtu, .pool = pool};
	tunnels->tunnels = calloc(count, sizeof(tunnels->tunnels[0]));
	tunnels->aead = aead_batch_create(AEAD_BACKEND_AUTO);
	if (tunnels->tunnels == NULL || tunnels->aead == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct tunnel *tunnel = &tunnels->tunnels[i];
		struct endpoint lan = endpoint(INNER_OURS, 7), far = {.port = 7};

		far.addr.family = IP_V4;
		store_be32(far.addr.bytes, network_of(i) | 1);
		prepare(tunnel->outer, OUTER_PORT, macs,
			endpoint(OUTER_OURS, (uint16_t)(FIRST_PORT + i)),
			endpoint(OUTER_GATEWAY, LISTEN_PORT));
		prepare(tunnel->plain, INNER_PORT, macs, lan, far);
		prepare(tunnel->inner, OUTER_PORT, macs, far, lan);
	}
	return 0;
}

void tunnels_destroy(struct tunnels *tunnels)
{
	free(tunnels->tunnels);
	aead_batch_destroy(tunnels->aead);
}

/* ---- messages ---- */

static void send_message(
	struct tunnels *tunnels, const struct tunnel *tunnel, const void *message, unsigned len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(tunnels->pool);
	uint8_t *frame =
		m ? (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(OUTER_HEADER4_BYTES + len)) : NULL;

	if (frame == NULL) {
		rte_pktmbuf_free(m);
		return;
	}
	memcpy(frame, tunnel->outer, OUTER_HEADER4_BYTES);
	outer_finish(frame, OUTER_HEADER4_BYTES, len, 0, 0);
	outer_omit_udp_checksum(frame);
	memcpy(frame + OUTER_HEADER4_BYTES, message, len);
	if (rte_eth_tx_burst(OUTER_PORT, 0, &m, 1) != 1)
		rte_pktmbuf_free(m);
}

void tunnels_keepalive(struct tunnels *tunnels, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct tunnel *tunnel = &tunnels->tunnels[i];
		uint8_t message[WG_KEEPALIVE_BYTES];
		struct aead_op op = {
			.data = message + sizeof(struct wg_msg_data),
			.key = tunnel->send_key,
			.counter = tunnel->counter++,
		};

		if (tunnel->remote_index == 0)
			continue;
		store_le32(message, WG_MSG_DATA);
		store_le32(message + 4, tunnel->remote_index);
		store_le64(message + 8, op.counter);
		aead_batch_seal(tunnels->aead, &op, 1);
		send_message(tunnels, tunnel, message, sizeof(message));
		/* Several queues in between: let them run dry now and then. */
		if (i % 256 == 255)
			rte_delay_us_sleep(1000);
	}
}

/* ---- handshakes ---- */

/* Those under way, of tunnels first to first + n. */
struct attempt {
	struct noise_peer gateway;
	struct noise_identity identity;
	struct cookie_jar jar;
};

static void send_initiation(struct tunnels *tunnels, unsigned number, struct attempt *attempt)
{
	struct noise_identity gateway;
	struct wg_msg_initiation message;
	uint8_t ephemeral[WG_KEY_BYTES], now[WG_TIMESTAMP_BYTES];

	identity_of(GATEWAY, &gateway);
	identity_of(number, &attempt->identity);
	noise_peer_init(&attempt->gateway, &attempt->identity, gateway.public_key);
	cookie_jar_init(&attempt->jar, gateway.public_key);
	random_fill(ephemeral, sizeof(ephemeral));
	tai64n_from_wall(now, clock_ns(CLOCK_REALTIME));
	if (!noise_create_initiation(
		    &attempt->gateway, &attempt->identity, number + 1, ephemeral, now, &message))
		return;
	cookie_add_macs(&attempt->jar, &message, sizeof(message), clock_ns(CLOCK_MONOTONIC));
	send_message(tunnels, &tunnels->tunnels[number], &message, sizeof(message));
}

static bool take_response(struct tunnels *tunnels, unsigned first, unsigned n,
	struct attempt attempts[AT_ONCE], struct rte_mbuf *mbuf)
{
	const uint8_t *payload = rte_pktmbuf_mtod(mbuf, const uint8_t *) + OUTER_HEADER4_BYTES;
	const struct wg_msg_response *response = (const void *)payload;
	uint32_t number;

	if (mbuf->data_len < OUTER_HEADER4_BYTES + sizeof(*response) ||
		load_le32(payload) != WG_MSG_RESPONSE)
		return false;
	number = load_le32(&response->receiver_le) - 1;
	if (number < first || number >= first + n)
		return false;
	struct attempt *attempt = &attempts[number - first];
	struct tunnel *tunnel = &tunnels->tunnels[number];
	if (attempt->gateway.handshake.state != NOISE_INITIATION_SENT ||
		noise_accept_response(&attempt->gateway, &attempt->identity, response) !=
			WG_ACCEPTED)
		return false;
	noise_derive_keys(&attempt->gateway.handshake, tunnel->send_key, tunnel->receive_key);
	tunnel->remote_index = load_le32(&response->sender_le);
	tunnel->counter = 0;
	return true;
}

/* Returns how many of these n have a session then. */
static unsigned handshake_some(struct tunnels *tunnels, unsigned first, unsigned n)
{
	static struct attempt attempts[AT_ONCE];
	uint64_t end = clock_ns(CLOCK_MONOTONIC) + ANSWER_TIMEOUT_NS;
	unsigned done = 0;

	for (unsigned i = 0; i < n; i++)
		send_initiation(tunnels, first + i, &attempts[i]);
	while (done < n && clock_ns(CLOCK_MONOTONIC) < end) {
		struct rte_mbuf *mbufs[32];
		uint16_t received = rte_eth_rx_burst(OUTER_PORT, 0, mbufs, 32);

		for (uint16_t i = 0; i < received; i++)
			done += take_response(tunnels, first, n, attempts, mbufs[i]);
		rte_pktmbuf_free_bulk(mbufs, received);
	}
	return done;
}

bool tunnels_handshake(struct tunnels *tunnels, unsigned n)
{
	for (unsigned first = 0; first < n; first += AT_ONCE) {
		unsigned some = RTE_MIN(n - first, (unsigned)AT_ONCE), attempt = 0;

		while (handshake_some(tunnels, first, some) < some)
			if (++attempt == HANDSHAKE_ATTEMPTS)
				return false;
	}
	tunnels_keepalive(tunnels, n);
	return true;
}

/* ---- what the gateway sealed ---- */

bool tunnels_check(struct tunnels *tunnels, struct rte_mbuf *mbuf)
{
	uint8_t frame[OUTER_HEADER4_BYTES + 9216 + 64];
	unsigned len = mbuf->pkt_len;
	uint8_t *message = frame + OUTER_HEADER4_BYTES,
		*text = message + sizeof(struct wg_msg_data);

	if (len > sizeof(frame) || len < OUTER_HEADER4_BYTES + WG_KEEPALIVE_BYTES + 20)
		return false;
	const void *whole = rte_pktmbuf_read(mbuf, 0, len, frame);
	if (whole != frame)
		memcpy(frame, whole, len);
	uint32_t number = load_le32(message + 4) - 1;
	if (number >= tunnels->count)
		return false;
	struct aead_op op = {
		.data = text,
		.key = tunnels->tunnels[number].receive_key,
		.counter = load_le64(message + 8),
		.len = len - OUTER_HEADER4_BYTES - (unsigned)WG_KEEPALIVE_BYTES,
	};
	return aead_batch_open(tunnels->aead, &op, 1) == 1 && text[0] == 0x45 &&
	       load_be32(text + IPV4_DST) == (network_of(number) | 1);
}
