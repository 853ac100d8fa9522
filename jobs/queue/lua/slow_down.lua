-- Slows a rate down by one step after a 429, at most once a second: requests that were in flight when the limit was reached
-- get a 429 for the same reason.
--
-- Uses: wrong_types
-- Uses: slowdown
-- KEYS: the rate
-- ARGV: microseconds to recover a step
local time = redis.call('TIME')
local now, recover_us = time[1] * 1000000 + time[2], tonumber(ARGV[1])
local slow = slowdown_key(KEYS[1])
local noted = renewing('HMGET', slow, 'steps', 'since')
local _, since = read_slowdown(noted)
if since and now - since < 1000000 then return 0 end
local steps = math.min(MOST_STEPS, slowdown_steps(noted, now, recover_us) + 1)
redis.call('HSET', slow, 'steps', steps, 'since', string.format('%.0f', now))
redis.call('PEXPIRE', slow, math.ceil((MOST_STEPS + 1) * recover_us / 1000))
return 1
