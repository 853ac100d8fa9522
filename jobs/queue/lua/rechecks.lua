-- Shared by other scripts, and put before them, after wrong_types: when a customer's recheck is due, and how that is stored.
-- The key `rechecks` holds when it is due. Once it is due, the field `recheck` of the customer's record is 1 until a sync
-- ends without a failure. The field `recheck_kind` says why it comes. While the key has the wrong type, rechecks are put
-- off, so nothing else may wait for them.

-- Schedules a recheck, or leaves a later one as it is. Returns the answer of Redis, which may be an error.
local function schedule_recheck(rechecks, customer, due_ms) return redis.pcall('ZADD', rechecks, 'GT', due_ms, customer) end

local function cancel_recheck(rechecks, customer) redis.pcall('ZREM', rechecks, customer) end

-- Makes the customers wait whose recheck is due and on whom nobody works.
local function start_rechecks(rechecks, waiting, dispatched, prefix, now_ms)
  local due = redis.pcall('ZRANGEBYSCORE', rechecks, '-inf', now_ms, 'LIMIT', 0, 100)
  for _, customer in ipairs(is_error(due) and {} or due) do
    if not redis.call('ZSCORE', dispatched, customer) then
      redis.call('ZREM', rechecks, customer)
      renewing('HSET', prefix .. ':customer:' .. customer, 'recheck', '1')
      redis.call('ZADD', waiting, 'NX', now_ms, customer)
    end
  end
end

-- Whether the customer's recheck is due and was not done yet.
local function is_recheck_due(record) return renewing('HGET', record, 'recheck') == '1' end
