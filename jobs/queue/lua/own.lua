-- Compares the owner of a key prefix and the reader of an inbox with a deployment, and notes it.
--
-- Uses: wrong_types
-- KEYS: owner, reader of the inbox
-- ARGV: key prefix, 1 to note this deployment (0: only compare), mode, then digests of Stripe's account ('' if it is not
--       known now), of Autumn's key, of Stripe's key, and 1 if Stripe may tell the account later
-- Returns {} if nothing differs, else {name, value that is kept}, with the name `reader` for the inbox, `keys` if
-- nothing shows that it is the same deployment, and `undecided` if the account will show it: then nothing was noted
local owner, reader = KEYS[1], KEYS[2]
local prefix, notes, mode, account, may_follow = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4], ARGV[7] == '1'

-- Reads a field of the owner. A key of another type keeps nothing; it is replaced only if something is noted.
local function kept(name)
  local answer = redis.pcall('HGET', owner, name)
  if is_wrong_type(answer) then return false end
  return is_error(answer) and again('HGET', owner, name) or answer
end

-- This key stands beside the inbox, so it may be another application's: it is never deleted.
local reads = redis.pcall('GET', reader)
if is_error(reads) then return {'reader', 'another application'} end
if reads and reads ~= prefix then return {'reader', reads} end

local kept_mode, kept_account = kept('mode'), kept('stripe')
local autumn_key, stripe_key = kept('autumn_key'), kept('stripe_key')
local is_first = not (kept_account or autumn_key or stripe_key)
local has_both = autumn_key == ARGV[5] and stripe_key == ARGV[6]
local has_one = autumn_key == ARGV[5] or stripe_key == ARGV[6]

if kept_mode and kept_mode ~= mode then return {'mode', kept_mode} end
if kept_account and account ~= '' then
  if kept_account ~= account then return {'stripe', kept_account} end
-- One of the two accounts is not known: only a key that both have shows that they belong together.
elseif not is_first and not has_one and not (kept_account and may_follow) then
  return {'keys', kept_account or ''}
end
if account == '' and may_follow and not has_both then return {'undecided', ''} end

if notes then
  redis.call('SET', reader, prefix)
  renewing('HSET', owner, 'mode', mode, 'autumn_key', ARGV[5], 'stripe_key', ARGV[6])
  if account ~= '' then redis.call('HSET', owner, 'stripe', account) end
end
return {}
