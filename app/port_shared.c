/* SPDX-License-Identifier: BSD-3-Clause */
#include "port_shared.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_ethdev.h>

#include "log.h"
#include "port.h"

/* A number under /proc/sys/net; otherwise, where there is none. */
static int setting(const char *family, const char *device, const char *name, int otherwise)
{
	char path[128];
	int value;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, device, name);
	FILE *file = fopen(path, "re");
	if (!file)
		return otherwise;
	if (fscanf(file, "%d", &value) != 1)
		value = otherwise;
	fclose(file);
	return value;
}

static bool answers_arp(const char *device)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {0};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", device);
	bool known = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &req) == 0;
	if (fd >= 0)
		close(fd);
	return known && !(req.ifr_flags & IFF_NOARP);
}

/*
 * Strict filtering (1) drops what the device's routes do not lead back to: all, since it has none.
 * The larger of the device's own number and that of all counts, and 2 is loose. Writes what is to
 * be set.
 */
static void filter_ipv4(const char *device, char *todo, size_t size)
{
	int all = setting("ipv4", "all", "rp_filter", 1);
	int own = setting("ipv4", device, "rp_filter", 1);

	if ((all > own ? all : own) == 1)
		return;
	snprintf(todo, size, "%s", all > 1 ? "; sysctl -w net/ipv4/conf/all/rp_filter=0" : "");
	if (own != 1)
		snprintf(todo + strlen(todo), size - strlen(todo),
			"; sysctl -w net/ipv4/conf/%s/rp_filter=1", device);
}

static bool is_shared(const struct rte_eth_dev_info *info)
{
	return strcmp(info->driver_name, "net_af_packet") == 0 ||
	       strcmp(info->driver_name, "net_pcap") == 0;
}

void port_shared_check(const struct port *port)
{
	struct rte_eth_dev_info info;
	char device[IF_NAMESIZE], todo[256] = "";

	if (rte_eth_dev_info_get(port->id, &info) != 0 || !is_shared(&info) || info.if_index == 0 ||
		!if_indextoname(info.if_index, device))
		return;
	if (answers_arp(device))
		snprintf(todo, sizeof(todo), "; ip link set %s arp off", device);
	if (setting("ipv6", device, "disable_ipv6", 1) == 0)
		snprintf(todo + strlen(todo), sizeof(todo) - strlen(todo),
			"; sysctl -w net/ipv6/conf/%s/disable_ipv6=1", device);
	filter_ipv4(device, todo + strlen(todo), sizeof(todo) - strlen(todo));
	if (todo[0] != '\0')
		log_warning("port %s: the kernel has %s too, and will answer and forward a second "
			    "time: %s",
			port->device, device, todo + 2);
}
