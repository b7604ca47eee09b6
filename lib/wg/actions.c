/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/actions.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wg/messages.h"

#define ACTIONS_PER_BLOCK 1000u

struct datagram {
	struct wg_path path;
	uint16_t len;
	uint8_t data[WG_HANDSHAKE_MAX_BYTES];
};

struct record {
	enum wg_action_kind kind;
	struct wg_peer *peer;
	union {
		struct wg_session *session;
		struct ip_prefix prefix;
		struct datagram *datagram;
		struct wg_work *work;
	};
};

struct actions_block {
	struct actions_block *next;
	struct record records[ACTIONS_PER_BLOCK];
};

static struct record *append(
	struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer);
static void drop_first_block(struct actions *actions);

bool actions_init(struct actions *actions)
{
	*actions = (struct actions){0};
	actions->first = calloc(1, sizeof(*actions->first));
	actions->spare = malloc(sizeof(*actions->spare));
	actions->last = actions->first;
	if (actions->first && actions->spare)
		return true;
	actions_free(actions);
	return false;
}

void actions_free(struct actions *actions)
{
	struct wg_action action;

	if (actions->first)
		while (actions_pop(actions, &action))
			;
	free(actions->first);
	free(actions->spare);
	*actions = (struct actions){0};
}

void actions_push(struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer)
{
	append(actions, kind, peer);
}

void actions_push_session(struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer,
	struct wg_session *session)
{
	append(actions, kind, peer)->session = session;
}

void actions_push_prefix(struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer,
	const struct ip_prefix *prefix)
{
	append(actions, kind, peer)->prefix = *prefix;
}

void actions_push_work(struct actions *actions, struct wg_work *work)
{
	append(actions, WG_ACT_COMPUTE, NULL)->work = work;
}

void actions_push_send(struct actions *actions, struct wg_peer *peer, const struct wg_path *path,
	const void *data, size_t len)
{
	struct datagram *datagram = malloc(sizeof(*datagram));

	assert(len <= sizeof(datagram->data));
	if (!datagram)
		return;
	datagram->path = *path;
	datagram->len = (uint16_t)len;
	memcpy(datagram->data, data, len);
	append(actions, WG_ACT_SEND, peer)->datagram = datagram;
}

bool actions_pop(struct actions *actions, struct wg_action *out)
{
	const struct record *record;

	if (actions->first == actions->last && actions->read == actions->written)
		return false;
	if (actions->read == ACTIONS_PER_BLOCK)
		drop_first_block(actions);
	record = &actions->first->records[actions->read++];

	*out = (struct wg_action){.kind = record->kind, .peer = record->peer};
	switch (record->kind) {
	case WG_ACT_SEND:
		out->send.path = record->datagram->path;
		out->send.len = record->datagram->len;
		memcpy(out->send.data, record->datagram->data, record->datagram->len);
		free(record->datagram);
		break;
	case WG_ACT_PREFIX_SET:
	case WG_ACT_PREFIX_CLEAR:
		out->prefix = record->prefix;
		break;
	case WG_ACT_COMPUTE:
		out->work = record->work;
		break;
	default:
		out->session = record->session;
		break;
	}
	if (actions->first == actions->last && actions->read == actions->written)
		actions->read = actions->written = 0;
	return true;
}

static struct record *append(
	struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer)
{
	struct record *record;

	if (!actions->spare)
		actions->spare = malloc(sizeof(*actions->spare));
	if (actions->written == ACTIONS_PER_BLOCK) {
		if (!actions->spare)
			abort();
		actions->spare->next = NULL;
		actions->last->next = actions->spare;
		actions->last = actions->spare;
		actions->spare = NULL;
		actions->written = 0;
	}
	record = &actions->last->records[actions->written++];
	*record = (struct record){.kind = kind, .peer = peer};
	return record;
}

/* There is one more at least. */
static void drop_first_block(struct actions *actions)
{
	struct actions_block *block = actions->first;

	actions->first = block->next;
	actions->read = 0;
	if (actions->spare)
		free(block);
	else
		actions->spare = block;
}
