-- Adds events to the inbox, all or none of them, if the rate of their source allows it (GCRA, on Redis' own clock). Unlike
-- in throttle.lua, a request that has to wait reserves nothing, because its app may never repeat it.
--
-- Uses: wrong_types
-- KEYS: inbox, rate of the source, answer to this request
-- ARGV: microseconds between two events, size of a burst, milliseconds to keep the answer, number of events,
--       then for each event: number of its names and values, and these
-- Returns {microseconds to wait, ids of the entries}: no ids if it has to wait, and 0 if they were added. A second run for
-- the same request, after a lost answer, adds nothing and returns the same ids.
local inbox, rate, answer = unpack(KEYS)
local interval, burst, keep_ms, number = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local before = renewing('GET', answer)
if before then return {0, cjson.decode(before)} end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local free = tonumber(renewing('GET', rate) or 0) or 0
-- No request sets a later time, so the clock was set back since then.
if free > now + burst * interval then free = now end
free = math.max(free, now) + number * interval
local wait = free - burst * interval - now
if wait > 0 then return {math.ceil(wait), {}} end

local ids, at = {}, 5
for _ = 1, number do
  local last = at + tonumber(ARGV[at])
  local added = redis.pcall('XADD', inbox, '*', unpack(ARGV, at + 1, last))
  if is_error(added) then
    -- A stream that has only a few ids left accepts the first events and refuses the others.
    if #ids > 0 then redis.call('XDEL', inbox, unpack(ids)) end
    return added
  end
  ids[#ids + 1] = added
  at = last + 1
end
redis.call('SET', rate, string.format('%.0f', free), 'PX', math.ceil((free - now) / 1000) + 1000)
redis.call('SET', answer, cjson.encode(ids), 'PX', keep_ms)
return {0, ids}
