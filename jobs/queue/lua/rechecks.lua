-- Functions that schedule and start rechecks. Included in other scripts, after wrong_types. The key `rechecks` holds when
-- each is due. Once it is due, the field `recheck` of the customer record is 1 until a sync succeeds; `recheck_kind` is the
-- reason. While the key has the wrong type, no recheck starts, and other work goes on.

-- Schedules a recheck, unless a later one is scheduled. Returns the answer of Redis, which may be an error.
local function schedule_recheck(rechecks, customer, due_ms) return redis.pcall('ZADD', rechecks, 'GT', due_ms, customer) end

local function cancel_recheck(rechecks, customer) redis.pcall('ZREM', rechecks, customer) end

-- Returns the milliseconds until the next recheck is due: 0 if one is due, an hour at most.
local function until_recheck(rechecks, now_ms)
  local first = redis.pcall('ZRANGE', rechecks, 0, 0, 'WITHSCORES')
  local due_ms = not is_error(first) and tonumber(first[2]) or math.huge
  return math.max(0, math.min(due_ms - now_ms, 3600000))
end

-- Adds the customers with a due recheck to `waiting`, unless a sync of them runs.
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

-- Whether the recheck of the customer is due and not done yet.
local function is_recheck_due(record) return renewing('HGET', record, 'recheck') == '1' end
