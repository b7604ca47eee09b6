/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi/apply.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uapi/slots.h"

/* Adding a peer costs about as much as so many prefixes (one X25519 each). */
#define PEER_COST 16
/* Operations between two calls of changed(). */
#define CHANGED_EVERY 64

/* In the order in which they are run. */
enum phase {
	PHASE_INDEX,	/* which entries name the same peer */
	PHASE_FORESEE,	/* which peers will be there at the end */
	PHASE_STALE,	/* remove the others (replace_peers only) */
	PHASE_KEY,	/* the private key; our public key is known from here on */
	PHASE_JUDGE,	/* which entries take effect */
	PHASE_PREFIXES, /* which entry decides on each prefix */
	PHASE_PEERS,	/* carry the entries out */
	PHASE_DONE,
};

/* What is known of one entry of the config. */
enum {
	ENTRY_APPLY = 1,   /* it takes effect */
	ENTRY_KEPT = 2,	   /* the first for a peer that replace_peers does not remove */
	ENTRY_OWN_KEY = 4, /* skipped: it is the interface itself */
	/* Of the first entry of a peer, while the entries are gone through: */
	PEER_SEEN = 8,
	PEER_EXISTS = 16,
	PEER_STAYS = 32, /* some entry of it takes effect */
};

struct uapi_apply {
	struct wg_device *device;
	const struct uapi_config *config;
	const struct uapi_hooks *hooks;
	struct uapi_applied applied;

	enum phase phase;
	uint32_t at;	      /* the entry, within the phase */
	uint32_t ip_at;	      /* its allowed IP, within the entry */
	bool begun;	      /* the entry's peer was made and its fields set; the key was set */
	struct wg_peer *next; /* PHASE_STALE: the peer to look at */
	struct wg_time now;
	int64_t budget;
	uint32_t unreported; /* operations since changed() was called */

	uint8_t *entry;	 /* flags of each entry */
	uint32_t *first; /* the first entry of the same peer */
	struct slots peers;
	/* The last addition of each prefix that takes effect, by position in allowed_ips. */
	struct slots additions;
	const void *kept; /* the last prefix of the peer at hand that was found to stay */
	uint32_t looked;  /* prefixes looked at */
};

static int validate(const struct uapi_apply *apply);
static void index_entry(struct uapi_apply *apply, uint32_t i);
static void judge_entry(struct uapi_apply *apply, uint32_t i);
static void remove_if_stale(struct uapi_apply *apply);
static bool remove_peer(struct uapi_apply *apply, struct wg_peer *peer);
static void note_additions(struct uapi_apply *apply, uint32_t i);
static int carry_out_entry(struct uapi_apply *apply, uint32_t i);

int uapi_apply_begin(struct uapi_apply **out, struct wg_device *device,
	const struct uapi_config *config, const struct uapi_hooks *hooks)
{
	struct uapi_apply *apply = calloc(1, sizeof(*apply));
	size_t n = config->peer_count ? config->peer_count : 1;
	int rc;

	if (!apply)
		return -ENOMEM;
	apply->device = device;
	apply->config = config;
	apply->hooks = hooks;
	rc = validate(apply);
	if (rc != 0)
		goto fail;
	rc = -ENOMEM;
	apply->entry = calloc(n, sizeof(*apply->entry));
	apply->first = calloc(n, sizeof(*apply->first));
	if (!apply->entry || !apply->first || !slots_init(&apply->peers, config->peer_count) ||
		!slots_init(&apply->additions, config->allowed_ip_count))
		goto fail;
	rc = 0;
	if (hooks->set_sockets && (config->set_listen_port || config->set_fwmark))
		rc = hooks->set_sockets(hooks->arg, config);
	if (rc != 0)
		goto fail;
	*out = apply;
	return 0;
fail:
	uapi_apply_end(apply);
	return rc;
}

void uapi_apply_end(struct uapi_apply *apply)
{
	if (!apply)
		return;
	free(apply->entry);
	free(apply->first);
	slots_free(&apply->peers);
	slots_free(&apply->additions);
	free(apply);
}

const struct uapi_applied *uapi_apply_result(const struct uapi_apply *apply)
{
	return &apply->applied;
}

