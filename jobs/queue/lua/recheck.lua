-- Schedules a recheck of a customer, unless a later one is scheduled. For a worker that lost the lease during a write.
--
-- Uses: wrong_types
-- Uses: rechecks
-- KEYS: rechecks, record
-- ARGV: customer, milliseconds until the recheck
local time = redis.call('TIME')
local due_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
local added = schedule_recheck(KEYS[1], ARGV[1], due_ms)
if is_error(added) and not is_wrong_type(added) then again('ZADD', KEYS[1], 'GT', due_ms, ARGV[1]) end
renewing('HSET', KEYS[2], 'recheck_kind', 'whole')
return 1
