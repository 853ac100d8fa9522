-- Compares the owner of a key prefix and the reader of an inbox with a deployment, and notes what is not known yet.
--
-- Uses: wrong_types
-- KEYS: owner, reader of the inbox
-- ARGV: key prefix, 1 to note what is not known yet (0: only compare), then names and values of the owner, '' for a value
--       that is not known now
-- Returns {} if nothing differs, else {name, value that is kept}, with the name `reader` for the inbox: then nothing was
-- noted
local owner, reader = KEYS[1], KEYS[2]

-- This key stands beside the inbox, so it may be another application's: it is never deleted.
local reads = redis.pcall('GET', reader)
if is_error(reads) then return {'reader', 'another application'} end
if reads and reads ~= ARGV[1] then return {'reader', reads} end
for i = 3, #ARGV, 2 do
  local kept = renewing('HGET', owner, ARGV[i])
  if kept and ARGV[i + 1] ~= '' and kept ~= ARGV[i + 1] then return {ARGV[i], kept} end
end
if ARGV[2] == '1' then
  redis.call('SET', reader, ARGV[1])
  for i = 3, #ARGV, 2 do
    if ARGV[i + 1] ~= '' then redis.call('HSET', owner, ARGV[i], ARGV[i + 1]) end
  end
end
return {}
