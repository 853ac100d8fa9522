-- Shared by other scripts, and put before them: what to do about a key of ours that holds another type of value.
-- What is lost with the value can be learned again (a record, a lease, the ids seen in half a day), so it is deleted.
local replaced = {}

local function is_error(answer) return type(answer) == 'table' and answer.err ~= nil end

local function is_wrong_type(answer) return is_error(answer) and string.find(answer.err, 'WRONGTYPE', 1, true) ~= nil end

-- Raises the error of a command that was refused, with the code that Redis gives it: the command is refused again, while
-- error() would put the text of the error into one of another code.
local function again(command, key, ...) return redis.call(command, key, ...) end

-- Runs a command; a key of the wrong type is deleted first. Any other error is raised.
local function renewing(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if is_wrong_type(answer) then
    redis.call('DEL', key)
    replaced[#replaced + 1] = key
    answer = redis.pcall(command, key, ...)
  end
  return is_error(answer) and again(command, key, ...) or answer
end

-- Adds to a counter. One that cannot be added to stops nothing.
local function count(totals, name, by) redis.pcall('HINCRBY', totals, name, by) end

local function count_replaced(totals)
  if #replaced > 0 then count(totals, 'keys_replaced', #replaced) end
end