int uapi_apply(struct wg_device *device, const struct uapi_config *config,
	const struct uapi_hooks *hooks, struct wg_time now, struct uapi_applied *applied)
{
	struct uapi_apply *apply;
	int rc = uapi_apply_begin(&apply, device, config, hooks);

	if (rc != 0)
		return rc;
	do
		rc = uapi_apply_step(apply, 1024, now);
	while (rc > 0);
	if (applied)
		*applied = apply->applied;
	uapi_apply_end(apply);
	return rc;
}

/* --- Steps --- */

static void report(struct uapi_apply *apply)
{
	if (apply->hooks->changed && apply->unreported)
		apply->hooks->changed(apply->hooks->arg);
	apply->unreported = 0;
}

/* One operation on the device was done. */
static void spend(struct uapi_apply *apply, int64_t cost)
{
	apply->budget -= cost;
	if (++apply->unreported >= CHANGED_EVERY)
		report(apply);
}

static void next_phase(struct uapi_apply *apply)
{
	apply->phase++;
	apply->at = 0;
	if (apply->phase == PHASE_FORESEE && !apply->config->replace_peers)
		apply->phase = PHASE_KEY;
	if (apply->phase == PHASE_STALE)
		apply->next = wg_device_next_peer(apply->device, NULL);
	if (apply->phase == PHASE_FORESEE || apply->phase == PHASE_JUDGE)
		memset(apply->entry, 0, apply->config->peer_count);
}

/* The peers follow a new key some at a time. */
static void set_key(struct uapi_apply *apply)
{
	if (apply->config->set_private_key && !apply->begun) {
		wg_device_set_private_key(apply->device, apply->config->private_key, apply->now);
		apply->begun = true;
		spend(apply, PEER_COST);
	}
	if (wg_device_settle(apply->device)) {
		apply->begun = false;
		next_phase(apply);
		return;
	}
	spend(apply, LIMIT_SETTLE_PEERS);
	report(apply);
}

/* A piece of the phase; a phase that goes through the entries is done with the last one. */
static int run_phase(struct uapi_apply *apply)
{
	uint32_t i = apply->at;
	int rc = 0;

	switch (apply->phase) {
	case PHASE_STALE:
		if (apply->next)
			remove_if_stale(apply);
		else
			next_phase(apply);
		return 0;
	case PHASE_KEY:
		set_key(apply);
		return 0;
	case PHASE_INDEX:
	case PHASE_FORESEE:
	case PHASE_JUDGE:
	case PHASE_PREFIXES:
	case PHASE_PEERS:
	case PHASE_DONE:
		break;
	}
	if (i == apply->config->peer_count) {
		next_phase(apply);
		return 0;
	}
	if (apply->phase == PHASE_INDEX)
		index_entry(apply, i);
	else if (apply->phase == PHASE_PREFIXES)
		note_additions(apply, i);
	else if (apply->phase == PHASE_PEERS)
		rc = carry_out_entry(apply, i);
	else
		judge_entry(apply, i);
	apply->budget--; /* last, so that each step does something */
	if (rc <= 0)
		apply->at = i + 1;
	return rc < 0 ? rc : 0;
}

int uapi_apply_step(struct uapi_apply *apply, uint32_t budget, struct wg_time now)
{
	int rc = 0;

	apply->now = now;
	apply->budget = budget;
	do
		rc = run_phase(apply);
	while (rc == 0 && apply->phase != PHASE_DONE && apply->budget > 0);
	report(apply);
	if (rc != 0) {
		apply->phase = PHASE_DONE;
		return rc;
	}
	return apply->phase != PHASE_DONE;
}

/* --- Before anything changes --- */

static int validate(const struct uapi_apply *apply)
{
	const struct uapi_config *config = apply->config;
	uint32_t had = config->replace_peers ? 0 : wg_device_peer_count(apply->device), more = 0;

	for (uint32_t i = 0; i < config->peer_count; i++) {
		const struct uapi_peer *peer = &config->peers[i];

		if (peer->set_endpoint && peer->endpoint_host && !peer->remove)
			return -EINVAL;
	}
	if ((uint64_t)had + config->peer_count <= LIMIT_PEERS)
		return 0;
	for (uint32_t i = 0; i < config->peer_count; i++) {
		const struct uapi_peer *peer = &config->peers[i];

		more += !peer->remove && !peer->update_only &&
			!wg_device_find_peer(apply->device, peer->public_key);
	}
	return (uint64_t)had + more > LIMIT_PEERS ? -ENOSPC : 0;
}

