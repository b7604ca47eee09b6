/* SPDX-License-Identifier: BSD-3-Clause */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "actions.h"
#include "base/units.h"
#include "clock.h"
#include "datapath/reclaim.h"
#include "endpoint.h"
#include "gateway.h"
#include "handshakers.h"
#include "host.h"
#include "icmp_reply.h"
#include "interface.h"
#include "log.h"
#include "mirror.h"
#include "neighbours.h"
#include "uapi_server.h"

/* Work of one turn: keeps a turn around a millisecond even with handshakes of 0.15 ms each. */
#define HANDSHAKES_A_TURN 8
/* With handshake lcores a message costs microseconds, and so does work that is taken up again. */
#define PASSED_A_TURN	   64
#define WORKS_A_TURN	   64
#define HANDSHAKES_PENDING (LIMIT_HANDSHAKE_WORKS / 2) /* leaves room for what they lead to */
#define PACKETS_A_TURN	   256
#define HINTS_A_TURN	   256
/*
 * But each of these may have a handshake begun, and what others begin waits meanwhile: then so long
 * at most, for packets and for hints.
 */
#define BEGINNINGS_NS	NS_PER_MS
#define ROAMS_A_TURN	64
#define RECLAIMS_A_TURN 1024

/*
 * Under load (whitepaper section 5.3): so many handshake messages wait that the next turns are
 * taken.
 */
#define UNDER_LOAD_MESSAGES (4 * HANDSHAKES_A_TURN) /* for each handshake lcore, if any */

/* Rings are looked at after so long at the latest; nobody wakes control for them. */
#define SLEEP_FIRST_NS	 (50 * NS_PER_US)
#define SLEEP_LONGEST_NS (2 * NS_PER_MS)

static struct {
	int signal_fd, call_fd;
	bool end_asked; /* control's */
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool running;
	void (*call)(void *arg); /* waiting to be run */
	void *call_arg;
} state = {
	.signal_fd = -1,
	.call_fd = -1,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.done = PTHREAD_COND_INITIALIZER,
};

struct wg_time gateway_now(void)
{
	return (struct wg_time){.mono_ns = clock_now_ns(), .wall_ns = clock_ns(CLOCK_REALTIME)};
}

