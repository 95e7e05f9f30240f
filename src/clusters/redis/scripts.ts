/**
 * What has to be one step in Redis. All keys carry one prefix (with a hash tag where Redis is a Cluster):
 *
 *     nodes          hash    node -> facts (JSON)                  members
 *     incarnations   hash    node -> number                        of members; what a node writes as another incarnation, or as none, is
 *                                                                  refused, by these scripts and by the store's
 *     joins          string  number                                the last incarnation given
 *     alive:<node>   string  incarnation, with a time to live      heartbeat
 *     leader         string  node incarnation, with a time to live
 *     led            string  node incarnation of who led last: it is declared dead before another leads, so that two never do
 *     owners         hash    Client Identifier -> node             who serves it
 *     passed:<node>  set     Client Identifiers that others took from this node, which did not surrender them in time. While there are
 *                            any, the store refuses the node's groups: it does not know yet that what it has of them is old
 */

/** KEYS nodes, incarnations, alive:<node>, joins. ARGV node, facts, ttl ms. Returns the incarnation, which no other ever had. */
export const join = `
local incarnation = redis.call('INCR', KEYS[4])
redis.call('HSET', KEYS[2], ARGV[1], incarnation)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SET', KEYS[3], incarnation, 'PX', ARGV[3])
return incarnation
`

/** KEYS nodes, incarnations. ARGV node, incarnation, facts. Returns 1, or 0 when fenced. */
export const announce = `
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
`

/**
 * KEYS incarnations, alive:<node>, leader, led, nodes. ARGV node, incarnation, ttl ms, 1 when it may take the lead of another, prefix.
 * Returns -1 when fenced, else "node incarnation" of who leads, or nothing: nobody does.
 */
export const beat = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return -1 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local me = ARGV[1] .. ' ' .. ARGV[2]
local leader = redis.call('GET', KEYS[3])
local led = redis.call('GET', KEYS[4])
if not leader and led and led ~= me and ARGV[4] ~= '1' then return '' end
if leader == me or not leader then
  if led and led ~= me then
    local space = string.find(led, ' [0-9]+$')
    local node = string.sub(led, 1, space - 1)
    if redis.call('HGET', KEYS[1], node) == string.sub(led, space + 1) then
      redis.call('HDEL', KEYS[1], node)
      redis.call('HDEL', KEYS[5], node)
      redis.call('DEL', ARGV[5] .. 'passed:' .. node)
    end
  end
  redis.call('SET', KEYS[4], me)
  redis.call('SET', KEYS[3], me, 'PX', ARGV[3])
  return me
end
return leader
`

/**
 * Declares a node dead, or takes leave of it.
 * KEYS nodes, incarnations, alive:<node>, leader, led, passed:<node>. ARGV node, incarnation, 'leave' or 'reap'.
 * Returns 1 when it is gone by this call.
 */
export const remove = `
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == 'reap' and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3], KEYS[6])
for i = 4, 5 do
  if redis.call('GET', KEYS[i]) == ARGV[1] .. ' ' .. ARGV[2] then redis.call('DEL', KEYS[i]) end
end
return 1
`

/**
 * KEYS owners, incarnations, passed:<node to be passed over>. ARGV Client Identifier, node, incarnation, owner to be passed over or ''.
 * Owners are written as "node incarnation"; one of an incarnation that is gone counts as none.
 * Returns nil when this node serves it now, else the owner; an error NODE_FENCED when this node is.
 */
export const claim = `
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then return redis.error_reply('NODE_FENCED') end
local me = ARGV[2] .. ' ' .. ARGV[3]
local owner = redis.call('HGET', KEYS[1], ARGV[1])
if owner and owner ~= me then
  local space = string.find(owner, ' [0-9]+$')
  local node = string.sub(owner, 1, space - 1)
  if redis.call('HGET', KEYS[2], node) == string.sub(owner, space + 1) then
    if owner ~= ARGV[4] then return owner end
    redis.call('SADD', KEYS[3], ARGV[1])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], me)
return nil
`

/** KEYS owners, passed:<node>. ARGV Client Identifier, node, incarnation. The node is done with it, whoever took it meanwhile. */
export const release = `
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] .. ' ' .. ARGV[3] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
`

/**
 * Removes the owners that are no members any more, of one slice of the hash. KEYS owners, incarnations. ARGV cursor, about how many.
 * Returns the next cursor; '0': done.
 */
export const forgetOwners = `
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
for i = 1, #found[2], 2 do
  local owner = found[2][i + 1]
  local space = string.find(owner, ' [0-9]+$')
  if redis.call('HGET', KEYS[2], string.sub(owner, 1, space - 1)) ~= string.sub(owner, space + 1) then
    redis.call('HDEL', KEYS[1], found[2][i])
  end
end
return found[1]
`
