-- Extends the slots of running writes. Never shortens one.
--
-- Uses: wrong_types
-- KEYS: slots
-- ARGV: milliseconds from now, then the tokens
local time = redis.call('TIME')
local until_us = time[1] * 1000000 + time[2] + ARGV[1] * 1000
for i = 2, #ARGV do renewing('ZADD', KEYS[1], 'GT', until_us, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], math.max(ARGV[1], redis.call('PTTL', KEYS[1])))
return 1
