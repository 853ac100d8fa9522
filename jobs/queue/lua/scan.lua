-- Keeps, or gives back, the right to scan, so that one scan runs at a time over all processes. Where the right ran out
-- and nobody took it, whoever had it has it again.
--
-- Uses: wrong_types
-- KEYS: lease, run
-- ARGV: token, lease in milliseconds (0 gives it back), how far the run is as JSON (empty: leave what is there),
--       seconds that is kept
-- Returns 1, or 0 if another has the right
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
