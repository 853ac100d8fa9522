-- Changes the state of the notifications, and releases their lease at the end of a request.
--
-- Uses: wrong_types
-- KEYS: notifications, lease, totals
-- ARGV: token, 1 to release the lease, name of a total to count in ('' for none), seconds until the state expires,
--       then fields of the state and their values ('' deletes the field)
-- Returns 1, or 0 if the lease is lost: then nothing was changed
local notifications, lease, totals = unpack(KEYS)
if renewing('GET', lease) ~= ARGV[1] then return 0 end
for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    renewing('HDEL', notifications, ARGV[i])
  else
    renewing('HSET', notifications, ARGV[i], ARGV[i + 1])
  end
end
redis.call('EXPIRE', notifications, ARGV[4])
if ARGV[2] == '1' then redis.call('DEL', lease) end
if ARGV[3] ~= '' then count(totals, ARGV[3], 1) end
count_replaced(totals)
return 1
