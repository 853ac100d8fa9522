-- Compares the owner of a key prefix and the reader of an inbox with a deployment, and notes what is not known yet.
--
-- Uses: wrong_types
-- KEYS: owner, reader of the inbox
-- ARGV: key prefix, 1 to note what is not known yet (0: only compare), mode, then digests of Stripe's account ('' if it
--       is not known now), of Autumn's key, of Stripe's key
-- Returns {} if nothing differs, else {name, value that is kept}, with the name `reader` for the inbox and `keys` if
-- nothing shows that it is the same deployment: then nothing was noted
local owner, reader = KEYS[1], KEYS[2]
local prefix, notes, mode, account = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
local key_digests = {autumn_key = ARGV[5], stripe_key = ARGV[6]}

local function has_a_kept_key()
  local is_any_kept = false
  for name, digest in pairs(key_digests) do
    local kept = redis.call('HGET', owner, name)
    if kept == digest then return true end
    is_any_kept = is_any_kept or kept ~= false
  end
  return not is_any_kept
end

-- This key stands beside the inbox, so it may be another application's: it is never deleted.
local reads = redis.pcall('GET', reader)
if is_error(reads) then return {'reader', 'another application'} end
if reads and reads ~= prefix then return {'reader', reads} end

local kept_mode = renewing('HGET', owner, 'mode')
local kept_account = redis.call('HGET', owner, 'stripe')
if kept_mode and kept_mode ~= mode then return {'mode', kept_mode} end
if kept_account then
  if account ~= '' and kept_account ~= account then return {'stripe', kept_account} end
-- The account of the first start is not known: only a key that both have shows that they belong together.
elseif not has_a_kept_key() then
  return {'keys', ''}
end

if notes then
  redis.call('SET', reader, prefix)
  redis.call('HSET', owner, 'mode', mode)
  if account ~= '' then
    redis.call('HSET', owner, 'stripe', account)
    redis.call('HDEL', owner, 'autumn_key', 'stripe_key')
  elseif not kept_account then
    redis.call('HSET', owner, 'autumn_key', key_digests.autumn_key, 'stripe_key', key_digests.stripe_key)
  end
end
return {}