/* The first entry of each peer stands for the peer. */
static void index_entry(struct uapi_apply *apply, uint32_t i)
{
	const struct uapi_peer *peers = apply->config->peers;
	uint32_t *p;

	SLOTS_FOR_EACH(&apply->peers, slots_hash_key(&apply->peers, peers[i].public_key), p)
	{
		if (memcmp(peers[*p - 1].public_key, peers[i].public_key, WG_KEY_BYTES) == 0) {
			apply->first[i] = *p - 1;
			return;
		}
	}
	*p = i + 1;
	apply->first[i] = i;
}

/* Goes through the entries as if they were carried out one by one. */
static void judge_entry(struct uapi_apply *apply, uint32_t i)
{
	const struct uapi_peer *peer = &apply->config->peers[i];
	const uint8_t *own = wg_device_public_key(apply->device);
	uint8_t *state = &apply->entry[apply->first[i]];
	bool seen = *state & PEER_SEEN, there = false;

	if (apply->phase == PHASE_JUDGE && own && !peer->remove &&
		memcmp(own, peer->public_key, WG_KEY_BYTES) == 0) {
		apply->entry[i] |= ENTRY_OWN_KEY;
		return;
	}
	if (!seen) {
		there = wg_device_find_peer(apply->device, peer->public_key) != NULL;
		*state |= PEER_SEEN;
		if (there && !apply->config->replace_peers)
			*state |= PEER_EXISTS;
	}
	if (peer->remove) {
		apply->entry[i] |= ENTRY_APPLY;
		*state &= (uint8_t)~PEER_EXISTS;
		return;
	}
	if (peer->update_only && !(*state & PEER_EXISTS))
		return;
	apply->entry[i] |= ENTRY_APPLY;
	/* With replace_peers, what was there before and is not made yet starts from nothing. */
	if (apply->config->replace_peers && !(*state & PEER_EXISTS))
		apply->entry[i] |= ENTRY_KEPT;
	*state |= PEER_EXISTS | PEER_STAYS;
}

static void remove_if_stale(struct uapi_apply *apply)
{
	const struct uapi_peer *peers = apply->config->peers;
	struct wg_peer *peer = apply->next, *next = wg_device_next_peer(apply->device, peer);
	const uint8_t *key = wg_peer_public_key(peer);
	bool stays = false;
	uint32_t *p;

	apply->budget--;
	SLOTS_FOR_EACH(&apply->peers, slots_hash_key(&apply->peers, key), p)
	{
		if (memcmp(peers[*p - 1].public_key, key, WG_KEY_BYTES) != 0)
			continue;
		stays = apply->entry[*p - 1] & PEER_STAYS;
		break;
	}
	if (stays || remove_peer(apply, peer))
		apply->next = next;
}

/* Its prefixes first, as far as the budget goes. False: call again. */
static bool remove_peer(struct uapi_apply *apply, struct wg_peer *peer)
{
	struct ip_prefix prefix;
	const void *first = NULL;

	for (; wg_peer_next_allowed_ip(peer, &first, &prefix); first = NULL) {
		if (apply->budget < 0)
			return false;
		wg_peer_remove_allowed_ip(peer, &prefix);
		spend(apply, 1);
	}
	wg_device_remove_peer(apply->device, peer);
	apply->applied.peers_removed++;
	spend(apply, 1);
	return true;
}

/* --- Prefixes: the last addition decides, the ones before it never happen --- */

/* The slot of a prefix, which is 0 when nothing adds it. */
static uint32_t *addition(const struct uapi_apply *apply, const struct ip_prefix *prefix)
{
	const struct uapi_allowed_ip *ips = apply->config->allowed_ips;
	uint32_t *p;

	SLOTS_FOR_EACH(&apply->additions, slots_hash_prefix(prefix), p)
	{
		if (ip_prefix_equal(&ips[*p - 1].prefix, prefix))
			break;
	}
	return p;
}

static void note_additions(struct uapi_apply *apply, uint32_t i)
{
	const struct uapi_peer *peer = &apply->config->peers[i];
	uint32_t end = peer->first_allowed_ip + peer->allowed_ip_count;

	if (!(apply->entry[i] & ENTRY_APPLY) || peer->remove)
		return;
	for (uint32_t ip = peer->first_allowed_ip; ip < end; ip++)
		if (!apply->config->allowed_ips[ip].remove)
			*addition(apply, &apply->config->allowed_ips[ip].prefix) = ip + 1;
	apply->budget -= peer->allowed_ip_count / 8;
}

