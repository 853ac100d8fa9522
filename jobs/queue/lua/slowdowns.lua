-- Reads by what factor each rate is slowed down now.
--
-- Uses: wrong_types
-- Uses: slowdown
-- KEYS: the rates
-- ARGV: microseconds to recover a step
-- Returns a number for each rate: 1 if it is not slowed down, 8 if it is slowed down to an eighth
local time = redis.call('TIME')
local now, recover_us = time[1] * 1000000 + time[2], tonumber(ARGV[1])
local factors = {}
for i, rate in ipairs(KEYS) do
  local noted = redis.pcall('HMGET', slowdown_key(rate), 'steps', 'since')
  if is_wrong_type(noted) then noted = {} end
  if is_error(noted) then again('HMGET', slowdown_key(rate), 'steps', 'since') end
  factors[i] = slowdown_factor(noted, now, recover_us)
end
return factors
