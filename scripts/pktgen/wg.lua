-- SPDX-License-Identifier: BSD-3-Clause
-- What the recipes share: the bed's addresses, traffic for many peers, trials and binary search.
-- Pktgen's port 0 is at the side that sends, port 1 at the one that receives.

local wg = {}

-- The bed; README.md sets the gateways up for it. Change both together.
wg.bed = {
	tx = "0", rx = "1",
	gateway_mac = "02:00:00:00:10:01", -- of the inner port of the gateway that seals
	source = "192.168.0.2", -- a host at Pktgen's side
	first = "10.0.0.1", -- network n is 10.(n / 256).(n % 256).0/24
	networks = 1000,
	link_mbit = 100000, -- of port 0
}

-- CSIT's frames, FCS included: RFC 2544's sizes, and IMIX as a sequence of twelve.
wg.frames = {64, 128, 256, 512, 1024, 1280, 1518}
wg.imix = {64, 64, 570, 64, 64, 570, 64, 1518, 570, 64, 64, 570}

function wg.host(network)
	return string.format("10.%d.%d.1", network // 256, network % 256)
end

-- The rate in packets a second that fills a link of so many Mbit/s: 20 bytes a frame are gap.
function wg.line_pps(size)
	return wg.bed.link_mbit * 1e6 / 8 / (size + 20)
end

function wg.imix_mean()
	local sum = 0
	for _, size in ipairs(wg.imix) do sum = sum + size end
	return sum / #wg.imix
end

local function range(port, what, start, step, least, most)
	local set = pktgen.range[what]
	set(port, "start", start)
	set(port, "inc", step)
	set(port, "min", least)
	set(port, "max", most)
end

-- Plain UDP from one host to a host in each network, one network after the other.
function wg.traffic(size)
	local bed = wg.bed
	pktgen.stop(bed.tx)
	pktgen.set(bed.tx, "seq_cnt", 0)
	pktgen.range.dst_mac(bed.tx, "start", bed.gateway_mac)
	range(bed.tx, "dst_ip", bed.first, "0.0.1.0", bed.first, wg.host(bed.networks - 1))
	range(bed.tx, "src_ip", bed.source, "0.0.0.0", bed.source, bed.source)
	range(bed.tx, "src_port", 1024, 1, 1024, 65535) -- flows for RSS on the inner side
	range(bed.tx, "dst_port", 7, 0, 7, 7)
	range(bed.tx, "pkt_size", size, 0, size, size)
	pktgen.range.ip_proto(bed.tx, "udp")
	pktgen.set_range(bed.tx, "on")
end

-- A range has one size: IMIX goes through Pktgen's sequence, to as many networks far apart.
function wg.traffic_imix()
	local bed = wg.bed
	pktgen.stop(bed.tx)
	pktgen.set_range(bed.tx, "off")
	for i, size in ipairs(wg.imix) do
		local network = (i - 1) * bed.networks // #wg.imix
		pktgen.seqTable(i - 1, bed.tx, {
			eth_dst_addr = bed.gateway_mac, eth_src_addr = "02:00:00:00:10:02",
			ip_dst_addr = wg.host(network),
			ip_src_addr = bed.source .. "/32",
			sport = 1024 + i, dport = 7,
			ethType = "ipv4", ipProto = "udp", vlanid = 1, pktSize = size,
		})
	end
	pktgen.set(bed.tx, "seq_cnt", #wg.imix)
end

-- One trial: percent of the line for so many seconds; returns sent, received.
function wg.trial(percent, seconds)
	local bed = wg.bed
	pktgen.clr()
	pktgen.set(bed.tx, "rate", percent)
	pktgen.set(bed.tx, "count", 0)
	pktgen.start(bed.tx)
	pktgen.delay(math.floor(seconds * 1000))
	pktgen.stop(bed.tx)
	pktgen.delay(500) -- what is under way arrives
	local sent = pktgen.portStats(bed.tx, "port")[tonumber(bed.tx)].opackets
	local received = pktgen.portStats(bed.rx, "port")[tonumber(bed.rx)].ipackets
	return sent, received
end

-- RFC 2544 section 26.1: the highest rate whose loss is tolerated, in percent of the line. Returns
-- it with the packets a second that were received at it.
function wg.search(tolerated, seconds, steps, tell)
	local low, high, best = 0, 100, 0
	local percent = high
	for _ = 1, steps do
		local sent, received = wg.trial(percent, seconds)
		local loss = sent > 0 and (sent - received) / sent or 1
		local pass = sent > 0 and loss <= tolerated
		tell(string.format("  %6.2f %% of the line: %d sent, loss %.4f %%: %s", percent, sent,
			100 * loss, pass and "passes" or "fails"))
		if pass then
			low, best = percent, received / seconds
			if percent == 100 then break end
		else
			high = percent
		end
		percent = (low + high) / 2
	end
	return low, best
end

function wg.tell(text)
	print(text)
	local path = os.getenv("WG_PKTGEN_RESULTS")
	if path then
		local file = assert(io.open(path, "a"))
		file:write(text, "\n")
		file:close()
	end
end

return wg
