/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_exchange.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "base/units.h"
#include "coalesce.h"
#include "hostif.h"
#include "net/headers.h"
#include "net/icmp.h"
#include "segment.h"
#include "udp_socket.h"

/* A round's work for one interface or socket: long enough to be worth the system call before it. */
#define ROUND_READS    16
#define ROUND_RECEIVES 4
#define ROUND_BURSTS   4

/*
 * How long the rings may wait. The shortest step lets packets gather, which makes larger frames for
 * the kernel; it grows with each round that finds nothing, to the longest within about 10 ms.
 */
#define STEP_MIN_NS (20 * NS_PER_US)
#define STEP_MAX_NS NS_PER_MS
#define STEP_GROWTH 8 /* by an eighth */

/* Packet buffers kept in hand: allocating one by one costs more than the packet. */
#define SPARE_MBUFS 128

/* Packets of one frame that are cut at once, and that a worker's ring must have room for. */
#define CUT_BURST LIMIT_BURST

struct netdev {
	bool attached;
	bool lost; /* deleted by somebody else: no use in polling it */
	struct hostif hostif;
	struct host_counters counters; /* [host exchange w, any r] */
};

/* What a descriptor in the poll set is. */
struct polled {
	enum { POLLED_WAKE, POLLED_NETDEV, POLLED_IPV4, POLLED_IPV6 } what;
	unsigned index;
};

#define POLL_MAX (1 + DP_NETDEVS + 2 * LIMIT_INTERFACES)

enum command_kind {
	ATTACH_NETDEV,
	DETACH_NETDEV,
	ATTACH_SOCKET,
	DETACH_SOCKET,
	STOP,
};

/* One at a time, on control's stack; done between two rounds. */
struct command {
	enum command_kind kind;
	unsigned index;
	const struct hostif *hostif;
	const struct udp_socket *socket;
	sem_t done;
};

/* What a round came to; a set. */
enum progress {
	PROGRESS_NONE = 0,
	PROGRESS_SOME = 1,
	PROGRESS_MORE = 2, /* and there is more to do at once */
};

struct outbox {
	unsigned n;
	struct rte_mbuf *mbufs[LIMIT_BURST];
};

struct host_exchange {
	struct dp *dp;
	struct rte_mempool *pool;
	pthread_t thread;
	int wake_fd;
	_Atomic(struct command *) command; /* [control w; host exchange clears] */

	/* All below: the thread's own */
	bool stopping;
	bool pressed; /* a worker's ring is nearly full, or buffers are: do not read now */
	uint64_t step_ns;
	unsigned polled_count;
	struct pollfd fds[POLL_MAX];
	struct polled polled[POLL_MAX];
	struct netdev netdevs[DP_NETDEVS];
	bool socket_attached[LIMIT_INTERFACES];
	struct udp_socket sockets[LIMIT_INTERFACES];
	unsigned spare_count; /* [host exchange w, any r] */
	struct rte_mbuf *spare[SPARE_MBUFS];
	struct outbox outbox[LIMIT_WORKERS];
	struct dp_drops drops; /* [host exchange w, any r] */
	uint8_t frame[HOSTIF_FRAME_BYTES];
};

static void *host_exchange_main(void *arg);
static void execute(struct host_exchange *hx, struct command *command);
static void rebuild_poll_set(struct host_exchange *hx);
static void wait_for_work(struct host_exchange *hx);
static void hear(struct host_exchange *hx);
static enum progress read_ready(struct host_exchange *hx);
static enum progress drain_rings(struct host_exchange *hx);
static void choose_step(struct host_exchange *hx, enum progress progress);
static unsigned drain_ring(struct host_exchange *hx, unsigned index);

/* One writer, any reader. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* --- For control --- */

