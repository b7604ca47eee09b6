/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <sodium.h>

#include "uapi/conffile.h"
#include "uapi/keytext.h"

/* Three keys, the first two of which are private. */
#define KEY_A "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE="
#define KEY_B "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY_C "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define IFACE "[Interface]\nPrivateKey = " KEY_A "\n"
#define PEER  "[Peer]\nPublicKey = " KEY_C "\n"

static char message[UAPI_MESSAGE_BYTES];

static int parse(struct uapi_config *config, const char *text)
{
	/* An exact copy on the heap, so that the sanitizer sees a read beyond the end. */
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, text, len);
	uapi_config_init(config);
	rc = conffile_parse(config, "wg0.conf", copy, len, message);
	free(copy);
	return rc;
}

static void parse_vector(struct uapi_config *config, const char *name)
{
	char path[512], text[4096];
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", getenv("DPDK_WG_VECTORS"), name);
	file = fopen(path, "r");
	assert_non_null(file);
	len = fread(text, 1, sizeof(text), file);
	fclose(file);
	uapi_config_init(config);
	if (conffile_parse(config, name, text, len, message) != 0)
		fail_msg("%s", message);
}

static void assert_prefix(
	const struct uapi_config *config, unsigned peer, unsigned i, const char *expected)
{
	char text[IP_PREFIX_STRLEN];

	assert_true(i < config->peers[peer].allowed_ip_count);
	ip_prefix_format(&uapi_peer_allowed_ips(config, &config->peers[peer])[i].prefix, text);
	assert_string_equal(text, expected);
}

static void assert_key(const uint8_t key[WG_KEY_BYTES], const char *expected)
{
	char text[KEYTEXT_BASE64_CHARS + 1];

	key_to_base64(text, key);
	assert_string_equal(text, expected);
}

/* --- The examples of WireGuard's own site, as they stand --- */

static void test_example_server(void **state)
{
	struct uapi_config config;

	(void)state;
	parse_vector(&config, "examples/server.conf");
	assert_int_equal(config.warning_count, 0);
	assert_key(config.private_key, KEY_B);
	assert_int_equal(config.listen_port, 51820);
	assert_int_equal(config.peer_count, 3);
	assert_key(config.peers[0].public_key, KEY_C);
	assert_int_equal(config.peers[0].allowed_ip_count, 2);
	assert_prefix(&config, 0, 0, "10.192.122.3/32");
	assert_prefix(&config, 0, 1, "10.192.124.0/24");
	assert_prefix(&config, 1, 1, "192.168.0.0/16");
	assert_prefix(&config, 2, 0, "10.10.10.230/32");
	assert_false(config.peers[2].set_endpoint);
	uapi_config_clear(&config);
}

static void test_example_client(void **state)
{
	struct uapi_config config;
	char text[ENDPOINT_STRLEN];

	(void)state;
	parse_vector(&config, "examples/client.conf");
	assert_int_equal(config.listen_port, 21841);
	assert_int_equal(config.peer_count, 1);
	assert_true(config.peers[0].set_endpoint);
	assert_null(config.peers[0].endpoint_host);
	assert_string_equal(endpoint_format(&config.peers[0].endpoint, text), "192.95.5.69:51820");
	assert_prefix(&config, 0, 0, "0.0.0.0/0");
	uapi_config_clear(&config);
}

/* What config/ shows works, and without a warning. */
static void test_own_examples(void **state)
{
	struct uapi_config config;

	(void)state;
	parse_vector(&config, "../../config/wg0.conf");
	assert_int_equal(config.peer_count, 2);
	assert_int_equal(config.warning_count, 0);
	uapi_config_clear(&config);
	parse_vector(&config, "../../config/wg1.conf");
	assert_int_equal(config.peer_count, 1);
	assert_int_equal(config.table, UAPI_TABLE_OFF);
	assert_int_equal(config.warning_count, 0);
	uapi_config_clear(&config);
}

/* --- Everything that a file may say --- */

