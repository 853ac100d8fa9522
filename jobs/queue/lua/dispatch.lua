-- Dispatches the due customers: moves them from `waiting` to `dispatched`, until they are settled or their dispatch expires.
-- It expires if a wake-up was lost or a worker was killed; then the customer waits again. While the breaker is open, one
-- customer at a time is dispatched, as a probe.
--
-- Uses: wrong_types
-- Uses: rechecks
-- KEYS: waiting, dispatched, rechecks, breaker, totals
-- ARGV: key prefix, customers that may be dispatched at a time, milliseconds that a dispatch is valid
-- Returns {now in milliseconds, the customers that were dispatched, milliseconds in which none becomes due by itself: 0 if
-- any waits or is dispatched}
local waiting, dispatched, rechecks, breaker, totals = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- The short way of an idle worker.
if redis.call('EXISTS', waiting, dispatched) == 0 then
  local quiet_ms = until_recheck(rechecks, now_ms)
  if quiet_ms > 0 then return {now_ms, {}, quiet_ms} end
end

-- Fails here if this key has the wrong type, before a customer is removed from `dispatched`.
redis.call('ZCARD', waiting)
-- They return to their old position in `waiting`, not to the end.
local overdue = redis.call('ZRANGEBYSCORE', dispatched, '-inf', now_ms, 'LIMIT', 0, 100)
for _, customer in ipairs(overdue) do
  redis.call('ZREM', dispatched, customer)
  redis.call('ZADD', waiting, now_ms - ARGV[3], customer)
end
if #overdue > 0 then count(totals, 'dispatched_again', #overdue) end

start_rechecks(rechecks, waiting, dispatched, ARGV[1], now_ms)

local room = tonumber(ARGV[2]) - redis.call('ZCARD', dispatched)
local opened, probe, probe_at = unpack(renewing('HMGET', breaker, 'opened', 'probe', 'probe_at'))
if opened then
  local probing = probe and redis.call('ZSCORE', dispatched, probe)
  room = (not probing and now_ms >= (tonumber(probe_at) or 0)) and 1 or 0
end
count_replaced(totals)
if room <= 0 then return {now_ms, {}, 0} end
local due = redis.call('ZRANGEBYSCORE', waiting, '-inf', now_ms, 'LIMIT', 0, room)
for _, customer in ipairs(due) do
  redis.call('ZREM', waiting, customer)
  redis.call('ZADD', dispatched, now_ms + ARGV[3], customer)
  if opened then redis.call('HSET', breaker, 'probe', customer) end
end
return {now_ms, due, 0}