int host_exchange_start(struct dp *dp, struct rte_mempool *pool, struct host_exchange **out)
{
	struct host_exchange *hx = calloc(1, sizeof(*hx));

	if (hx == NULL)
		return -ENOMEM;
	hx->dp = dp;
	hx->pool = pool;
	hx->step_ns = STEP_MIN_NS;
	hx->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int err = hx->wake_fd < 0 ? -errno : 0;
	if (err == 0) {
		rebuild_poll_set(hx);
		err = rte_ctrl_thread_create(
			&hx->thread, "dpdk-wg-host", NULL, host_exchange_main, hx);
		err = err > 0 ? -err : err;
		if (err != 0)
			close(hx->wake_fd);
	}
	if (err != 0) {
		free(hx);
		return err;
	}
	*out = hx;
	return 0;
}

/* Hands a command to the thread and waits until it is done: at most the round under way. */
static void command(struct host_exchange *hx, struct command *command)
{
	sem_init(&command->done, 0, 0);
	atomic_store_explicit(&hx->command, command, memory_order_release);
	(void)eventfd_write(hx->wake_fd, 1);
	while (sem_wait(&command->done) < 0 && errno == EINTR)
		;
	sem_destroy(&command->done);
}

void host_exchange_stop(struct host_exchange *hx)
{
	struct command stop = {.kind = STOP};

	command(hx, &stop);
	pthread_join(hx->thread, NULL);
	close(hx->wake_fd);
	free(hx);
}

void host_exchange_attach_netdev(
	struct host_exchange *hx, unsigned netdev, const struct hostif *hostif)
{
	assert(netdev < DP_NETDEVS);
	command(hx, &(struct command){.kind = ATTACH_NETDEV, .index = netdev, .hostif = hostif});
}

void host_exchange_detach_netdev(struct host_exchange *hx, unsigned netdev)
{
	assert(netdev < DP_NETDEVS);
	command(hx, &(struct command){.kind = DETACH_NETDEV, .index = netdev});
}

void host_exchange_attach_socket(
	struct host_exchange *hx, unsigned interface, const struct udp_socket *socket)
{
	assert(interface < LIMIT_INTERFACES);
	command(hx, &(struct command){.kind = ATTACH_SOCKET, .index = interface, .socket = socket});
}

void host_exchange_detach_socket(struct host_exchange *hx, unsigned interface)
{
	assert(interface < LIMIT_INTERFACES);
	command(hx, &(struct command){.kind = DETACH_SOCKET, .index = interface});
}

void host_exchange_counters(
	const struct host_exchange *hx, unsigned netdev, struct host_counters *out)
{
	const struct host_counters *c = &hx->netdevs[netdev].counters;

#define LOAD_COUNTER(field, text) out->field = __atomic_load_n(&c->field, __ATOMIC_RELAXED);
	HOST_COUNTERS(LOAD_COUNTER)
#undef LOAD_COUNTER
}

const struct dp_drops *host_exchange_drops(const struct host_exchange *hx)
{
	return &hx->drops;
}

unsigned host_exchange_spare_mbufs(const struct host_exchange *hx)
{
	return __atomic_load_n(&hx->spare_count, __ATOMIC_RELAXED);
}

/* --- The thread --- */

static void *host_exchange_main(void *arg)
{
	struct host_exchange *hx = arg;

	/* The default slack of 50 us would more than double the shortest step. */
	(void)prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
	while (!hx->stopping) {
		wait_for_work(hx);
		hear(hx);
		struct command *command = atomic_load_explicit(&hx->command, memory_order_acquire);
		if (command != NULL) {
			execute(hx, command);
			continue; /* what poll said may be of descriptors that are gone */
		}
		enum progress progress = read_ready(hx);
		progress |= drain_rings(hx);
		choose_step(hx, progress);
	}
	return NULL;
}

/* Not at all while there is more; shortly after anything happened; longer and longer then. */
static void choose_step(struct host_exchange *hx, enum progress progress)
{
	if (progress & PROGRESS_MORE)
		hx->step_ns = 0;
	else if (progress != PROGRESS_NONE || hx->pressed)
		hx->step_ns = STEP_MIN_NS;
	else
		hx->step_ns = RTE_MIN(
			RTE_MAX(hx->step_ns + hx->step_ns / STEP_GROWTH, STEP_MIN_NS), STEP_MAX_NS);
}

