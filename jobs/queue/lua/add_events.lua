-- Adds events to the inbox, all or none of them, if the rate of their source allows it.
--
-- Uses: wrong_types
-- Uses: source_rate
-- KEYS: inbox, rate of the source
-- ARGV: microseconds between two events, size of a burst, events as the rate counts them, number of events,
--       then for each event: number of its names and values, and these
-- Returns {microseconds to wait, ids of the entries}: no ids if it has to wait, and 0 if they were added.
local inbox, units, number = KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4])

local wait, take = source_rate(KEYS[2], units, tonumber(ARGV[1]), tonumber(ARGV[2]))
if wait > 0 then return {wait, {}} end

local ids, at = {}, 5
for _ = 1, number do
  local last = at + tonumber(ARGV[at])
  local added = redis.pcall('XADD', inbox, '*', unpack(ARGV, at + 1, last))
  if is_error(added) then
    -- A stream that has only a few ids left accepts the first events and refuses the others.
    if #ids > 0 then redis.call('XDEL', inbox, unpack(ids)) end
    return added
  end
  ids[#ids + 1] = added
  at = last + 1
end
take(units)
return {0, ids}
