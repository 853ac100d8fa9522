-- Holds places among those in flight for a while longer.
--
-- KEYS: places
-- ARGV: milliseconds, XX to renew only what is still there or NX to take what has run out anew, then the tokens
local time = redis.call('TIME')
local until_us = time[1] * 1000000 + time[2] + ARGV[1] * 1000
for i = 3, #ARGV do
  if ARGV[2] == 'NX' then redis.call('ZADD', KEYS[1], 'NX', until_us, ARGV[i]) end
  redis.call('ZADD', KEYS[1], 'XX', 'GT', until_us, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], math.max(ARGV[1], redis.call('PTTL', KEYS[1])))
return 1
