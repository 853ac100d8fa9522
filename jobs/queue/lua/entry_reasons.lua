-- Returns the reasons and the customers of some dead letters or reviews, without what was sent, which may be large and
-- personal.
--
-- Uses: wrong_types
-- KEYS: dead or reviews
-- ARGV: the id after which to begin, the last id, entries to read at most
-- Returns {id of the last entry that was read, entries that were read, {reason, customer, reason, customer, …}}
local entries = redis.pcall('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
-- A stream of the wrong type stays until a person repairs it.
if is_wrong_type(entries) then return {'', 0, {}} end
if is_error(entries) then return entries end
local last, found = '', {}
for _, entry in ipairs(entries) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  found[#found + 1], found[#found + 2] = fields.reason or '', fields.customer or ''
  last = entry[1]
end
return {last, #entries, found}
