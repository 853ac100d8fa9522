-- Functions for a key of ours that holds the wrong type of value. Included in other scripts. The key is deleted, because its
-- data can be rebuilt: a record, a lease, the ids that were seen in half a day.
local replaced = {}

local function is_error(answer) return type(answer) == 'table' and answer.err ~= nil end

local function is_wrong_type(answer) return is_error(answer) and string.find(answer.err, 'WRONGTYPE', 1, true) ~= nil end

-- Runs a failed command again to raise its error. error() would replace the error code of Redis.
local function again(command, key, ...) return redis.call(command, key, ...) end

-- Runs a command, and deletes the key first if it has the wrong type. Raises any other error.
local function renewing(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if is_wrong_type(answer) then
    redis.call('DEL', key)
    replaced[#replaced + 1] = key
    answer = redis.pcall(command, key, ...)
  end
  return is_error(answer) and again(command, key, ...) or answer
end

-- Adds to a counter. A broken counter must stop nothing.
local function count(totals, name, by) redis.pcall('HINCRBY', totals, name, by) end

local function count_replaced(totals)
  if #replaced > 0 then count(totals, 'keys_replaced', #replaced) end
end