static void test_everything(void **state)
{
	static const char text[] = "# a comment\r\n"
				   "\t [interface] # another\r\n"
				   "privatekey=" KEY_A "\r\n"
				   "LISTENPORT = 51820\n"
				   "FwMark = 0xca6c\n"
				   "Address = 10.0.0.1/24, fd00::1/64\n"
				   "address=192.0.2.7\n"
				   "MTU = 1380\n"
				   "Table = 1234\n"
				   "\n"
				   "[PEER]\n"
				   "PublicKey = " KEY_B "\n"
				   "PresharedKey = " KEY_C "\n"
				   "AllowedIPs = 10.0.0.2/32,fd00::2/128\n"
				   "AllowedIPs = 10.1.2.3/8 , 2001:db8::5/32\n"
				   "AllowedIPs =\n"
				   "Endpoint = [2001:db8::1]:51820\n"
				   "PersistentKeepalive = 25\n"
				   "[Peer]\n"
				   "Endpoint = vpn.example.com:7\n"
				   "PublicKey = " KEY_C; /* and no newline at the end */
	struct uapi_config config;
	char addr[IP_PREFIX_STRLEN];
	const struct uapi_peer *peer;

	(void)state;
	assert_int_equal(parse(&config, text), 0);
	assert_true(config.set_private_key && config.set_listen_port && config.set_fwmark &&
		    config.replace_peers);
	assert_key(config.private_key, KEY_A);
	assert_int_equal(config.listen_port, 51820);
	assert_int_equal(config.fwmark, 0xca6c);
	assert_int_equal(config.mtu, 1380);
	assert_int_equal(config.table, UAPI_TABLE_NUMBER);
	assert_int_equal(config.table_number, 1234);
	assert_int_equal(config.address_count, 3);
	assert_string_equal(ip_prefix_format(&config.addresses[0], addr), "10.0.0.1/24");
	assert_string_equal(ip_prefix_format(&config.addresses[1], addr), "fd00::1/64");
	assert_string_equal(ip_prefix_format(&config.addresses[2], addr), "192.0.2.7/32");

	peer = &config.peers[0];
	assert_int_equal(config.peer_count, 2);
	assert_int_equal(peer->line, 11);
	assert_int_equal(peer->allowed_ip_count, 4);
	assert_prefix(&config, 0, 1, "fd00::2/128");
	assert_prefix(&config, 0, 2, "10.0.0.0/8");
	assert_prefix(&config, 0, 3, "2001:db8::/32");
	assert_key(peer->preshared_key, KEY_C);
	assert_int_equal(peer->persistent_keepalive, 25);
	assert_true(peer->set_preshared_key && peer->set_persistent_keepalive &&
		    peer->replace_allowed_ips);
	assert_false(peer->remove || peer->update_only);
	assert_string_equal(config.peers[1].endpoint_host, "vpn.example.com");
	assert_int_equal(config.peers[1].endpoint.port, 7);
	assert_int_equal(config.peers[1].endpoint_line, 20);
	assert_int_equal(config.warning_count, 0);
	uapi_config_clear(&config);
}

