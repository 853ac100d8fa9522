-- Deletes a key of ours that holds the wrong type of value.
--
-- Uses: wrong_types
-- KEYS: the key, totals
-- ARGV: the type it should have
-- Returns 1 if it was deleted, else 0
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' or kind == ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
count(KEYS[2], 'keys_replaced', 1)
return 1
