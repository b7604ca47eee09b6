/* SPDX-License-Identifier: BSD-3-Clause */
#include "port.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "log.h"
#include "port_shared.h"

#define PCI_DEVICES "/sys/bus/pci/devices"

#define RX_DESCRIPTORS 1024
#define TX_DESCRIPTORS 1024

/* Spread by addresses and ports; what a port does not know of it is left out. */
#define RSS_WANTED (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP)

/* IPv4's header is cheap to sum and virtual NICs leave it to their driver: it is always ours. */
#define TX_CHECKSUMS RTE_ETH_TX_OFFLOAD_UDP_CKSUM

static void list_ports(char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (uint16_t id = 0; id < RTE_MAX_ETHPORTS; id++) {
		char name[RTE_ETH_NAME_MAX_LEN];
		if (!rte_eth_dev_is_valid_port(id) || rte_eth_dev_get_name_by_port(id, name) != 0)
			continue;
		int n = snprintf(
			buf + used, size - used, "%s%s (port %u)", used ? ", " : "", name, id);
		if (n < 0 || (size_t)n >= size - used)
			return;
		used += (size_t)n;
	}
}

/* The driver that the kernel has for a PCI device; "" if none. */
static void pci_driver(const char *device, char *driver, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver", device);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	const char *slash = strrchr(target, '/');
	snprintf(driver, size, "%s", slash ? slash + 1 : "");
}

static bool is_for_user_space(const char *driver)
{
	return strcmp(driver, "vfio-pci") == 0 || strcmp(driver, "uio_pci_generic") == 0 ||
	       strcmp(driver, "igb_uio") == 0;
}

/* One line on a PCI device that is no port, if the kernel knows it; false: it does not. */
static bool explain_pci(const char *device)
{
	char path[PATH_MAX], driver[64];

	if (strchr(device, '/') || strchr(device, ':') == NULL)
		return false;
	snprintf(path, sizeof(path), PCI_DEVICES "/%s", device);
	if (access(path, F_OK) != 0)
		return false;
	pci_driver(device, driver, sizeof(driver));
	if (!is_for_user_space(driver))
		log_error("port \"%s\": this NIC is bound to %s%s: dpdk-devbind.py "
			  "--bind=vfio-pci %s",
			device, driver[0] ? "the kernel's " : "no driver", driver, device);
	else
		log_error("port \"%s\": bound to %s, and yet no port of DPDK's: allow it with "
			  "-a %s; if EAL's lines above name it, they say why (without an IOMMU "
			  "it needs hugepages)",
			device, driver, device);
	return true;
}

int port_find(const char *device, uint16_t *id)
{
	char *end;
	unsigned long number = strtoul(device, &end, 10);

	if (rte_eth_dev_get_port_by_name(device, id) == 0)
		return 0;
	if (device[0] != '\0' && *end == '\0' && number < RTE_MAX_ETHPORTS &&
		rte_eth_dev_is_valid_port((uint16_t)number)) {
		*id = (uint16_t)number;
		return 0;
	}

	char known[512];
	list_ports(known, sizeof(known));
	if (explain_pci(device))
		return -ENODEV;
	if (known[0] == '\0')
		log_error("port \"%s\" not found: DPDK sees no port at all; bind a NIC with "
			  "dpdk-devbind.py and allow it with -a, or give a --vdev; if the lines "
			  "above name it, they say why",
			device);
	else
		log_error("port \"%s\" not found; DPDK sees: %s", device, known);
	return -ENODEV;
}

uint32_t port_max_frame(const struct port *ports, unsigned count)
{
	uint32_t most = RTE_ETHER_MTU;

	for (unsigned i = 0; i < count; i++) {
		uint16_t mtu;
		most = RTE_MAX(most, ports[i].mtu);
		if (rte_eth_dev_get_mtu(ports[i].id, &mtu) == 0 && mtu > most)
			most = mtu;
	}
	return most + RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN;
}