/* Sleeps until a descriptor is ready or the step is over. */
static void wait_for_work(struct host_exchange *hx)
{
	struct timespec step = {.tv_nsec = (long)hx->step_ns};
	/* Full rings: what waits in the kernel must not keep us awake. */
	unsigned n = hx->pressed ? 1 : hx->polled_count;

	if (ppoll(hx->fds, n, &step, NULL) <= 0)
		for (unsigned i = 0; i < n; i++)
			hx->fds[i].revents = 0;
	for (unsigned i = n; i < hx->polled_count; i++)
		hx->fds[i].revents = 0;
}

/*
 * Ahead of the look for the command: that may be done before control wakes us for it, and a wake-up
 * that is left to the next one would let us sleep no more until then.
 */
static void hear(struct host_exchange *hx)
{
	eventfd_t ignored;

	if (hx->fds[0].revents != 0)
		(void)eventfd_read(hx->wake_fd, &ignored);
}

static void free_ring(struct rte_ring *ring)
{
	void *m;

	while (ring != NULL && rte_ring_dequeue(ring, &m) == 0)
		rte_pktmbuf_free(m);
}

static void stop(struct host_exchange *hx)
{
	for (unsigned i = 0; i < DP_NETDEVS; i++)
		free_ring(hx->dp->host_ring[i]);
	rte_pktmbuf_free_bulk(hx->spare, hx->spare_count);
	hx->stopping = true;
}

static void execute(struct host_exchange *hx, struct command *command)
{
	struct netdev *netdev = &hx->netdevs[command->index];

	switch (command->kind) {
	case ATTACH_NETDEV:
		netdev->hostif = *command->hostif;
		netdev->attached = true;
		netdev->lost = false;
		break;
	case DETACH_NETDEV:
		netdev->attached = false;
		break;
	case ATTACH_SOCKET:
		hx->sockets[command->index] = *command->socket;
		hx->socket_attached[command->index] = true;
		break;
	case DETACH_SOCKET:
		hx->socket_attached[command->index] = false;
		break;
	case STOP:
		stop(hx);
		break;
	}
	rebuild_poll_set(hx);
	atomic_store_explicit(&hx->command, NULL, memory_order_relaxed);
	sem_post(&command->done);
}

static void poll_too(struct host_exchange *hx, int fd, struct polled polled)
{
	if (fd < 0)
		return;
	hx->fds[hx->polled_count] = (struct pollfd){.fd = fd, .events = POLLIN};
	hx->polled[hx->polled_count++] = polled;
}

static void rebuild_poll_set(struct host_exchange *hx)
{
	hx->polled_count = 0;
	poll_too(hx, hx->wake_fd, (struct polled){.what = POLLED_WAKE});
	for (unsigned i = 0; i < DP_NETDEVS; i++)
		if (hx->netdevs[i].attached && !hx->netdevs[i].lost &&
			hx->netdevs[i].hostif.kind != HOSTIF_CAPTURE)
			poll_too(hx, hx->netdevs[i].hostif.fd, (struct polled){POLLED_NETDEV, i});
	for (unsigned i = 0; i < LIMIT_INTERFACES; i++) {
		if (!hx->socket_attached[i])
			continue;
		poll_too(hx, hx->sockets[i].fd_ipv4, (struct polled){POLLED_IPV4, i});
		poll_too(hx, hx->sockets[i].fd_ipv6, (struct polled){POLLED_IPV6, i});
	}
}

/* --- From the kernel --- */

static bool read_netdev(struct host_exchange *hx, unsigned index);
static bool receive_socket(struct host_exchange *hx, unsigned interface, enum ip_family family);
static void flush_outboxes(struct host_exchange *hx);

/* Reads what poll found. */
static enum progress read_ready(struct host_exchange *hx)
{
	bool any = false, more = false, lost = false;