/* What is not given goes back to its default: a file says all there is. */
static void test_defaults(void **state)
{
	static const uint8_t zero[WG_KEY_BYTES];
	struct uapi_config config;

	(void)state;
	assert_int_equal(parse(&config, IFACE PEER "PersistentKeepalive = off\n"), 0);
	assert_true(config.set_listen_port && config.set_fwmark);
	assert_int_equal(config.listen_port, 0);
	assert_int_equal(config.fwmark, 0);
	assert_int_equal(config.mtu, 0);
	assert_int_equal(config.table, UAPI_TABLE_AUTO);
	assert_memory_equal(config.peers[0].preshared_key, zero, sizeof(zero));
	assert_true(config.peers[0].set_preshared_key);
	assert_int_equal(config.peers[0].persistent_keepalive, 0);
	uapi_config_clear(&config);

	/* A key may come later, from "wg set". */
	assert_int_equal(parse(&config, "[Interface]\nFwMark = off\nTable = OFF\n"), 0);
	assert_true(config.set_private_key);
	assert_memory_equal(config.private_key, zero, sizeof(zero));
	assert_int_equal(config.warning_count, 0);
	assert_int_equal(config.table, UAPI_TABLE_OFF);
	uapi_config_clear(&config);

	/* Nobody asks for IPv6 on it. */
	assert_int_equal(
		parse(&config, IFACE "Table = off\nMTU = 1200\n" PEER "AllowedIPs = ::/0\n"), 0);
	uapi_config_clear(&config);
	assert_int_equal(parse(&config, IFACE "MTU = 1200\n" PEER "AllowedIPs = 10.0.0.0/8\n"), 0);
	uapi_config_clear(&config);

	assert_int_equal(parse(&config, IFACE "Table = main\n"), 0);
	assert_int_equal(config.table, UAPI_TABLE_NUMBER);
	assert_int_equal(config.table_number, 254);
	uapi_config_clear(&config);
}

/* --- What is wrong is said, with file, line and a way out --- */

