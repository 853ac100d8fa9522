-- Reserves the next free moment under several rates at once (GCRA, on Redis' own clock), and a place among those in flight.
-- A rate that was slowed down runs at a half, a quarter or an eighth; each `recover_us` without another 429 undoes a step.
--
-- Uses: wrong_types
-- KEYS: places, then one key for each rate
-- ARGV: token, places there are (0: none is needed), milliseconds a place is held at most, microseconds to recover a step,
--       then for each rate: microseconds between two calls, calls that may come at once
-- Returns microseconds to wait before the call, or -1 if no place is free and nothing was reserved
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local places, recover_us = KEYS[1], tonumber(ARGV[4])

if tonumber(ARGV[2]) > 0 then
  renewing('ZREMRANGEBYSCORE', places, '-inf', now)
  -- Not counting its own, which it has already where the answer of the first call was lost.
  redis.call('ZREM', places, ARGV[1])
  if redis.call('ZCARD', places) >= tonumber(ARGV[2]) then return -1 end
  redis.call('ZADD', places, now + ARGV[3] * 1000, ARGV[1])
  redis.call('PEXPIRE', places, math.max(ARGV[3], redis.call('PTTL', places)))
end

local function slowness(rate)
  local steps, since = unpack(renewing('HMGET', rate .. ':slow', 'steps', 'since'))
  if not (tonumber(steps) and tonumber(since)) then return 1 end
  return 2 ^ math.max(0, tonumber(steps) - math.floor((now - tonumber(since)) / recover_us))
end

local wait = 0
for i = 2, #KEYS do
  local interval, burst = tonumber(ARGV[2 * i + 1]) * slowness(KEYS[i]), tonumber(ARGV[2 * i + 2])
  local free = math.max((tonumber(renewing('GET', KEYS[i]) or 0) or 0), now) + interval
  redis.call('SET', KEYS[i], string.format('%.0f', free), 'PX', math.ceil((free - now) / 1000) + 1000)
  wait = math.max(wait, free - burst * interval - now)
end
return math.ceil(wait)