	hx->pressed = false;
	for (unsigned i = 0; i < hx->polled_count; i++) {
		struct polled *p = &hx->polled[i];
		if (hx->fds[i].revents == 0 || p->what == POLLED_WAKE)
			continue;
		any = true;
		if (p->what == POLLED_NETDEV) {
			more |= read_netdev(hx, p->index);
			lost |= hx->netdevs[p->index].lost;
		} else {
			more |= receive_socket(
				hx, p->index, p->what == POLLED_IPV4 ? IP_V4 : IP_V6);
		}
	}
	flush_outboxes(hx);
	if (lost)
		rebuild_poll_set(hx);
	if (more && !hx->pressed)
		return PROGRESS_MORE;
	return any ? PROGRESS_SOME : PROGRESS_NONE;
}

/* Every worker's ring takes what one read may bring: else the kernel keeps its packets. */
static bool workers_have_room(const struct host_exchange *hx)
{
	for (unsigned i = 0; i < hx->dp->workers; i++)
		if (rte_ring_free_count(hx->dp->in_ring[i]) < 2 * CUT_BURST)
			return false;
	return true;
}

static void flush_outbox(struct host_exchange *hx, unsigned worker)
{
	struct outbox *out = &hx->outbox[worker];

	if (out->n > 0)
		dp_pass(hx->dp->in_ring[worker], out->mbufs, out->n, &hx->drops,
			DP_DROP_WORKER_FULL);
	out->n = 0;
}

static void flush_outboxes(struct host_exchange *hx)
{
	for (unsigned i = 0; i < hx->dp->workers; i++)
		flush_outbox(hx, i);
}

/* The same flow goes to the same worker. */
static unsigned worker_of_flow(const struct host_exchange *hx, uint32_t flow)
{
	return (unsigned)(((uint64_t)flow * hx->dp->workers) >> 32);
}

/* Makes sure that n buffers are at hand. */
static bool have_spare(struct host_exchange *hx, unsigned n)
{
	if (hx->spare_count >= n)
		return true;
	/* The stack is full from below; what is taken goes from the top. */
	unsigned wanted = SPARE_MBUFS - hx->spare_count;
	if (rte_pktmbuf_alloc_bulk(hx->pool, hx->spare + hx->spare_count, wanted) == 0)
		hx->spare_count += wanted;
	else if (rte_pktmbuf_alloc_bulk(
			 hx->pool, hx->spare + hx->spare_count, n - hx->spare_count) == 0)
		hx->spare_count = n;
	return hx->spare_count >= n;
}

/* The next n packets of a frame, to the worker. */
static void cut(struct host_exchange *hx, struct segmenter *s, unsigned n, struct dp_mbuf meta)
{
	unsigned worker = worker_of_flow(hx, s->flow);
	struct outbox *out = &hx->outbox[worker];

	if (out->n + n > RTE_DIM(out->mbufs))
		flush_outbox(hx, worker);
	hx->spare_count -= n;
	segment_next(s, hx->spare + hx->spare_count, n);
	for (unsigned i = 0; i < n; i++)
		*dp_mbuf(hx->spare[hx->spare_count + i]) = meta;
	memcpy(out->mbufs + out->n, hx->spare + hx->spare_count, n * sizeof(out->mbufs[0]));
	out->n += n;
}

static void deliver_frame(struct host_exchange *hx, unsigned index,
	const struct virtio_net_hdr_v1 *vnet, uint32_t len, struct dp_mbuf meta)
{
	struct netdev *netdev = &hx->netdevs[index];
	struct segmenter s;

	count(&netdev->counters.rx_frames, 1);
	count(&netdev->counters.rx_bytes, len);
	if (!segment_begin(&s, vnet, hx->frame, len, netdev->hostif.kind == HOSTIF_TAP)) {
		count(&netdev->counters.rx_malformed, 1);
		dp_drop_count(&hx->drops, 1, DP_DROP_TUN_MALFORMED);
		return;
	}
	uint32_t room = rte_pktmbuf_data_room_size(hx->pool) - RTE_PKTMBUF_HEADROOM;
	if (segment_max_bytes(&s) + DP_SEAL_TAILROOM > room) {
		count(&netdev->counters.rx_no_room, s.packets);
		dp_drop_count(&hx->drops, s.packets, DP_DROP_NO_ROOM);
		return;
	}
	while (s.made < s.packets) {
		unsigned n = RTE_MIN(s.packets - s.made, (uint32_t)CUT_BURST);
		if (!have_spare(hx, n)) {
			count(&netdev->counters.rx_no_mbuf, s.packets - s.made);
			dp_drop_count(&hx->drops, s.packets - s.made, DP_DROP_NO_MBUF);
			break;
		}
		cut(hx, &s, n, meta);
	}
	count(&netdev->counters.rx_packets, s.made);
}