static const struct {
	const char *text, *message;
} bad[] = {
	{"", "wg0.conf: no [Interface] section"},
	{PEER, "wg0.conf: no [Interface] section"},
	{"MTU = 1\n", "wg0.conf:1: \"MTU\" stands before any section: begin with [Interface]"},
	{"[Interfaces]\n",
		"wg0.conf:1: unknown section \"[Interfaces]\": must be [Interface] or [Peer]"},
	{"[Interface\n",
		"wg0.conf:1: unknown section \"[Interface\": must be [Interface] or [Peer]"},
	{IFACE "\n[Interface]\n",
		"wg0.conf:4: [Interface] stands at line 1 already: merge the two"},
	{IFACE "Frobnicate = 1\n",
		"wg0.conf:3: unknown key \"Frobnicate\": [Interface] takes PrivateKey, "
		"ListenPort, FwMark, Address, MTU and Table"},
	{IFACE PEER "Frob\x01nicate = 1\n",
		"wg0.conf:5: unknown key \"Frob?nicate\": [Peer] takes PublicKey, "
		"PresharedKey, AllowedIPs, Endpoint and PersistentKeepalive"},
	/* The name stands on the line before. */
	{"[Interface]\nMTU = 1420\n" KEY_B "\n",
		"wg0.conf:3: unknown key (not shown: it may be secret): [Interface] takes "
		"PrivateKey, ListenPort, FwMark, Address, MTU and Table"},
	{KEY_B "\n",
		"wg0.conf:1: (not shown: it may be secret) stands before any section: begin with "
		"[Interface]"},
	{IFACE "Endpoint = 192.0.2.1:1\n",
		"wg0.conf:3: Endpoint belongs in [Peer], not in [Interface]"},
	{IFACE PEER "listenport = 1\n",
		"wg0.conf:5: ListenPort belongs in [Interface], not in [Peer]"},
	{IFACE "PrivateKey = " KEY_B "\n", "wg0.conf:3: PrivateKey is given twice in this section"},
	{IFACE "hello\n", "wg0.conf:3: must be \"Key = value\", a [Section] or a comment"},
	{IFACE "MTU =\n", "wg0.conf:3: MTU has no value"},
	{"[Interface]\nPrivateKey = secret\n",
		"wg0.conf:2: PrivateKey must be 44 characters of base64, as \"wg genkey\" "
		"prints them"},
	{IFACE "ListenPort = 65536\n",
		"wg0.conf:3: ListenPort \"65536\": must be a port, 0 to 65535 (0: any free "
		"one)"},
	{IFACE "ListenPort = -1\n",
		"wg0.conf:3: ListenPort \"-1\": must be a port, 0 to 65535 (0: any free "
		"one)"},
	{IFACE "FwMark = 0x100000000\n",
		"wg0.conf:3: FwMark \"0x100000000\": must be a number below 2^32, as 51820 "
		"or 0xca6c, or \"off\""},
	{IFACE "FwMark = 0x\n",
		"wg0.conf:3: FwMark \"0x\": must be a number below 2^32, as 51820 or 0xca6c, "
		"or \"off\""},
	{IFACE "MTU = 575\n", "wg0.conf:3: MTU \"575\": must be 576 to 9216 bytes"},
	{IFACE "MTU = 9217\n", "wg0.conf:3: MTU \"9217\": must be 576 to 9216 bytes"},
	{IFACE "Table = 0\n",
		"wg0.conf:3: Table \"0\": must be \"auto\", \"off\" or a routing table: its "
		"number, or its name in /etc/iproute2/rt_tables"},
	{IFACE "Table = local\n",
		"wg0.conf:3: Table \"local\": is the kernel's table of the host's own "
		"addresses: take another"},
	{IFACE "Address = 10.0.0.1/33\n",
		"wg0.conf:3: Address \"10.0.0.1/33\": prefix length must be 0 to 32"},
	{IFACE "Address = 10.0.0.1/24, 10.0.0.1/32\n",
		"wg0.conf:3: Address \"10.0.0.1/32\": is given twice"},
	{IFACE PEER "AllowedIPs = 10.0.0.0/33\n",
		"wg0.conf:5: AllowedIPs \"10.0.0.0/33\": prefix length must be 0 to 32"},
	{IFACE PEER "AllowedIPs = 10.0.0.0/8, 2001:db8::/129\n",
		"wg0.conf:5: AllowedIPs \"2001:db8::/129\": prefix length must be 0 to 128"},
	{IFACE PEER "AllowedIPs = 10.0.0.0/\n",
		"wg0.conf:5: AllowedIPs \"10.0.0.0/\": prefix length must be 0 to 32"},
	{IFACE PEER "AllowedIPs = 10.0.0.0/255.0.0.0\n",
		"wg0.conf:5: AllowedIPs \"10.0.0.0/255.0.0.0\": prefix length must be 0 to "
		"32"},
	{IFACE PEER "AllowedIPs = 10.0.0\n",
		"wg0.conf:5: AllowedIPs \"10.0.0\": must be an address with an optional "
		"prefix length, as 192.0.2.0/24 or 2001:db8::/32"},
	{IFACE PEER "AllowedIPs = 10.0.0.0/8,\n",
		"wg0.conf:5: AllowedIPs: nothing stands before or after a comma"},
	{IFACE PEER "AllowedIPs = ,10.0.0.0/8\n",
		"wg0.conf:5: AllowedIPs: nothing stands before or after a comma"},
	{IFACE PEER "AllowedIPs = -10.0.0.0/8\n",
		"wg0.conf:5: AllowedIPs \"-10.0.0.0/8\": '+' and '-' are for \"wg set\"; a "
		"file lists what shall be allowed"},
	{IFACE "[Peer]\nPublicKey = abc\n",
		"wg0.conf:4: PublicKey \"abc\": must be 44 characters of base64, as \"wg "
		"pubkey\" prints them"},
	{IFACE PEER "PresharedKey = x\n",
		"wg0.conf:5: PresharedKey must be 44 characters of base64, as \"wg genpsk\" "
		"prints them"},
	{IFACE PEER "Endpoint = 192.0.2.1\n",
		"wg0.conf:5: Endpoint \"192.0.2.1\": must be HOST:PORT, as 192.0.2.1:51820, "
		"[2001:db8::1]:51820 or vpn.example.com:51820"},
	{IFACE PEER "Endpoint = 192.0.2.1:0\n",
		"wg0.conf:5: Endpoint \"192.0.2.1:0\": the port must be 1 to 65535"},
	{IFACE PEER "Endpoint = 192.0.2.256:1\n",
		"wg0.conf:5: Endpoint \"192.0.2.256:1\": must be HOST:PORT, as "
		"192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820"},
	{IFACE PEER "Endpoint = 2001:db8::1:51820\n",
		"wg0.conf:5: Endpoint \"2001:db8::1:51820\": must be HOST:PORT, as "
		"192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820"},
	{IFACE PEER "Endpoint = [vpn.example.com]:51820\n",
		"wg0.conf:5: Endpoint \"[vpn.example.com]:51820\": must be HOST:PORT, as "
		"192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820"},
	{IFACE PEER "Endpoint = :51820\n",
		"wg0.conf:5: Endpoint \":51820\": must be HOST:PORT, as 192.0.2.1:51820, "
		"[2001:db8::1]:51820 or vpn.example.com:51820"},
	{IFACE PEER "PersistentKeepalive = 65536\n",
		"wg0.conf:5: PersistentKeepalive \"65536\": must be 0 to 65535 seconds, or "
		"\"off\""},
	{IFACE "[Peer]\nAllowedIPs = 10.0.0.0/8\n" PEER,
		"wg0.conf:3: this [Peer] has no PublicKey"},
	{IFACE "[Peer]\n", "wg0.conf:3: this [Peer] has no PublicKey"},
	{IFACE "Address = 10.0.0.1/24 10.1.0.1/24\n",
		"wg0.conf:3: Address \"10.0.0.1/24 10.1.0.1/24\": separate them with commas"},
	{IFACE PEER "AllowedIPs = 10.0.0.0/24, fd00::/8 fd01::/16\n",
		"wg0.conf:5: AllowedIPs \"fd00::/8 fd01::/16\": separate them with commas"},
	{IFACE "Address = ::/0\n",
		"wg0.conf:3: Address \"::/0\": is not an address that an interface can have"},
	{IFACE "Address = 224.0.0.5\n",
		"wg0.conf:3: Address \"224.0.0.5\": is not an address that an interface can have"},
	{IFACE "MTU = 576\nAddress = 10.0.0.1, fd00::1/64\n",
		"wg0.conf:3: MTU 576: with an IPv6 Address it must be 1280 at least"},
	{IFACE "Address = fd00::1/64\n\nMTU = 1279\n" PEER,
		"wg0.conf:5: MTU 1279: with an IPv6 Address it must be 1280 at least"},
	{IFACE "MTU = 1279\nTable = 7\n" PEER "AllowedIPs = 10.0.0.0/8, ::/0\n",
		"wg0.conf:3: MTU 1279: with IPv6 AllowedIPs it must be 1280 at least, or Table = "
		"off"},
	{IFACE "Table = 255\n",
		"wg0.conf:3: Table \"255\": is the kernel's table of the host's own addresses: "
		"take another"},
	{"\xef\xbb\xbf" IFACE,
		"wg0.conf:1: begins with a byte order mark: save it as UTF-8 without one"},
	{"\xff\xfe[", "wg0.conf:1: is UTF-16: save it as UTF-8"},
	{IFACE PEER PEER,
		"wg0.conf:5: this [Peer] has the PublicKey of the one at line 3: merge the "
		"two"},
};

