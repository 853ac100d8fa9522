-- Extends or releases the lease of the scan, so that one scan at a time runs over all processes. An expired lease can be
-- taken again if no other process holds it.
--
-- Uses: wrong_types
-- KEYS: lease, run
-- ARGV: token, lease in milliseconds (0 releases it), progress of the run as JSON (empty: keep the stored one), seconds
--       until the progress expires
-- Returns 1, or 0 if another process holds the lease
local lease, run = KEYS[1], KEYS[2]
local holder = renewing('GET', lease)

if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', lease)
else
  redis.call('SET', lease, ARGV[1], 'PX', ARGV[2])
end
if ARGV[3] ~= '' then redis.call('SET', run, ARGV[3], 'EX', ARGV[4]) end
return 1
