-- Calls the customers whose time has come: they go from `waiting` to `called`, where they stay until they are settled or
-- until their time there is over. Then nobody works on them (a lost wake-up, a killed worker) and they wait again.
-- While the line is closed, one customer at a time is called, as a probe.
--
-- Uses: wrong_types
-- KEYS: waiting, called, looks, line, totals
-- ARGV: key prefix, customers that may be called at a time, milliseconds a call is good for
-- Returns {now in milliseconds, the customers that were called}
local waiting, called, looks, line, totals = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Fails before anybody is taken out of `called` if this key has the wrong type.
redis.call('ZCARD', waiting)
-- Back to where they were in the line, not to its end.
local overdue = redis.call('ZRANGEBYSCORE', called, '-inf', now_ms, 'LIMIT', 0, 100)
for _, customer in ipairs(overdue) do
  redis.call('ZREM', called, customer)
  redis.call('ZADD', waiting, now_ms - ARGV[3], customer)
end
if #overdue > 0 then count(totals, 'called_again', #overdue) end

-- Rechecks are put off while their key has the wrong type; nobody else waits for them.
local to_look_at = redis.pcall('ZRANGEBYSCORE', looks, '-inf', now_ms, 'LIMIT', 0, 100)
for _, customer in ipairs(is_error(to_look_at) and {} or to_look_at) do
  if not redis.call('ZSCORE', called, customer) then
    redis.call('ZREM', looks, customer)
    renewing('HSET', ARGV[1] .. ':customer:' .. customer, 'look', '1')
    redis.call('ZADD', waiting, 'NX', now_ms, customer)
  end
end

local room = tonumber(ARGV[2]) - redis.call('ZCARD', called)
local closed, probe, probe_at = unpack(renewing('HMGET', line, 'closed', 'probe', 'probe_at'))
if closed then
  local probing = probe and redis.call('ZSCORE', called, probe)
  room = (not probing and now_ms >= (tonumber(probe_at) or 0)) and 1 or 0
end
count_replaced(totals)
if room <= 0 then return {now_ms, {}} end
local due = redis.call('ZRANGEBYSCORE', waiting, '-inf', now_ms, 'LIMIT', 0, room)
for _, customer in ipairs(due) do
  redis.call('ZREM', waiting, customer)
  redis.call('ZADD', called, now_ms + ARGV[3], customer)
  if closed then redis.call('HSET', line, 'probe', customer) end
end
return {now_ms, due}