static void test_bad(void **state)
{
	struct uapi_config config;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(&config, bad[i].text), -EINVAL);
		assert_string_equal(message, bad[i].message);
		assert_null(config.peers);
		assert_int_equal(config.peer_count, 0);
	}
}

static void test_nul_byte(void **state)
{
	static const char text[] = IFACE "#MTU\0 = 1400\n";
	struct uapi_config config;

	(void)state;
	uapi_config_init(&config);
	assert_int_equal(
		conffile_parse(&config, "wg0.conf", text, sizeof(text) - 1, message), -EINVAL);
	assert_string_equal(message, "wg0.conf:3: holds a NUL byte: this is not a text file");
}

/* A name or a value of any length must not spill over the message. */
static void test_long_values(void **state)
{
	struct uapi_config config;
	size_t len = 100000;
	char *text = malloc(len), *name = malloc(1001);

	(void)state;
	memset(text, 'x', len);
	memcpy(text, IFACE "MTU = ", strlen(IFACE "MTU = "));
	uapi_config_init(&config);
	assert_int_equal(conffile_parse(&config, "wg0.conf", text, len, message), -EINVAL);
	assert_true(strlen(message) < 200);
	memset(name, 'n', 1000);
	name[1000] = '\0';
	assert_int_equal(conffile_parse(&config, name, text, len, message), -EINVAL);
	assert_int_equal(strlen(message), UAPI_MESSAGE_BYTES - 1);
	free(text);
	free(name);
}