/* True: there may be more to read. */
static bool read_netdev(struct host_exchange *hx, unsigned index)
{
	struct netdev *netdev = &hx->netdevs[index];
	bool tap = index < LIMIT_PORTS;
	struct dp_mbuf meta = {
		.kind = tap ? DP_TRANSMIT : DP_ROUTE,
		.port = tap ? (uint8_t)index : DP_PORT_NONE,
		.interface = tap ? 0 : (uint8_t)(index - LIMIT_PORTS),
	};

	for (unsigned i = 0; i < ROUND_READS; i++) {
		struct virtio_net_hdr_v1 vnet;
		if (!workers_have_room(hx)) {
			hx->pressed = true;
			return true;
		}
		ssize_t len = hostif_read(&netdev->hostif, &vnet, hx->frame);
		if (len == -EAGAIN || len == -EINTR)
			return false;
		if (len == -EBADFD || len == -EBADF) {
			/* The interface was deleted: control hears of that, too. */
			netdev->lost = true;
			return false;
		}
		if (len < 0) {
			/* Too long, or a packet that the kernel has no virtio-net header for. */
			count(&netdev->counters.rx_malformed, 1);
			dp_drop_count(&hx->drops, 1, DP_DROP_TUN_MALFORMED);
			continue;
		}
		deliver_frame(hx, index, &vnet, (uint32_t)len, meta);
	}
	return true;
}

static bool receive_socket(struct host_exchange *hx, unsigned interface, enum ip_family family)
{
	struct host_counters *counters = &hx->netdevs[dp_netdev_of_interface(interface)].counters;
	bool more = true;

	for (unsigned i = 0; i < ROUND_RECEIVES && more; i++) {
		struct rte_mbuf *mbufs[UDP_SOCKET_BURST];
		if (!workers_have_room(hx)) {
			hx->pressed = true;
			return true;
		}
		unsigned n = udp_socket_receive(
			&hx->sockets[interface], family, hx->pool, mbufs, &hx->drops, &more);
		/* It was ready and gave nothing: no buffers, most likely. */
		if (n == 0 && i == 0)
			hx->pressed = true;
		for (unsigned k = 0; k < n; k++) {
			dp_mbuf(mbufs[k])->interface = (uint8_t)interface;
			unsigned worker = worker_of_flow(
				hx, segment_flow(rte_pktmbuf_mtod(mbufs[k], uint8_t *),
					    mbufs[k]->data_len, true));
			struct outbox *out = &hx->outbox[worker];
			if (out->n == RTE_DIM(out->mbufs))
				flush_outbox(hx, worker);
			out->mbufs[out->n++] = mbufs[k];
		}
		count(&counters->socket_rx_packets, n);
	}
	return more;
}

/* --- To the kernel --- */

static enum progress drain_rings(struct host_exchange *hx)
{
	enum progress progress = PROGRESS_NONE;

	for (unsigned i = 0; i < DP_NETDEVS; i++) {
		unsigned n = COALESCE_BURST;
		if (hx->dp->host_ring[i] == NULL || rte_ring_empty(hx->dp->host_ring[i]))
			continue;
		for (unsigned k = 0; k < ROUND_BURSTS && n == COALESCE_BURST; k++)
			n = drain_ring(hx, i);
		progress |= n == COALESCE_BURST ? PROGRESS_MORE : PROGRESS_SOME;
	}
	return progress;
}

static bool is_listen_port(const struct host_exchange *hx, uint16_t port)
{
	for (unsigned i = 0; i < LIMIT_INTERFACES; i++)
		if (hx->socket_attached[i] && hx->sockets[i].port == port)
			return true;
	return false;
}

/*
 * The kernel, which has just taken the frame in, tells nobody that it knows a smaller path MTU now
 * for what workers send by themselves.
 */
