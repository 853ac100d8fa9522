-- Calls the customers whose time has come: they go from `waiting` to `called`, where they stay until they are settled or
-- until their time there is over. Then nobody works on them (a lost wake-up, a killed worker) and they wait again.
--
-- KEYS: waiting, called, totals
-- ARGV: customers that may be called at a time, milliseconds a call is good for
-- Returns {now in milliseconds, the customers that were called}
local waiting, called, totals = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local overdue = redis.call('ZRANGEBYSCORE', called, '-inf', now_ms, 'LIMIT', 0, 100)
for _, customer in ipairs(overdue) do
  redis.call('ZREM', called, customer)
  redis.call('ZADD', waiting, now_ms, customer)
end
if #overdue > 0 then redis.call('HINCRBY', totals, 'called_again', #overdue) end

local room = tonumber(ARGV[1]) - redis.call('ZCARD', called)
if room <= 0 then return {now_ms, {}} end
local due = redis.call('ZRANGEBYSCORE', waiting, '-inf', now_ms, 'LIMIT', 0, room)
for _, customer in ipairs(due) do
  redis.call('ZREM', waiting, customer)
  redis.call('ZADD', called, now_ms + ARGV[2], customer)
end
return {now_ms, due}
