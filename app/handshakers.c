/* SPDX-License-Identifier: BSD-3-Clause */
#include "handshakers.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "base/limits.h"
#include "wg/device.h"

struct item {
	struct wg_work *work;
	void *owner;
};

/* One of the lcores. */
struct handshaker {
	struct handshakers *all;
	unsigned lcore_id;	   /* [const before it runs] EAL's */
	_Atomic uint64_t computed; /* [that lcore w, control r] */
};

/*
 * No more items than the size of the rings are under way: done is never full. But todo is, while an
 * lcore is put aside as it takes an item and others take all that come behind.
 */
struct handshakers {
	struct rte_ring *todo, *done; /* of struct item; control to the lcores, and back */
	sem_t waiting;		      /* items in todo */
	int fd;
	unsigned count;
	struct handshaker lcores[LIMIT_HANDSHAKE_LCORES];
	unsigned pending, asked_for; /* control's; asked_for: of those pending */
	/* Counted before each enters its ring: the rings order memory in a way that sanitizers do
	 * not see. */
	_Atomic unsigned submitted, computed;
	_Atomic bool quit;
};

static struct rte_ring *make_ring(const char *name, unsigned flags)
{
	struct rte_ring *ring = rte_ring_create_elem(name, sizeof(struct item),
		LIMIT_HANDSHAKE_WORKS, SOCKET_ID_ANY, RING_F_EXACT_SZ | flags);

	/* How far others may be ahead of one that is put aside; by default they would wait. */
	if (ring) {
		rte_ring_set_prod_htd_max(ring, LIMIT_HANDSHAKE_WORKS);
		rte_ring_set_cons_htd_max(ring, LIMIT_HANDSHAKE_WORKS);
	}
	return ring;
}

int handshakers_create(unsigned count, struct handshakers **out)
{
	struct handshakers *made = calloc(1, sizeof(*made));

	if (!made)
		return -ENOMEM;
	sem_init(&made->waiting, 0, 0);
	made->count = count;
	made->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	made->todo = make_ring("wg_todo", RING_F_SP_ENQ | RING_F_MC_RTS_DEQ);
	made->done = make_ring("wg_done", RING_F_MP_RTS_ENQ | RING_F_SC_DEQ);
	if (made->fd < 0 || !made->todo || !made->done) {
		int err = made->fd < 0 ? -errno : -ENOMEM;
		handshakers_destroy(made);
		return err;
	}
	*out = made;
	return 0;
}

void handshakers_destroy(struct handshakers *handshakers)
{
	if (!handshakers)
		return;
	rte_ring_free(handshakers->todo);
	rte_ring_free(handshakers->done);
	if (handshakers->fd >= 0)
		close(handshakers->fd);
	sem_destroy(&handshakers->waiting);
	free(handshakers);
}

struct handshaker *handshakers_lcore(struct handshakers *handshakers, unsigned i, unsigned lcore_id)
{
	struct handshaker *lcore = &handshakers->lcores[i];

	lcore->all = handshakers;
	lcore->lcore_id = lcore_id;
	return lcore;
}

/* --- On the lcores --- */

int handshakers_run(void *arg)
{
	struct handshaker *self = arg;
	struct handshakers *handshakers = self->all;
	struct item item;

	for (;;) {
		while (sem_wait(&handshakers->waiting) != 0)
			continue; /* a signal */
		if (atomic_load(&handshakers->quit))
			return 0;
		if (rte_ring_dequeue_elem(handshakers->todo, &item, sizeof(item)) != 0)
			continue;
		(void)atomic_load_explicit(&handshakers->submitted, memory_order_acquire);
		wg_work_compute(item.work);
		atomic_fetch_add_explicit(&self->computed, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&handshakers->computed, 1, memory_order_release);
		rte_ring_enqueue_elem(handshakers->done, &item, sizeof(item));
		(void)eventfd_write(handshakers->fd, 1);
	}
}

/* --- On control --- */

void handshakers_end(struct handshakers *handshakers)
{
	atomic_store(&handshakers->quit, true);
	for (unsigned i = 0; i < handshakers->count; i++)
		sem_post(&handshakers->waiting);
}

bool handshakers_submit(struct handshakers *handshakers, struct wg_work *work, void *owner)
{
	struct item item = {work, owner};

	if (handshakers->pending == LIMIT_HANDSHAKE_WORKS)
		return false;
	atomic_fetch_add_explicit(&handshakers->submitted, 1, memory_order_release);
	if (rte_ring_enqueue_elem(handshakers->todo, &item, sizeof(item)) != 0)
		return false;
	handshakers->pending++;
	handshakers->asked_for += wg_work_was_asked_for(work);
	sem_post(&handshakers->waiting);
	return true;
}

static bool take(
	struct handshakers *handshakers, struct rte_ring *ring, struct wg_work **work, void **owner)
{
	struct item item;

	if (rte_ring_dequeue_elem(ring, &item, sizeof(item)) != 0)
		return false;
	(void)atomic_load_explicit(&handshakers->computed, memory_order_acquire);
	handshakers->pending--;
	handshakers->asked_for -= wg_work_was_asked_for(item.work);
	*work = item.work;
	*owner = item.owner;
	return true;
}

void handshakers_hear(struct handshakers *handshakers)
{
	eventfd_t ignored;

	(void)eventfd_read(handshakers->fd, &ignored);
}

bool handshakers_take(struct handshakers *handshakers, struct wg_work **work, void **owner)
{
	return take(handshakers, handshakers->done, work, owner);
}

bool handshakers_take_undone(struct handshakers *handshakers, struct wg_work **work, void **owner)
{
	return take(handshakers, handshakers->done, work, owner) ||
	       take(handshakers, handshakers->todo, work, owner);
}

unsigned handshakers_pending(const struct handshakers *handshakers)
{
	return handshakers->pending;
}

unsigned handshakers_asked_for(const struct handshakers *handshakers)
{
	return handshakers->asked_for;
}

unsigned handshakers_count(const struct handshakers *handshakers)
{
	return handshakers->count;
}

uint64_t handshakers_computed(const struct handshakers *handshakers, unsigned i, unsigned *lcore_id)
{
	*lcore_id = handshakers->lcores[i].lcore_id;
	return atomic_load_explicit(&handshakers->lcores[i].computed, memory_order_relaxed);
}

int handshakers_fd(const struct handshakers *handshakers)
{
	return handshakers->fd;
}