static void pass_on_too_big(struct host_exchange *hx, const struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	struct dp_too_big too_big;
	uint16_t port;

	if (m->data_len > ETHER_HEADER_BYTES &&
		icmp6_says_too_big(frame + ETHER_HEADER_BYTES, m->data_len - ETHER_HEADER_BYTES,
			&too_big.destination, &port) &&
		is_listen_port(hx, port))
		(void)rte_ring_enqueue_elem(hx->dp->too_big_ring, &too_big, sizeof(too_big));
}

/* Writes a frame; m is freed by the caller. */
static void write_frame(struct host_exchange *hx, struct netdev *netdev,
	const struct virtio_net_hdr_v1 *vnet, struct rte_mbuf *m, unsigned packets)
{
	int err = hostif_write(&netdev->hostif, vnet, m);

	if (err == 0) {
		count(&netdev->counters.tx_frames, 1);
		count(&netdev->counters.tx_packets, packets);
		count(&netdev->counters.tx_bytes, m->pkt_len);
		if (netdev->hostif.kind == HOSTIF_TAP && packets == 1)
			pass_on_too_big(hx, m);
		return;
	}
	count(err == -EIO ? &netdev->counters.tx_down : &netdev->counters.tx_refused, packets);
	dp_drop_count(&hx->drops, packets,
		netdev->hostif.kind == HOSTIF_CAPTURE ? DP_DROP_CAPTURE : DP_DROP_HOST_WRITE);
}

static void write_packets(
	struct host_exchange *hx, struct netdev *netdev, struct rte_mbuf **mbufs, unsigned n)
{
	struct virtio_net_hdr_v1 vnet[COALESCE_BURST];

	/* What was captured is shown as it was on the wire. */
	if (netdev->hostif.kind == HOSTIF_CAPTURE)
		memset(vnet, 0, sizeof(vnet));
	else
		n = coalesce(mbufs, n, netdev->hostif.kind == HOSTIF_TAP, vnet);
	for (unsigned i = 0; i < n; i++)
		write_frame(hx, netdev, &vnet[i], mbufs[i],
			vnet[i].gso_size == 0 ? 1 : mbufs[i]->nb_segs);
	rte_pktmbuf_free_bulk(mbufs, n);
}

static void send_datagrams(
	struct host_exchange *hx, unsigned interface, struct rte_mbuf **mbufs, unsigned n)
{
	struct host_counters *counters = &hx->netdevs[dp_netdev_of_interface(interface)].counters;

	if (hx->socket_attached[interface])
		count(&counters->socket_tx_packets,
			udp_socket_send_frames(&hx->sockets[interface], mbufs, n, &hx->drops));
	else
		dp_drop(&hx->drops, mbufs, n, DP_DROP_INTERFACE_GONE);
}

/* Takes a burst from a ring and does with it what its kinds say. Returns how many there were. */
static unsigned drain_ring(struct host_exchange *hx, unsigned index)
{
	struct rte_mbuf *mbufs[COALESCE_BURST], *to_socket[COALESCE_BURST];
	struct netdev *netdev = &hx->netdevs[index];
	unsigned n = rte_ring_dequeue_burst(
		hx->dp->host_ring[index], (void **)mbufs, COALESCE_BURST, NULL);
	unsigned to_netdev = 0, to_sockets = 0;

	for (unsigned i = 0; i < n; i++) {
		if (dp_mbuf(mbufs[i])->kind == DP_HOST_SOCKET)
			to_socket[to_sockets++] = mbufs[i];
		else
			mbufs[to_netdev++] = mbufs[i];
	}
	if (to_sockets > 0) {
		assert(index >= LIMIT_PORTS);
		send_datagrams(hx, index - LIMIT_PORTS, to_socket, to_sockets);
	}
	if (to_netdev == 0)
		return n;
	if (!netdev->attached)
		dp_drop(&hx->drops, mbufs, to_netdev, DP_DROP_INTERFACE_GONE);
	else
		write_packets(hx, netdev, mbufs, to_netdev);
	return n;
}
