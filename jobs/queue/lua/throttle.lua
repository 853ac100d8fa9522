-- Throttles a request: reserves the next free moment under several rates at once (GCRA, on Redis' own clock), and one of
-- the slots for requests in flight.
--
-- Uses: wrong_types
-- Uses: slowdown
-- KEYS: slots, then one key for each rate
-- ARGV: token, number of slots (0: none is needed), milliseconds a slot is held at most, microseconds to recover a step,
--       then for each rate: microseconds between two requests, size of a burst
-- Returns microseconds to wait before the request, or -1 if no slot is free: then nothing was reserved
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local slots, recover_us = KEYS[1], tonumber(ARGV[4])

if tonumber(ARGV[2]) > 0 then
  renewing('ZREMRANGEBYSCORE', slots, '-inf', now)
  -- The token has a slot already if this is a second run after a lost answer.
  redis.call('ZREM', slots, ARGV[1])
  if redis.call('ZCARD', slots) >= tonumber(ARGV[2]) then return -1 end
  redis.call('ZADD', slots, now + ARGV[3] * 1000, ARGV[1])
  redis.call('PEXPIRE', slots, math.max(ARGV[3], redis.call('PTTL', slots)))
end

local wait = 0
for i = 2, #KEYS do
  local factor = slowdown_factor(renewing('HMGET', slowdown_key(KEYS[i]), 'steps', 'since'), now, recover_us)
  local interval, burst = tonumber(ARGV[2 * i + 1]) * factor, tonumber(ARGV[2 * i + 2])
  local free = math.max((tonumber(renewing('GET', KEYS[i]) or 0) or 0), now) + interval
  redis.call('SET', KEYS[i], string.format('%.0f', free), 'PX', math.ceil((free - now) / 1000) + 1000)
  wait = math.max(wait, free - burst * interval - now)
end
return math.ceil(wait)
