/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens while the cryptography of a handshake is elsewhere: peers and keys change, messages
 * come again, works come back in any order. One end splits its handshakes, the other is whole.
 */
#include "wg/device.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/units.h"
#include "crypto/random.h"
#include "crypto/x25519.h"
#include "heap_env.h"
#include "wg/messages.h"

#define MESSAGES 16
#define SEC	 NS_PER_SEC

struct message {
	uint16_t len;
	uint8_t data[148];
};

struct end {
	struct wg_index_table *indices;
	struct wg_ids *ids;
	struct wg_device *device;
	struct wg_peer *peer;
	uint8_t private_key[32], public_key[32];
	struct message sent[MESSAGES];
	struct wg_work *works[MESSAGES];
	unsigned sent_count, work_count, sessions, retired;
};

static struct end split, whole;
static struct wg_time now;
static struct wg_path path;

static void drain(struct end *end)
{
	struct wg_action action;

	while (wg_device_next_action(end->device, &action)) {
		switch (action.kind) {
		case WG_ACT_SEND:
			assert_true(end->sent_count < MESSAGES);
			end->sent[end->sent_count].len = action.send.len;
			memcpy(end->sent[end->sent_count++].data, action.send.data, 148);
			break;
		case WG_ACT_COMPUTE:
			assert_true(end->work_count < MESSAGES);
			end->works[end->work_count++] = action.work;
			break;
		case WG_ACT_SESSION_PUBLISH:
			end->sessions++;
			break;
		case WG_ACT_SESSION_RETIRE:
			end->retired++;
			wg_session_free(end->device, action.session);
			break;
		case WG_ACT_PEER_REMOVE:
			wg_peer_free(end->device, action.peer);
			break;
		default:
			break;
		}
	}
}

/* Works it out as a thread would; what comes of it at control comes later: finish(). */
static struct wg_work *take_work(struct end *end)
{
	struct wg_work *work;

	assert_true(end->work_count > 0);
	work = end->works[0];
	memmove(end->works, end->works + 1, --end->work_count * sizeof(work));
	wg_work_compute(work);
	return work;
}

static enum wg_verdict finish(struct end *end, struct wg_work *work)
{
	enum wg_verdict verdict = wg_device_finish(end->device, work, now);

	drain(end);
	return verdict;
}

static enum wg_verdict receive(struct end *end, const struct message *message)
{
	enum wg_verdict verdict =
		wg_device_receive(end->device, message->data, message->len, &path, false, now);

	drain(end);
	return verdict;
}

static void add_peer(struct end *end, const struct end *other)
{
	assert_int_equal(wg_device_add_peer(end->device, other->public_key, &end->peer), 0);
	wg_peer_set_endpoint(end->peer, &path.remote);
	drain(end);
}

static void set_up_end(struct end *end)
{
	memset(end, 0, sizeof(*end));
	end->indices = wg_index_table_create(heap_env_random, NULL);
	end->ids = wg_ids_create(LIMIT_SETTLE_PEERS + 2);
	end->device = wg_device_create(&heap_env, end->indices, end->ids);
	random_fill(end->private_key, 32);
	x25519_clamp(end->private_key);
	x25519_public(end->public_key, end->private_key);
	wg_device_set_private_key(end->device, end->private_key, now);
}

static int set_up(void **state)
{
	(void)state;
	now = (struct wg_time){1000 * SEC, 1700000000 * SEC};
	memset(&path, 0, sizeof(path));
	endpoint_parse("192.0.2.1:1000", &path.remote);
	set_up_end(&split);
	set_up_end(&whole);
	wg_device_split_handshakes(split.device, true);
	add_peer(&split, &whole);
	add_peer(&whole, &split);
	return 0;
}

static void tear_down_end(struct end *end)
{
	wg_device_shutdown(end->device, UINT_MAX);
	drain(end);
	while (end->work_count > 0)
		wg_work_free(end->device, end->works[--end->work_count]);
	assert_int_equal(wg_index_count(end->indices), 0);
	wg_device_free(end->device);
	wg_ids_destroy(end->ids);
	wg_index_table_destroy(end->indices);
}