static int set_up_queues(
	const struct port *port, const struct rte_eth_dev_info *info, struct rte_mempool *pool)
{
	uint16_t rx_descriptors = RX_DESCRIPTORS, tx_descriptors = TX_DESCRIPTORS;
	int socket = rte_eth_dev_socket_id(port->id);
	int err = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx_descriptors, &tx_descriptors);

	if (err)
		return err;
	struct rte_eth_rxconf rxconf = info->default_rxconf;
	struct rte_eth_txconf txconf = info->default_txconf;
	if (port->checksum_offload)
		txconf.offloads |= TX_CHECKSUMS;
	for (uint16_t q = 0; q < port->rx_queues && !err; q++)
		err = rte_eth_rx_queue_setup(
			port->id, q, rx_descriptors, (unsigned)socket, &rxconf, pool);
	for (uint16_t q = 0; q < port->tx_queues && !err; q++)
		err = rte_eth_tx_queue_setup(
			port->id, q, tx_descriptors, (unsigned)socket, &txconf);
	return err;
}

static int failed(const struct port *port, const char *step, int err)
{
	log_error("port %s: %s: %s", port->device, step, strerror(-err));
	return err;
}

/* The largest MTU that it takes: some drivers say so, others tell only the longest frame. */
static uint32_t largest_mtu(const struct rte_eth_dev_info *info)
{
	uint32_t frame = RTE_MAX(info->max_rx_pktlen, (uint32_t)RTE_ETHER_MAX_LEN);
	uint32_t by_frame = frame - RTE_ETHER_HDR_LEN - RTE_ETHER_CRC_LEN;

	return info->max_mtu == 0 ? by_frame : RTE_MIN(by_frame, (uint32_t)info->max_mtu);
}

static int configure_queues(struct port *port, const struct rte_eth_dev_info *info, unsigned queues)
{
	struct rte_eth_conf conf = {.rxmode.mtu = port->mtu};
	uint64_t rss = RSS_WANTED & info->flow_type_rss_offloads;

	port->rx_queues = (uint16_t)RTE_MIN(queues, (unsigned)info->max_rx_queues);
	port->tx_queues = (uint16_t)RTE_MIN(queues, (unsigned)info->max_tx_queues);
	if (port->rx_queues > 1 && rss != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = rss;
	}
	if (port->checksum_offload)
		conf.txmode.offloads |= TX_CHECKSUMS;
	/* Drivers are slower with it. */
	if (port_max_frame(port, 1) > port->room)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER & info->rx_offload_capa;
	return rte_eth_dev_configure(port->id, port->rx_queues, port->tx_queues, &conf);
}

/*
 * net_e1000_em offers two queues of devices that have one; what is sent on the other is lost
 * without a word. Some devices take only a power of two, and say so by refusing anything else.
 */
static int configure(struct port *port, const struct rte_eth_dev_info *info, unsigned workers)
{
	if (strcmp(info->driver_name, "net_e1000_em") == 0)
		workers = 1;
	int err = configure_queues(port, info, workers);

	while (err == -EINVAL && workers > 1) {
		workers = rte_align32prevpow2(workers - 1);
		err = configure_queues(port, info, workers);
	}
	return err;
}

/* Where the driver does not take the MTU from the configuration alone. */
static int tell_mtu(struct port *port)
{
	int err = port->mtu == 0 ? 0 : rte_eth_dev_set_mtu(port->id, port->mtu);

	return err == -ENOTSUP ? 0 : err;
}

static int check_capabilities(const struct port *port, const struct rte_eth_dev_info *info)
{
	if (info->max_rx_queues == 0 || info->max_tx_queues == 0) {
		log_error("port %s: it cannot %s", port->device,
			info->max_rx_queues == 0 ? "receive" : "send");
		return -ENOTSUP;
	}
	if (port->mtu > largest_mtu(info)) {
		log_error("port %s: its MTU can be no more than %u: give a smaller --mtu than %u",
			port->device, largest_mtu(info), port->mtu);
		return -EINVAL;
	}
	return 0;
}

