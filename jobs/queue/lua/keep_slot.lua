-- Keeps the slot of an abandoned write that may still be applied, except the last slot: keeping that would block all other
-- writes, and one more request in flight does no harm.
--
-- Uses: wrong_types
-- KEYS: slots
-- ARGV: token, milliseconds in which it may still be applied, number of slots
-- Returns 1, or 0 if the slot was freed
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
renewing('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREM', KEYS[1], ARGV[1])
local kept = 0
for _, token in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(token, 1, 5) == 'late:' then kept = kept + 1 end
end
if kept >= tonumber(ARGV[3]) - 1 then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2] * 1000, 'late:' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.max(ARGV[2], redis.call('PTTL', KEYS[1])))
return 1
