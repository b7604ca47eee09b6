-- SPDX-License-Identifier: BSD-3-Clause
-- The recipes of scripts/pktgen against a mock of Pktgen's Lua functions: a link and a gateway that
-- forwards so many packets a second and loses the rest. An unknown function is an error.
--   lua5.4 test_pktgen.lua DIRECTORY-OF-THE-RECIPES
local recipes = arg[1]
package.path = recipes .. "/?.lua"

local LINE_PPS = 1e6 -- at any size
local state

local function strict(name, functions)
	return setmetatable(functions, {__index = function(_, key)
		error(name .. "." .. tostring(key) .. " is no function of Pktgen's")
	end})
end

local function reset(capacity_pps)
	state = {capacity = capacity_pps, rate = 0, sending = false, sent = 0, received = 0,
		range = {}, sequence = {}, set = {}, latency = {}}
end

local function is_port(port)
	assert(port == "0" or port == "1", "ports are strings of digits: " .. tostring(port))
end

local function range_function(what)
	return function(port, kind, value)
		is_port(port)
		assert(({start = 1, inc = 1, min = 1, max = 1, udp = 1})[kind], kind)
		state.range[what .. " " .. kind] = value or true
	end
end

local ranges = {}
for _, what in ipairs({"dst_mac", "dst_ip", "src_ip", "src_port", "dst_port", "pkt_size",
	"ip_proto"}) do
	ranges[what] = range_function(what)
end

pktgen = strict("pktgen", {
	range = strict("pktgen.range", ranges),
	set = function(port, what, value)
		is_port(port)
		assert(({rate = 1, count = 1, seq_cnt = 1})[what], what)
		state.set[what] = value
	end,
	set_range = function(port, value) is_port(port) state.set.range = value end,
	seqTable = function(index, port, entry)
		is_port(port)
		assert(index >= 0 and index < 16, "Pktgen's sequence holds 16")
		state.sequence[index + 1] = entry
	end,
	start = function(port) is_port(port) state.sending = true end,
	stop = function(port) is_port(port) state.sending = false end,
	clr = function() state.sent, state.received = 0, 0 end,
	delay = function(ms)
		assert(math.type(ms) == "integer", "a delay is of whole milliseconds")
		if not state.sending then return end
		local pps = LINE_PPS * state.set.rate / 100
		state.sent = state.sent + math.floor(pps * ms / 1000)
		state.received = state.received + math.floor(math.min(pps, state.capacity) * ms / 1000)
	end,
	portStats = function(port, kind)
		is_port(port)
		assert(kind == "port")
		local n = tonumber(port)
		return {n = 1, [n] = {opackets = n == 0 and state.sent or 0,
			ipackets = n == 1 and state.received or 0}}
	end,
	latency = function(port, value) is_port(port) state.latency[port] = value end,
	pktStats = function(port)
		is_port(port)
		assert(state.latency[port] == "enable", "latency is not measured")
		return {[tonumber(port)] = {latency = {avg_usec = 12, num_pkts = 7, name = "text"}}}
	end,
})

local told = {}
local environment = {}
os.getenv = function(name) return environment[name] end
print = function(text) table.insert(told, text) end

local function run(recipe, variables, capacity)
	environment, told = variables, {}
	reset(capacity)
	package.loaded.wg = nil
	dofile(recipes .. "/" .. recipe .. ".lua")
	return table.concat(told, "\n")
end

local function expect(condition, what)
	if not condition then
		io.stderr:write("failed: ", what, "\n", table.concat(told, "\n"), "\n")
		os.exit(1)
	end
end

-- Plain traffic: all networks, once each before any again, and what comes out is counted.
local text = run("plain", {WG_PERCENT = "10", WG_SECONDS = "2"}, LINE_PPS)
expect(text == "64: sent 200000, received 200000 (0.100 Mpps), lost 0.0000 %", "plain.lua")
expect(state.range["dst_ip start"] == "10.0.0.1" and state.range["dst_ip inc"] == "0.0.1.0" and
	state.range["dst_ip max"] == "10.3.231.1", "network 999 is 10.3.231.0/24")
expect(state.range["pkt_size min"] == 64 and state.range["pkt_size max"] == 64, "the size")
expect(state.set.range == "on" and state.set.seq_cnt == 0 and not state.sending, "range mode")

-- IMIX: 7:4:1, from one host to networks that are all different and within the bed.
run("plain", {WG_SIZE = "imix"}, LINE_PPS)
local count, networks = {}, {}
for _, entry in ipairs(state.sequence) do
	count[entry.pktSize] = (count[entry.pktSize] or 0) + 1
	networks[entry.ip_dst_addr] = true
end
expect(count[64] == 7 and count[570] == 4 and count[1518] == 1, "IMIX is 7:4:1")
local different = 0
for _ in pairs(networks) do different = different + 1 end
expect(different == 12 and networks["10.3.148.1"], "twelve networks, the last of them 916")
expect(state.set.seq_cnt == 12 and state.set.range == "off", "sequence mode")

-- The search finds what the gateway forwards, from below, at both criteria.
for _, percent in ipairs({3, 37.3, 99, 100}) do
	text = run("rfc2544", {WG_TRIAL_SECONDS = "1", WG_STEPS = "12"}, LINE_PPS * percent / 100)
	for name, tolerated in pairs({["64B, NDR"] = 0, ["1518B, PDR"] = 0.005, ["IMIX, NDR"] = 0}) do
		local found = tonumber(text:match(name .. ": ([%d.]+) %% of the line, "))
		local right = math.min(100, percent / (1 - tolerated))
		expect(found and found <= right + 0.01 and found > right - 0.06,
			name .. " at " .. percent .. " %: " .. tostring(found))
	end
end
-- A gateway that forwards nothing.
text = run("rfc2544", {WG_TRIAL_SECONDS = "1", WG_STEPS = "3"}, 0)
expect(text:find("64B, NDR: 0.00 %% of the line, 0.000 Mpps"), "nothing passes")

text = run("latency", {WG_PDR_PERCENT = "50", WG_SECONDS = "1"}, LINE_PPS)
expect(text:find("64B at 90 %% of PDR: sent 450000, received 450000, avg_usec 12, num_pkts 7"),
	"latency.lua")
expect(state.latency["0"] == "disable" and state.latency["1"] == "disable", "latency is off again")