/*
 * Devices that get frames by all queues they were made with, whether somebody reads them or not:
 * the other end (the kernel, a guest) spreads them. Others are told how many are in use.
 */
static const struct {
	const char *driver, *argument;
} fixed_queues[] = {
	{"net_af_packet", "qpairs"},
	{"net_af_xdp", "queue_count"},
	{"net_pcap", "rx_iface"},
	{"net_vhost", "queues"},
};

static int check_queues(
	const struct port *port, const struct rte_eth_dev_info *info, unsigned workers)
{
	for (size_t i = 0; i < RTE_DIM(fixed_queues); i++) {
		if (strcmp(info->driver_name, fixed_queues[i].driver) != 0 ||
			info->max_rx_queues <= workers)
			continue;
		log_error("port %s: it receives by %u queues, and there are workers for %u: what "
			  "comes by the others would be lost; give it %u (%s), or EAL more lcores",
			port->device, info->max_rx_queues, workers, workers,
			fixed_queues[i].argument);
		return -EINVAL;
	}
	return 0;
}

/* What the rest of the program wants to know of a started port. */
static int learn(struct port *port)
{
	int err = rte_eth_macaddr_get(port->id, &port->mac);

	if (err)
		return failed(port, "reading its MAC address failed", err);
	if (!rte_is_valid_assigned_ether_addr(&port->mac))
		return failed(port, "it has no MAC address of its own", -EADDRNOTAVAIL);
	if (rte_eth_dev_get_mtu(port->id, &port->mtu) != 0)
		port->mtu = RTE_ETHER_MTU;
	(void)port_link_changed(port);
	return 0;
}

/* What the host is to see; a port that cannot be told receives all the same. */
static void open_filters(const struct port *port, const struct rte_eth_dev_info *info)
{
	/* Needed for multicast (ND, routing protocols). */
	(void)rte_eth_allmulticast_enable(port->id);
	/* A virtio device lets no VLAN in that its driver did not name, once that could. */
	if (strcmp(info->driver_name, "net_virtio") == 0)
		(void)rte_eth_promiscuous_enable(port->id);
}

int port_start(struct port *port, unsigned workers, struct rte_mempool *pool)
{
	struct rte_eth_dev_info info;
	int err = rte_eth_dev_info_get(port->id, &info);

	if (err)
		return failed(port, "reading its capabilities failed", err);
	err = check_capabilities(port, &info);
	if (!err)
		err = check_queues(port, &info, workers);
	if (err)
		return err;
	port->room = (uint16_t)(rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM);
	port->checksum_offload = (info.tx_offload_capa & TX_CHECKSUMS) == TX_CHECKSUMS;
	/* LACP's: without them no switch sends to a bond, which then may never have to answer. */
	port->wants_turns = strcmp(info.driver_name, "net_bonding") == 0;
	err = configure(port, &info, workers);
	if (err)
		return failed(port, "configuring failed", err);
	port->open = true;
	err = tell_mtu(port);
	if (err)
		return failed(port, "setting its MTU failed", err);
	err = set_up_queues(port, &info, pool);
	if (err)
		return failed(port, "setting up its queues failed", err);
	err = rte_eth_dev_start(port->id);
	if (err)
		return failed(port, "starting failed", err);
	open_filters(port, &info);
	port_shared_check(port);
	return learn(port);
}

/*
 * Asked, not told by an interrupt: that needs a driver, a bus and a device that agree on its
 * vector, and where they do not (e1000e on vfio-pci) the link would stay as it was at the start.
 */
bool port_link_changed(struct port *port)
{
	struct rte_eth_link link;
	bool before = port->link_up;

	if (rte_eth_link_get_nowait(port->id, &link) == 0)
		port->link_up = link.link_status == RTE_ETH_LINK_UP;
	return port->link_up != before;
}

void port_stop(struct port *port)
{
	if (!port->open)
		return;
	(void)rte_eth_dev_stop(port->id);
	(void)rte_eth_dev_close(port->id);
	port->open = false;
}