/* Whether the config adds the prefix at position from or behind it. */
static bool added_from(
	const struct uapi_apply *apply, const struct ip_prefix *prefix, uint32_t from)
{
	return *addition(apply, prefix) > from;
}

/* --- Carrying out --- */

static void set_fields(
	struct uapi_apply *apply, const struct uapi_peer *entry, bool all, struct wg_peer *peer)
{
	/* Unset values are zero: none, off. */
	if (entry->set_preshared_key || all)
		wg_peer_set_preshared_key(peer, entry->preshared_key);
	if (entry->set_endpoint)
		wg_peer_set_endpoint(peer, &entry->endpoint);
	if (entry->set_persistent_keepalive || all)
		wg_peer_set_persistent_keepalive(peer, entry->persistent_keepalive, apply->now);
}

/* The peer of an entry, made if need be. NULL and *rc: 0 when there is nothing to do with it, 1 to
 * be called again. */
static struct wg_peer *find_or_add(struct uapi_apply *apply, uint32_t i, int *rc)
{
	const struct uapi_peer *entry = &apply->config->peers[i];
	struct wg_peer *peer = wg_device_find_peer(apply->device, entry->public_key);

	*rc = 0;
	if (apply->entry[i] & ENTRY_OWN_KEY)
		apply->applied.own_key_skipped++;
	if (!(apply->entry[i] & ENTRY_APPLY))
		return NULL;
	if (entry->remove) {
		*rc = peer && !remove_peer(apply, peer);
		return NULL;
	}
	if (peer)
		return peer;
	*rc = wg_device_add_peer(apply->device, entry->public_key, &peer);
	if (*rc != 0)
		return NULL;
	apply->applied.peers_added++;
	spend(apply, PEER_COST);
	return peer;
}

static int change_allowed_ip(struct uapi_apply *apply, uint32_t ip, struct wg_peer *peer)
{
	const struct uapi_allowed_ip *change = &apply->config->allowed_ips[ip];
	int rc = 0;

	/* Only what no later addition overrides. */
	if (added_from(apply, &change->prefix, ip + 1))
		return 0;
	if (change->remove)
		wg_peer_remove_allowed_ip(peer, &change->prefix);
	else
		rc = wg_peer_add_allowed_ip(peer, &change->prefix);
	spend(apply, 1);
	return rc;
}

/*
 * replace_allowed_ips: removes what the peer has and neither this entry nor a later one adds. After
 * the additions, so that a prefix cut in two is never without an owner. False: call again.
 */
static bool remove_stale_prefixes(
	struct uapi_apply *apply, const struct uapi_peer *entry, struct wg_peer *peer)
{
	const void *at = apply->kept;
	struct ip_prefix prefix;

	while (wg_peer_next_allowed_ip(peer, &at, &prefix)) {
		if (apply->budget < 0)
			return false;
		if (added_from(apply, &prefix, entry->first_allowed_ip)) {
			apply->kept = at;
			apply->budget -= ++apply->looked % 8 == 0;
			continue;
		}
		wg_peer_remove_allowed_ip(peer, &prefix);
		spend(apply, 1);
		at = apply->kept;
	}
	apply->kept = NULL;
	return true;
}

/* 0: done with this entry; 1: call again with more budget; negative errno. */
static int carry_out_entry(struct uapi_apply *apply, uint32_t i)
{
	const struct uapi_peer *entry = &apply->config->peers[i];
	bool all = apply->entry[i] & ENTRY_KEPT;
	struct wg_peer *peer;
	int rc;

	peer = find_or_add(apply, i, &rc);
	if (!peer)
		return rc;
	if (!apply->begun) {
		set_fields(apply, entry, all, peer);
		apply->begun = true;
		apply->ip_at = 0;
	}
	while (apply->ip_at < entry->allowed_ip_count && apply->budget > 0) {
		rc = change_allowed_ip(apply, entry->first_allowed_ip + apply->ip_at, peer);
		if (rc != 0)
			return rc;
		apply->ip_at++;
		apply->budget--;
	}
	if (apply->ip_at < entry->allowed_ip_count)
		return 1;
	if ((entry->replace_allowed_ips || all) && !remove_stale_prefixes(apply, entry, peer))
		return 1;
	apply->begun = false;
	spend(apply, 1);
	return 0;
}
