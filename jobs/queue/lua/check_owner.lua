-- Compares a deployment with the owner of a key prefix and the reader of an inbox, and stores the deployment if it matches.
--
-- Uses: wrong_types
-- KEYS: owner, reader of the inbox
-- ARGV: key prefix, 1 to store this deployment (0: only compare), mode, then digests of Stripe's account ('' if it is not
--       known now), of Autumn's key, of Stripe's key, and 1 if Stripe may reveal the account later
-- Returns {} if nothing differs, else {name, stored value}: then nothing was stored. The name is `mode`, `stripe`, `reader`
-- (the inbox), `keys` (nothing proves that it is the same deployment) or `undecided` (only the account can prove it)
local owner, reader = KEYS[1], KEYS[2]
local prefix, notes, mode, account, may_follow = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4], ARGV[7] == '1'

-- Returns a field of the owner. A key of the wrong type counts as empty, and is replaced only when this script stores.
local function kept(name)
  local answer = redis.pcall('HGET', owner, name)
  if is_wrong_type(answer) then return false end
  return is_error(answer) and again('HGET', owner, name) or answer
end

-- The name of this key begins with that of the inbox, so it may belong to another application. It is never deleted.
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
-- One of the two accounts is not known: only an API key in common proves that the deployment is the same.
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