static int tear_down(void **state)
{
	(void)state;
	tear_down_end(&split);
	tear_down_end(&whole);
	return 0;
}

static void later(uint64_t ns)
{
	now.mono_ns += ns;
	now.wall_ns += ns;
}

/* A new initiation of the whole end. */
static struct message initiation(void)
{
	later(6 * SEC);
	wg_peer_set_persistent_keepalive(whole.peer, 0, now);
	wg_peer_set_persistent_keepalive(whole.peer, 25, now);
	wg_device_tick(whole.device, now);
	drain(&whole);
	assert_true(whole.sent_count > 0);
	assert_int_equal(whole.sent[whole.sent_count - 1].len, 148);
	return whole.sent[whole.sent_count - 1];
}

/* As far as control can tell whose it is. */
static struct wg_work *opened(const struct message *message)
{
	assert_int_equal(receive(&split, message), WG_PENDING);
	assert_int_equal(finish(&split, take_work(&split)), WG_PENDING);
	return take_work(&split);
}

static void test_both_roles(void **state)
{
	struct message first = initiation();

	(void)state;
	assert_int_equal(finish(&split, opened(&first)), WG_ACCEPTED);
	assert_int_equal(split.sent_count, 1);
	assert_int_equal(receive(&whole, &split.sent[0]), WG_ACCEPTED);
	later(6 * SEC);
	wg_peer_set_persistent_keepalive(split.peer, 25, now);
	drain(&split);
	assert_int_equal(finish(&split, take_work(&split)), WG_PENDING);
	assert_int_equal(receive(&whole, &split.sent[1]), WG_ACCEPTED);
	assert_int_equal(receive(&split, &whole.sent[whole.sent_count - 1]), WG_PENDING);
	assert_int_equal(finish(&split, take_work(&split)), WG_ACCEPTED);
	assert_int_equal(split.sessions, 2);
	assert_int_equal(wg_device_verdicts(split.device)[WG_ACCEPTED], 2);
}

/* Each of two copies looks new to its work; the one that comes second is a replay. */
static void test_two_copies_of_an_initiation(void **state)
{
	struct message message = initiation();
	struct wg_work *one = opened(&message), *two = opened(&message);

	(void)state;
	later(SEC);
	assert_int_equal(finish(&split, two), WG_ACCEPTED);
	assert_int_equal(finish(&split, one), WG_REPLAYED);
	assert_int_equal(split.sent_count, 1);
	assert_int_equal(split.sessions, 1);
}

static void test_older_initiation_comes_back_later(void **state)
{
	struct message old = initiation(), new = initiation();
	struct wg_work *one = opened(&old), *two = opened(&new);

	(void)state;
	assert_int_equal(finish(&split, two), WG_ACCEPTED);
	later(SEC);
	assert_int_equal(finish(&split, one), WG_REPLAYED);
	new = initiation();
	one = opened(&new);
	new = initiation();
	two = opened(&new);
	assert_int_equal(finish(&split, one), WG_ACCEPTED);
	later(10 * NS_PER_MS);
	assert_int_equal(finish(&split, two), WG_FLOODED);
	assert_int_equal(split.sessions, 2);
}

