/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostif.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include <rte_mbuf.h>

#include "coalesce.h"

/* Kernel headers before 6.2 do not know them; a kernel that does not refuses them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static int attach(struct hostif *hostif, const char *name);
static int configure(struct hostif *hostif, const uint8_t mac[6], uint16_t mtu);

int hostif_create(struct hostif *out, enum hostif_kind kind, const char *name, const uint8_t mac[6],
	uint16_t mtu)
{
	if (name[0] == '\0' || strlen(name) >= HOSTIF_NAME_BYTES)
		return -EINVAL;
	/* Attaching to a persistent TUN of somebody else's would succeed. */
	if (if_nametoindex(name) != 0)
		return -EEXIST;
	*out = (struct hostif){.kind = kind};
	out->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (out->fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	int err = attach(out, name);
	if (err == 0)
		err = configure(out, mac, mtu);
	if (err != 0)
		hostif_destroy(out);
	return err;
}

void hostif_destroy(struct hostif *hostif)
{
	close(hostif->fd);
	hostif->fd = -1;
}

static int attach(struct hostif *hostif, const char *name)
{
	int header = sizeof(struct virtio_net_hdr_v1);
	unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	struct ifreq req = {0};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	req.ifr_flags = (short)((hostif->kind == HOSTIF_TUN ? IFF_TUN : IFF_TAP) | IFF_NO_PI |
				IFF_VNET_HDR);
	if (ioctl(hostif->fd, TUNSETIFF, &req) < 0)
		return -errno;
	memcpy(hostif->name, req.ifr_name, sizeof(hostif->name));
	hostif->ifindex = if_nametoindex(hostif->name);
	if (ioctl(hostif->fd, TUNSETVNETHDRSZ, &header) < 0)
		return -errno;
	hostif->uso = ioctl(hostif->fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) == 0;
	if (!hostif->uso && ioctl(hostif->fd, TUNSETOFFLOAD, offloads) < 0)
		return -errno;
	return 0;
}

/* By the name that it has now: it may have been given another, and its own to something else. */
static int link_ioctl(const struct hostif *hostif, unsigned long request, struct ifreq *req)
{
	struct ifreq now = {0};

	if (ioctl(hostif->fd, TUNGETIFF, &now) < 0)
		return -errno;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	memcpy(req->ifr_name, now.ifr_name, sizeof(req->ifr_name));
	int err = ioctl(fd, request, req) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static int set_flags(const struct hostif *hostif, int flags)
{
	struct ifreq req = {0};
	int err = link_ioctl(hostif, SIOCGIFFLAGS, &req);

	if (err != 0)
		return err;
	req.ifr_flags = (short)(req.ifr_flags | flags);
	return link_ioctl(hostif, SIOCSIFFLAGS, &req);
}

/* Where that is refused or not there (no IPv6, no /proc) the kernel's default does no harm. */
static void set_conf(const char *family, const char *name, const char *key, char value)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, name, key);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, &value, 1) < 0) {
		/* As without it. */
	}
	close(fd);
}

/* No link-local address of the kernel's choice: nobody could route it (as WireGuard in Linux). */
static void forbid_link_local(const struct hostif *hostif)
{
	set_conf("ipv6", hostif->name, "addr_gen_mode", '1');
}

/*
 * A peer has no shorter way to another than by us, whatever the kernel makes of a packet that
 * leaves by the interface it came in by (as WireGuard in Linux). It may say so while either allows.
 */
static void forbid_redirects(const struct hostif *hostif)
{
	set_conf("ipv4", hostif->name, "send_redirects", '0');
	set_conf("ipv4", "all", "send_redirects", '0');
}

static int configure(struct hostif *hostif, const uint8_t mac[6], uint16_t mtu)
{
	if (mac != NULL) {
		struct ifreq req = {0};
		req.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(req.ifr_hwaddr.sa_data, mac, 6);
		int err = link_ioctl(hostif, SIOCSIFHWADDR, &req);
		if (err != 0)
			return err;
	}
	if (hostif->kind != HOSTIF_TAP)
		forbid_link_local(hostif);
	if (hostif->kind == HOSTIF_TUN)
		forbid_redirects(hostif);
	if (hostif->kind == HOSTIF_CAPTURE) {
		int err = set_flags(hostif, IFF_NOARP);
		if (err != 0)
			return err;
	}
	return hostif_set_mtu(hostif, mtu);
}

int hostif_set_mtu(const struct hostif *hostif, uint16_t mtu)
{
	struct ifreq req = {0};

	req.ifr_mtu = mtu;
	return link_ioctl(hostif, SIOCSIFMTU, &req);
}

int hostif_keep_mac(const struct hostif *hostif, const uint8_t mac[6])
{
	struct ifreq req = {0};
	int err = link_ioctl(hostif, SIOCGIFHWADDR, &req);

	if (err != 0 || memcmp(req.ifr_hwaddr.sa_data, mac, 6) == 0)
		return err;
	memcpy(req.ifr_hwaddr.sa_data, mac, 6);
	err = link_ioctl(hostif, SIOCSIFHWADDR, &req);
	return err != 0 ? err : 1;
}

bool hostif_is_up(const struct hostif *hostif)
{
	struct ifreq req = {0};

	return link_ioctl(hostif, SIOCGIFFLAGS, &req) == 0 && (req.ifr_flags & IFF_UP) != 0;
}

int hostif_set_carrier(const struct hostif *hostif, bool on)
{
	int carrier = on;

	return ioctl(hostif->fd, TUNSETCARRIER, &carrier) < 0 ? -errno : 0;
}

ssize_t hostif_read(const struct hostif *hostif, struct virtio_net_hdr_v1 *vnet, uint8_t *buf)
{
	/* One byte more than a frame may have: the kernel cuts off without a word. */
	uint8_t beyond;
	struct iovec iov[3] = {
		{.iov_base = vnet, .iov_len = sizeof(*vnet)},
		{.iov_base = buf, .iov_len = HOSTIF_FRAME_BYTES},
		{.iov_base = &beyond, .iov_len = 1},
	};
	ssize_t n = readv(hostif->fd, iov, 3);

	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(*vnet))
		return -EIO;
	n -= (ssize_t)sizeof(*vnet);
	return n > HOSTIF_FRAME_BYTES ? -EMSGSIZE : n;
}

int hostif_write(
	const struct hostif *hostif, const struct virtio_net_hdr_v1 *vnet, const struct rte_mbuf *m)
{
	struct iovec iov[1 + COALESCE_BURST];
	int n = 0;

	/* The kernel only reads. */
	iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)vnet, .iov_len = sizeof(*vnet)};
	for (; m != NULL; m = m->next) {
		if (n == (int)RTE_DIM(iov))
			return -EMSGSIZE;
		iov[n++] = (struct iovec){
			.iov_base = rte_pktmbuf_mtod(m, void *), .iov_len = m->data_len};
	}
	return writev(hostif->fd, iov, n) < 0 ? -errno : 0;
}