/* --- What is not carried out is named --- */

/* The text is taken, with these warnings. */
static void check_warnings(const char *text, const char *const *expected, unsigned n)
{
	struct uapi_config config;

	assert_int_equal(parse(&config, text), 0);
	assert_int_equal(config.warning_count, n);
	for (unsigned i = 0; i < n; i++)
		assert_string_equal(config.warnings[i], expected[i]);
	uapi_config_clear(&config);
}

static void test_warnings(void **state)
{
	static const char text[] =
		"[Interface]\n"
		"PostUp = iptables -A FORWARD = yes\n"
		"DNS = 10.0.0.1\n"
		"SaveConfig = true\n"
		"PreDown = x\n"
		"PostDown = x\n"
		"PreUp = x\n"
		"[Peer]\nPublicKey = " KEY_A "\nAllowedIPs = 10.0.0.0/24, 10.0.0.7/24\n"
		"[Peer]\nPublicKey = " KEY_B "\n"
		"[Peer]\nPublicKey = " KEY_C "\nAllowedIPs = 10.0.0.1/24\n";
	static const char *const expected[] = {
		"wg0.conf:2: PostUp is not carried out: run the command yourself "
		"(ExecStartPost= in a systemd unit)",
		"wg0.conf:3: DNS is not carried out: set the host's resolver yourself",
		"wg0.conf:4: SaveConfig is not carried out: \"wg showconf\" prints the "
		"configuration for you to keep",
		"wg0.conf:5: PreDown is not carried out: run the command yourself "
		"(ExecStop= in a systemd unit)",
		"wg0.conf:6: PostDown is not carried out: run the command yourself "
		"(ExecStopPost= in a systemd unit)",
		"wg0.conf:7: PreUp is not carried out: run the command yourself "
		"(ExecStartPre= in a systemd unit)",
		"wg0.conf:13: 10.0.0.0/24 is allowed for the [Peer] at line 8 too: this one, "
		"the later, takes it",
	};

	(void)state;
	check_warnings(text, expected, sizeof(expected) / sizeof(expected[0]));
	check_warnings(IFACE "SaveConfig = false\n", NULL, 0);
}

/* Such an endpoint keeps nothing else down. */
static void test_endpoints_without_a_host(void **state)
{
	static const char text[] = IFACE "[Peer]\nPublicKey = " KEY_A "\nEndpoint = 0.0.0.0:1\n"
					 "[Peer]\nPublicKey = " KEY_B "\nEndpoint = [ff02::1]:1\n"
					 "[Peer]\nPublicKey = " KEY_C "\nEndpoint = [fe80::1]:1\n";
	static const char *const expected[] = {
		"wg0.conf:5: Endpoint \"0.0.0.0:1\" is not an address of a single host: nothing "
		"can be sent there",
		"wg0.conf:8: Endpoint \"[ff02::1]:1\" is not an address of a single host: "
		"nothing can be sent there",
		"wg0.conf:11: Endpoint \"[fe80::1]:1\" is link-local and needs its interface, as "
		"[fe80::1%outer0]:51820: nothing can be sent there",
	};

	(void)state;
	check_warnings(text, expected, sizeof(expected) / sizeof(expected[0]));
	check_warnings(IFACE PEER "Endpoint = [fe80::1%lo]:1\n", NULL, 0);
}

