-- SPDX-License-Identifier: BSD-3-Clause
-- Latency at shares of a rate found before (RFC 2544 section 26.2; CSIT takes 10, 50 and 90 % of
-- PDR), with Pktgen's own time stamps in the packets.
--   WG_SIZE=(64)   WG_PDR_PERCENT=of the line, from rfc2544.lua   WG_SECONDS=(10)
package.path = package.path .. ";scripts/pktgen/?.lua"
local wg = require "wg"

local size = tonumber(os.getenv("WG_SIZE") or 64)
local pdr = assert(tonumber(os.getenv("WG_PDR_PERCENT") or nil), "WG_PDR_PERCENT is not set")
local seconds = tonumber(os.getenv("WG_SECONDS") or 10)

-- The names of the fields differ between Pktgen's versions: all numbers are told.
local function tell_fields(latency)
	local fields = {}
	for name, value in pairs(latency) do
		if type(value) == "number" then table.insert(fields, name .. " " .. value) end
	end
	table.sort(fields)
	return table.concat(fields, ", ")
end

wg.traffic(size)
pktgen.latency(wg.bed.tx, "enable")
pktgen.latency(wg.bed.rx, "enable")
for _, share in ipairs({10, 50, 90}) do
	local sent, received = wg.trial(pdr * share / 100, seconds)
	local stats = pktgen.pktStats(wg.bed.rx)[tonumber(wg.bed.rx)]
	wg.tell(string.format("%dB at %d %% of PDR: sent %d, received %d, %s", size, share, sent,
		received, tell_fields(stats.latency)))
end
pktgen.latency(wg.bed.tx, "disable")
pktgen.latency(wg.bed.rx, "disable")