/* The same key, and perhaps the same id and memory: another peer all the same. */
static void test_peer_goes_and_comes_back(void **state)
{
	struct message message = initiation();
	struct wg_work *work = opened(&message);

	(void)state;
	wg_device_remove_peer(split.device, split.peer);
	drain(&split);
	add_peer(&split, &whole);
	assert_int_equal(finish(&split, work), WG_UNKNOWN_PEER);
	work = opened(&message); /* the new one has not seen it */
	assert_int_equal(finish(&split, work), WG_ACCEPTED);
	message = initiation();
	assert_int_equal(receive(&split, &message), WG_PENDING);
	wg_device_remove_peer(split.device, split.peer);
	drain(&split);
	assert_int_equal(finish(&split, take_work(&split)), WG_UNKNOWN_PEER);
	add_peer(&split, &whole);
	later(6 * SEC);
	wg_peer_set_persistent_keepalive(split.peer, 25, now);
	drain(&split);
	work = take_work(&split);
	wg_device_remove_peer(split.device, split.peer);
	drain(&split);
	add_peer(&split, &whole);
	assert_int_equal(finish(&split, work), WG_PENDING);
	assert_int_equal(split.sent_count, 1); /* the response from above */
}

static void test_private_key_changes(void **state)
{
	struct message message = initiation();
	struct wg_work *work = opened(&message), *own;
	uint8_t other[32];

	(void)state;
	wg_peer_set_persistent_keepalive(split.peer, 25, now);
	drain(&split);
	own = take_work(&split);
	assert_int_equal(receive(&split, &message), WG_PENDING);
	random_fill(other, 32);
	wg_device_set_private_key(split.device, other, now);
	drain(&split);
	assert_int_equal(finish(&split, work), WG_BAD_MAC1);
	assert_int_equal(finish(&split, own), WG_PENDING);
	assert_int_equal(split.sent_count, 0);
	assert_int_equal(split.sessions, 0);
	/* There and back: what the peer sends next is as good as ever. */
	wg_device_set_private_key(split.device, split.private_key, now);
	drain(&split);
	message = initiation();
	while (split.work_count > 0)
		finish(&split, take_work(&split));
	assert_int_equal(finish(&split, opened(&message)), WG_ACCEPTED);
	assert_int_equal(receive(&whole, &split.sent[split.sent_count - 1]), WG_ACCEPTED);
}

/* The response is made with the key of today. */
static void test_preshared_key_changes(void **state)
{
	struct message message = initiation();
	struct wg_work *work = opened(&message);
	uint8_t key[32];

	(void)state;
	random_fill(key, 32);
	wg_peer_set_preshared_key(split.peer, key);
	wg_peer_set_preshared_key(whole.peer, key);
	assert_int_equal(finish(&split, work), WG_PENDING);
	assert_int_equal(finish(&split, take_work(&split)), WG_PENDING);
	assert_int_equal(finish(&split, take_work(&split)), WG_ACCEPTED);
	assert_int_equal(receive(&whole, &split.sent[0]), WG_ACCEPTED);
	/* And so is the one received judged. */
	later(6 * SEC);
	wg_peer_set_persistent_keepalive(split.peer, 25, now);
	drain(&split);
	finish(&split, take_work(&split));
	random_fill(key, 32);
	wg_peer_set_preshared_key(whole.peer, key);
	assert_int_equal(receive(&whole, &split.sent[1]), WG_ACCEPTED);
	assert_int_equal(receive(&split, &whole.sent[whole.sent_count - 1]), WG_PENDING);
	work = take_work(&split);
	wg_peer_set_preshared_key(split.peer, key);
	assert_int_equal(finish(&split, work), WG_PENDING);
	assert_int_equal(finish(&split, take_work(&split)), WG_ACCEPTED);
}

static void test_two_copies_of_a_response(void **state)
{
	struct wg_work *one, *two;

	(void)state;
	wg_peer_set_persistent_keepalive(split.peer, 25, now);
	drain(&split);
	finish(&split, take_work(&split));
	assert_int_equal(receive(&whole, &split.sent[0]), WG_ACCEPTED);
	assert_int_equal(receive(&split, &whole.sent[0]), WG_PENDING);
	one = take_work(&split);
	assert_int_equal(receive(&split, &whole.sent[0]), WG_PENDING);
	two = take_work(&split);
	assert_int_equal(finish(&split, two), WG_ACCEPTED);
	assert_int_equal(finish(&split, one), WG_UNKNOWN_INDEX);
	assert_int_equal(split.sessions, 1);
}