/* The file is read before there are outer0 and its like: what is none now may be one then. */
static void test_endpoint_by_interface_to_come(void **state)
{
	static const char *const wrong[] = {"[fe80::1%]:1", "[fe80::1%0]:1", "[fe80::1%a/b]:1",
		"[fe80::1%sixteen-letters0]:1", "[fe80::x%outer0]:1", "[192.0.2.1%outer0]:1"};
	struct uapi_config config;
	char text[512];

	(void)state;
	assert_int_equal(parse(&config, IFACE PEER "Endpoint = [fe80::1%no-such0]:7\n"), 0);
	assert_int_equal(config.warning_count, 0);
	assert_string_equal(config.peers[0].endpoint_host, "[fe80::1%no-such0]");
	assert_int_equal(config.peers[0].endpoint.port, 7);
	assert_true(config.peers[0].set_endpoint);
	uapi_config_clear(&config);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), IFACE PEER "Endpoint = %s\n", wrong[i]);
		assert_int_equal(parse(&config, text), -EINVAL);
	}
}

/* --- Random input --- */

static const char sample[] = IFACE "ListenPort = 51820\nAddress = 10.0.0.1/24, fd00::1/64\n"
				   "PostUp = x\n" PEER "AllowedIPs = 10.0.0.0/8,::/0\n"
				   "Endpoint = a.example:1\nPersistentKeepalive = 25\n"
				   "[Peer]\nPublicKey = " KEY_B "\nEndpoint = [fe80::1%lo]:9\n"
				   "AllowedIPs = 10.0.0.0/8\n";

static void try(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);
	struct uapi_config config;
	int rc;

	memcpy(copy, text, len);
	uapi_config_init(&config);
	rc = conffile_parse(&config, "f", copy, len, message);
	assert_int_equal(rc == 0, message[0] == '\0');
	if (rc != 0)
		assert_null(config.peers);
	uapi_config_clear(&config);
	free(copy);
}

static void test_truncated(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof(sample); len++)
		try(sample, len);
}

static void test_mutated(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	char text[sizeof(sample)];

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 20000; i++) {
		memcpy(text, sample, sizeof(text));
		for (long n = random() % 4; n >= 0; n--)
			text[(size_t)random() % sizeof(text)] =
				random() % 2 ? (char)random() : "\n[]=,:/.%#+-0 "[random() % 14];
		try(text, (size_t)random() % sizeof(text));
	}
}

/* --- Size: nothing may be quadratic --- */

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void test_large(void **state)
{
	const unsigned peers = 100000, ips = 130560;
	size_t room = 64u << 20, len = 0;
	char *text = malloc(room), base64[KEYTEXT_BASE64_CHARS + 1];
	uint8_t key[WG_KEY_BYTES];
	struct uapi_config config;
	struct timespec start;

	(void)state;
	len += (size_t)sprintf(text + len, IFACE PEER);
	for (unsigned i = 0; i < ips; i++)
		len += (size_t)sprintf(text + len, "AllowedIPs = 10.%u.%u.%u/32\n", i >> 16,
			i >> 8 & 255, i & 255);
	for (unsigned i = 0; i < peers; i++) {
		randombytes_buf(key, sizeof(key));
		key_to_base64(base64, key);
		len += (size_t)sprintf(text + len,
			"[Peer]\nPublicKey = %s\nAllowedIPs = 11.%u.%u.%u/32\n", base64, i >> 16,
			i >> 8 & 255, i & 255);
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	uapi_config_init(&config);
	assert_int_equal(conffile_parse(&config, "large", text, len, message), 0);
	print_message("%u peers and %u allowed IPs in %.3f s\n", config.peer_count,
		config.allowed_ip_count, seconds_since(&start));
	assert_int_equal(config.peer_count, peers + 1);
	assert_int_equal(config.allowed_ip_count, ips + peers);
	uapi_config_clear(&config);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example_server),
		cmocka_unit_test(test_example_client),
		cmocka_unit_test(test_own_examples),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_nul_byte),
		cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_endpoints_without_a_host),
		cmocka_unit_test(test_endpoint_by_interface_to_come),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_mutated),
		cmocka_unit_test(test_large),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