int control_init(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	state.signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	state.call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (state.signal_fd < 0 || state.call_fd < 0) {
		int err = errno;
		log_error("descriptors for signals: %s", strerror(err));
		return -err;
	}
	/* A client of ours that closes its end must not end us. */
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

void control_fini(void)
{
	if (state.signal_fd >= 0)
		close(state.signal_fd);
	if (state.call_fd >= 0)
		close(state.call_fd);
	state.signal_fd = state.call_fd = -1;
}

bool control_end_asked(void)
{
	struct signalfd_siginfo info;

	while (read(state.signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			log_info("SIGHUP: config files are read once, at the start; \"wg "
				 "syncconf\" applies their changes");
		else
			state.end_asked = true;
	}
	return state.end_asked;
}

/* --- Calls of other threads --- */

bool control_call(void (*fn)(void *arg), void *arg)
{
	bool ran;

	pthread_mutex_lock(&state.lock);
	while (state.running && state.call)
		pthread_cond_wait(&state.done, &state.lock);
	ran = state.running;
	if (ran) {
		state.call = fn;
		state.call_arg = arg;
		(void)eventfd_write(state.call_fd, 1);
		while (state.call == fn && state.call_arg == arg)
			pthread_cond_wait(&state.done, &state.lock);
	}
	pthread_mutex_unlock(&state.lock);
	return ran;
}

static void run_call(void)
{
	eventfd_t ignored;

	(void)eventfd_read(state.call_fd, &ignored);
	pthread_mutex_lock(&state.lock);
	if (state.call)
		state.call(state.call_arg);
	state.call = NULL;
	state.call_arg = NULL;
	pthread_cond_broadcast(&state.done);
	pthread_mutex_unlock(&state.lock);
}

static void set_running(bool running)
{
	pthread_mutex_lock(&state.lock);
	state.running = running;
	pthread_mutex_unlock(&state.lock);
	if (!running)
		run_call();
}

/* --- What the workers send --- */

static uint64_t beginnings_cycles(void)
{
	return rte_get_tsc_hz() * BEGINNINGS_NS / NS_PER_SEC;
}

static void take_handshake(
	struct gateway *gateway, struct rte_mbuf *frame, bool under_load, struct wg_time now)
{
	struct interface *interface = gateway->interfaces[dp_mbuf(frame)->interface];
	unsigned header = dp_mbuf(frame)->header_len;
	struct wg_path path;

	dp_frame_path(frame, &path);
	(void)wg_device_receive(interface->device, rte_pktmbuf_mtod_offset(frame, void *, header),
		frame->data_len - header, &path, under_load, now);
	rte_pktmbuf_free(frame);
	actions_drain(interface);
}

/* How many messages to take this turn, while there is room for the work that they make. */
static unsigned handshakes_wanted(const struct gateway *gateway)
{
	unsigned pending;

	if (!gateway->handshakers)
		return HANDSHAKES_A_TURN;
	pending = handshakers_pending(gateway->handshakers);
	return pending < HANDSHAKES_PENDING ? RTE_MIN(HANDSHAKES_PENDING - pending, PASSED_A_TURN)
					    : 0;
}

static bool is_under_load(const struct gateway *gateway, unsigned messages)
{
	if (!gateway->handshakers)
		return messages > UNDER_LOAD_MESSAGES;
	/* Initiations of our own are nobody's flood, however many come due at once. */
	return messages + handshakers_asked_for(gateway->handshakers) >
	       UNDER_LOAD_MESSAGES * handshakers_count(gateway->handshakers);
}

static unsigned take_handshakes(struct gateway *gateway, struct wg_time now)
{
	struct rte_ring *ring = gateway->dp->handshake_ring;
	unsigned n = 0, wanted = handshakes_wanted(gateway);
	struct rte_mbuf *frame;

	if (is_under_load(gateway, rte_ring_count(ring)))
		gateway->under_load_until_ns = now.mono_ns + WG_UNDER_LOAD_NS;
	while (n < wanted && rte_ring_sc_dequeue(ring, (void **)&frame) == 0) {
		take_handshake(gateway, frame, now.mono_ns < gateway->under_load_until_ns, now);
		n++;
	}
	return n;
}

/* What the handshake lcores have done. */
static unsigned take_works(struct gateway *gateway, struct wg_time now)
{
	struct wg_work *work;
	void *interface;
	unsigned n = 0;

	while (gateway->handshakers && n < WORKS_A_TURN &&
		handshakers_take(gateway->handshakers, &work, &interface)) {
		(void)wg_device_finish(((struct interface *)interface)->device, work, now);
		actions_drain(interface);
		n++;
	}
	return n;
}

/* The workers send there already. Control finds the best way, even where it knew of the move. */
static void take_roam(struct gateway *gateway, uint32_t id, const struct wg_path *path)
{
	struct wg_peer *peer = gateway->peers[id];

	/* It was removed in the meantime. */
	if (!peer)
		return;
	struct interface *interface = wg_peer_user(peer);
	const struct wg_path *known = wg_peer_path(peer);
	if (endpoint_equal(&known->remote, &path->remote) &&
		ip_addr_equal(&known->local, &path->local)) {
		endpoint_resolve(interface, peer);
		return;
	}
	wg_peer_hint_roam(peer, path);
	actions_drain(interface);
}

static unsigned take_roams(struct gateway *gateway)
{
	struct wg_path path;
	uint32_t id;
	unsigned n = 0;

	while (n < ROAMS_A_TURN && dp_take_roam(gateway->dp, &id, &path)) {
		take_roam(gateway, id, &path);
		n++;
	}
	return n;
}

/*
 * The peer moved to where its own tunnel may lead (struct dp_outer), and nobody has asked the
 * kernel yet: now. True: it does.
 */
static bool leads_nowhere(struct gateway *gateway, const struct wg_peer *peer)
{
	const struct dp_outer *outer = endpoint_published(gateway, peer);

	for (unsigned i = 0; outer && outer->in_doubt && i < LIMIT_ROAMS / ROAMS_A_TURN; i++) {
		(void)take_roams(gateway);
		outer = endpoint_published(gateway, peer);
	}
	return outer && outer->nowhere;
}

/*
 * The peer is looked up anew: since a worker did, the destination may have moved to another, and
 * the peer's id too. What is staged for a peer will be sealed for it.
 */
static void stage(struct interface *interface, struct rte_mbuf *packet, struct wg_time now)
{
	struct dp_drops *drops = &interface->gateway->drops;
	struct wg_peer *peer;

	if (packet->data_len == 0) {
		/* A keepalive whose session was used up: the timers will send another. */
		dp_drop(drops, &packet, 1, DP_DROP_SESSION_GONE);
		return;
	}
	peer = interface_route(interface, rte_pktmbuf_mtod(packet, const uint8_t *));
	if (!peer) {
		dp_drop(drops, &packet, 1, DP_DROP_PEER_GONE);
		return;
	}
	if (leads_nowhere(interface->gateway, peer)) {
		icmp_reply_unreachable(interface, packet, now.mono_ns);
		return;
	}
	packet = wg_peer_stage(peer, packet, now);
	if (!packet && ++interface->gateway->staged_packets > LIMIT_STAGED)
		packet = actions_unstage(interface, peer);
	if (packet)
		dp_drop(drops, &packet, 1, DP_DROP_STAGE_FULL);
	actions_drain(interface);
}

static unsigned take_packets(struct gateway *gateway, struct wg_time now)
{
	uint64_t end = rte_rdtsc() + beginnings_cycles();
	struct rte_mbuf *packet;
	unsigned n = 0;

	while (n < PACKETS_A_TURN && rte_rdtsc() < end &&
		rte_ring_sc_dequeue(gateway->dp->control_ring, (void **)&packet) == 0) {
		struct interface *interface = gateway->interfaces[dp_mbuf(packet)->interface];
		if (dp_mbuf(packet)->kind == DP_STAGE)
			stage(interface, packet, now);
		else
			icmp_reply_unreachable(interface, packet, now.mono_ns);
		n++;
	}
	return n;
}

/* The peer is that of the receiver index, which unlike an id is not soon another's. */
static void take_hint(struct gateway *gateway, const struct dp_hint *hint, struct wg_time now)
{
	struct wg_peer *peer = wg_index_find(gateway->indices, hint->local_index);

	if (!peer)
		return;
	struct interface *interface = wg_peer_user(peer);
	switch ((enum dp_hint_kind)hint->kind) {
	case DP_HINT_CONFIRM:
		wg_device_hint_confirm(interface->device, hint->local_index, now);
		break;
	case DP_HINT_REKEY:
		wg_peer_hint_rekey(peer, now);
		break;
	}
	actions_drain(interface);
}

static unsigned take_hints(struct gateway *gateway, struct wg_time now)
{
	uint64_t end = rte_rdtsc() + beginnings_cycles();
	struct dp_hint hint;
	unsigned n = 0;

	while (n < HINTS_A_TURN && rte_rdtsc() < end &&
		rte_ring_sc_dequeue_elem(gateway->dp->hint_ring, &hint, sizeof(hint)) == 0) {
		take_hint(gateway, &hint, now);
		n++;
	}
	return n;
}

static void tick(struct gateway *gateway, struct wg_time now)
{
	for (unsigned i = 0; i < gateway->interface_count; i++) {
		struct interface *interface = gateway->interfaces[i];
		if (wg_device_deadline(interface->device) <= now.mono_ns) {
			wg_device_tick(interface->device, now);
			actions_drain(interface);
		}
	}
}

static uint64_t next_deadline(const struct gateway *gateway)
{
	uint64_t deadline = uapi_server_deadline(gateway->uapi);

	deadline = RTE_MIN(deadline, mirror_deadline_ns(gateway->mirror));
	for (unsigned i = 0; i < gateway->interface_count; i++)
		deadline = RTE_MIN(deadline, wg_device_deadline(gateway->interfaces[i]->device));
	return deadline;
}

/* Sleeps until a descriptor is ready, a deadline comes, or sleep_ns are over. */
static void wait_for_work(struct gateway *gateway, struct pollfd *fds, nfds_t n, uint64_t sleep_ns)
{
	uint64_t now = gateway_now().mono_ns, deadline = next_deadline(gateway);
	uint64_t ns = deadline <= now ? 0 : RTE_MIN(deadline - now, sleep_ns);
	struct timespec ts = {.tv_nsec = (long)ns};

	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = 0;
	(void)ppoll(fds, n, &ts, NULL);
}

enum { FD_SIGNAL, FD_CALL, FD_MIRROR, FD_UAPI, FD_HANDSHAKERS, FD_COUNT };

void control_run(struct gateway *gateway)
{
	struct pollfd fds[FD_COUNT] = {
		[FD_SIGNAL] = {.fd = state.signal_fd, .events = POLLIN},
		[FD_CALL] = {.fd = state.call_fd, .events = POLLIN},
		[FD_MIRROR] = {.fd = mirror_fd(gateway->mirror), .events = POLLIN},
		[FD_UAPI] = {.fd = uapi_server_fd(gateway->uapi), .events = POLLIN},
		[FD_HANDSHAKERS] = {.fd = gateway->handshakers
						  ? handshakers_fd(gateway->handshakers)
						  : -1,
			.events = POLLIN},
	};
	uint64_t sleep_ns = 0;

	set_running(true);
	/* Which links are up, ahead of the first messages: what comes for one that is not is lost.
	 */
	mirror_process(gateway->mirror, gateway_now().mono_ns);
	while (!state.end_asked) {
		struct wg_time now = gateway_now();
		unsigned work = take_handshakes(gateway, now);

		if (fds[FD_HANDSHAKERS].revents)
			handshakers_hear(gateway->handshakers);
		work += take_works(gateway, now);
		work += take_roams(gateway);
		work += take_packets(gateway, now);
		work += take_hints(gateway, now);

		tick(gateway, now);
		if (fds[FD_CALL].revents)
			run_call();
		if (fds[FD_MIRROR].revents || mirror_deadline_ns(gateway->mirror) <= now.mono_ns)
			mirror_process(gateway->mirror, now.mono_ns);
		if (!interface_end_gone(gateway))
			break;
		interface_restore_routes(gateway);
		if (fds[FD_UAPI].revents || uapi_server_deadline(gateway->uapi) <= now.mono_ns)
			uapi_server_process(gateway->uapi, now);
		endpoints_hear_too_big(gateway, now.mono_ns);
		work += endpoints_step(gateway);
		neighbours_keep(gateway, now.mono_ns);
		host_follow_links(gateway, now.mono_ns);
		dp_reclaim_poll(gateway->dp->reclaim, RECLAIMS_A_TURN);

		if (work > 0)
			sleep_ns = 0;
		wait_for_work(gateway, fds, FD_COUNT, sleep_ns);
		if (fds[FD_SIGNAL].revents)
			(void)control_end_asked();
		sleep_ns = sleep_ns == 0 ? SLEEP_FIRST_NS : RTE_MIN(sleep_ns * 2, SLEEP_LONGEST_NS);
	}
	set_running(false);
}