/* Our own initiation is void when the peer's was accepted, or its time is over. */
static void test_own_initiation_becomes_void(void **state)
{
	struct message message = initiation();
	struct wg_work *own, *newer;

	(void)state;
	wg_peer_set_persistent_keepalive(split.peer, 25, now);
	drain(&split);
	own = take_work(&split);
	later(6 * SEC);
	wg_device_tick(split.device, now);
	drain(&split);
	newer = take_work(&split);
	assert_int_equal(finish(&split, own), WG_PENDING);
	assert_int_equal(split.sent_count, 0);
	assert_int_equal(finish(&split, opened(&message)), WG_ACCEPTED);
	assert_int_equal(split.sent_count, 1);
	assert_int_equal(finish(&split, newer), WG_PENDING);
	assert_int_equal(split.sent_count, 1);
}

static void set_running(bool running)
{
	wg_device_set_running(split.device, running, now);
	drain(&split);
}

/* Whatever was under way when the link went down: nothing is sent for it, and no keys come of it.
 */
static void test_link_goes_down(void **state)
{
	struct message message = initiation();
	struct wg_work *work = opened(&message), *own;

	(void)state;
	wg_peer_set_persistent_keepalive(split.peer, 25, now);
	drain(&split);
	own = take_work(&split);
	assert_int_equal(receive(&split, &message), WG_PENDING);
	set_running(false);
	assert_int_equal(finish(&split, work), WG_LINK_DOWN);
	assert_int_equal(finish(&split, own), WG_PENDING);
	assert_int_equal(finish(&split, take_work(&split)), WG_LINK_DOWN);
	assert_int_equal(receive(&split, &message), WG_LINK_DOWN);
	assert_int_equal(split.sent_count, 0);
	assert_int_equal(split.sessions, 0);
	assert_int_equal(split.work_count, 0);
	/* It was not seen, so it is no replay. */
	set_running(true);
	assert_int_equal(finish(&split, opened(&message)), WG_ACCEPTED);
	assert_int_equal(split.sessions, 1);
}

/* Down and up again: of many peers some follow later, but not after what came of their works. */
static void test_link_flaps(void **state)
{
	struct message message = initiation();
	struct wg_peer *other;
	struct wg_work *work;
	uint8_t key[32];

	(void)state;
	wg_device_remove_peer(split.device, split.peer);
	drain(&split);
	for (unsigned i = 0; i < LIMIT_SETTLE_PEERS; i++) {
		random_fill(key, sizeof(key));
		assert_int_equal(wg_device_add_peer(split.device, key, &other), 0);
	}
	add_peer(&split, &whole);
	work = opened(&message);
	set_running(false);
	set_running(true);
	assert_int_equal(finish(&split, work), WG_ACCEPTED);
	assert_int_equal(split.sessions, 1);
	while (!wg_device_settle(split.device))
		drain(&split);
	drain(&split);
	assert_int_equal(split.retired, 0);
}

static void test_stranger_and_rubbish(void **state)
{
	struct message message = initiation();

	(void)state;
	wg_device_remove_peer(split.device, split.peer);
	drain(&split);
	assert_int_equal(receive(&split, &message), WG_PENDING);
	assert_int_equal(finish(&split, take_work(&split)), WG_UNKNOWN_PEER);
	message.data[20] ^= 1;
	assert_int_equal(receive(&split, &message), WG_BAD_MAC1); /* costs no work */
	assert_int_equal(split.work_count, 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_both_roles),
		TEST(test_two_copies_of_an_initiation),
		TEST(test_older_initiation_comes_back_later),
		TEST(test_peer_goes_and_comes_back),
		TEST(test_private_key_changes),
		TEST(test_preshared_key_changes),
		TEST(test_two_copies_of_a_response),
		TEST(test_own_initiation_becomes_void),
		TEST(test_link_goes_down),
		TEST(test_link_flaps),
		TEST(test_stranger_and_rubbish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
