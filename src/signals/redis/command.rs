//! The commands of Redis that are told apart.

use crate::closed_label;

closed_label! {
    /// A command of Redis, or several sent together; `db.operation.name` of the OpenTelemetry
    /// semantic conventions for Redis (v1.41.0).
    pub enum Command {
        /// `APPEND`.
        Append = "APPEND",
        /// `AUTH`.
        Auth = "AUTH",
        /// `BITCOUNT`.
        Bitcount = "BITCOUNT",
        /// `BLMOVE`.
        Blmove = "BLMOVE",
        /// `BLMPOP`.
        Blmpop = "BLMPOP",
        /// `BLPOP`.
        Blpop = "BLPOP",
        /// `BRPOP`.
        Brpop = "BRPOP",
        /// `BRPOPLPUSH`.
        Brpoplpush = "BRPOPLPUSH",
        /// `BZMPOP`.
        Bzmpop = "BZMPOP",
        /// `BZPOPMAX`.
        Bzpopmax = "BZPOPMAX",
        /// `BZPOPMIN`.
        Bzpopmin = "BZPOPMIN",
        /// `CLIENT`.
        Client = "CLIENT",
        /// `COPY`.
        Copy = "COPY",
        /// `DBSIZE`.
        Dbsize = "DBSIZE",
        /// `DECR`.
        Decr = "DECR",
        /// `DECRBY`.
        Decrby = "DECRBY",
        /// `DEL`.
        Del = "DEL",
        /// `DISCARD`.
        Discard = "DISCARD",
        /// `ECHO`.
        Echo = "ECHO",
        /// `EVAL`.
        Eval = "EVAL",
        /// `EVALSHA`.
        Evalsha = "EVALSHA",
        /// `EXEC`.
        Exec = "EXEC",
        /// `EXISTS`.
        Exists = "EXISTS",
        /// `EXPIRE`.
        Expire = "EXPIRE",
        /// `EXPIREAT`.
        Expireat = "EXPIREAT",
        /// `EXPIRETIME`.
        Expiretime = "EXPIRETIME",
        /// `FCALL`.
        Fcall = "FCALL",
        /// `FLUSHALL`.
        Flushall = "FLUSHALL",
        /// `FLUSHDB`.
        Flushdb = "FLUSHDB",
        /// `GEOADD`.
        Geoadd = "GEOADD",
        /// `GEOSEARCH`.
        Geosearch = "GEOSEARCH",
        /// `GET`.
        Get = "GET",
        /// `GETDEL`.
        Getdel = "GETDEL",
        /// `GETEX`.
        Getex = "GETEX",
        /// `GETRANGE`.
        Getrange = "GETRANGE",
        /// `GETSET`.
        Getset = "GETSET",
        /// `HDEL`.
        Hdel = "HDEL",
        /// `HEXISTS`.
        Hexists = "HEXISTS",
        /// `HGET`.
        Hget = "HGET",
        /// `HGETALL`.
        Hgetall = "HGETALL",
        /// `HINCRBY`.
        Hincrby = "HINCRBY",
        /// `HINCRBYFLOAT`.
        Hincrbyfloat = "HINCRBYFLOAT",
        /// `HKEYS`.
        Hkeys = "HKEYS",
        /// `HLEN`.
        Hlen = "HLEN",
        /// `HMGET`.
        Hmget = "HMGET",
        /// `HMSET`.
        Hmset = "HMSET",
        /// `HSCAN`.
        Hscan = "HSCAN",
        /// `HSET`.
        Hset = "HSET",
        /// `HSETNX`.
        Hsetnx = "HSETNX",
        /// `HVALS`.
        Hvals = "HVALS",
        /// `INCR`.
        Incr = "INCR",
        /// `INCRBY`.
        Incrby = "INCRBY",
        /// `INCRBYFLOAT`.
        Incrbyfloat = "INCRBYFLOAT",
        /// `INFO`.
        Info = "INFO",
        /// `KEYS`.
        Keys = "KEYS",
        /// `LINDEX`.
        Lindex = "LINDEX",
        /// `LINSERT`.
        Linsert = "LINSERT",
        /// `LLEN`.
        Llen = "LLEN",
        /// `LMOVE`.
        Lmove = "LMOVE",
        /// `LPOP`.
        Lpop = "LPOP",
        /// `LPUSH`.
        Lpush = "LPUSH",
        /// `LPUSHX`.
        Lpushx = "LPUSHX",
        /// `LRANGE`.
        Lrange = "LRANGE",
        /// `LREM`.
        Lrem = "LREM",
        /// `LSET`.
        Lset = "LSET",
        /// `LTRIM`.
        Ltrim = "LTRIM",
        /// `MGET`.
        Mget = "MGET",
        /// `MSET`.
        Mset = "MSET",
        /// `MSETNX`.
        Msetnx = "MSETNX",
        /// A transaction: several commands that take effect together.
        Multi = "MULTI",
        /// `PERSIST`.
        Persist = "PERSIST",
        /// `PEXPIRE`.
        Pexpire = "PEXPIRE",
        /// `PEXPIREAT`.
        Pexpireat = "PEXPIREAT",
        /// `PFADD`.
        Pfadd = "PFADD",
        /// `PFCOUNT`.
        Pfcount = "PFCOUNT",
        /// `PFMERGE`.
        Pfmerge = "PFMERGE",
        /// `PING`.
        Ping = "PING",
        /// Several commands in one round trip.
        Pipeline = "PIPELINE",
        /// `PSETEX`.
        Psetex = "PSETEX",
        /// `PTTL`.
        Pttl = "PTTL",
        /// `PUBLISH`.
        Publish = "PUBLISH",
        /// `RENAME`.
        Rename = "RENAME",
        /// `RENAMENX`.
        Renamenx = "RENAMENX",
        /// `RPOP`.
        Rpop = "RPOP",
        /// `RPOPLPUSH`.
        Rpoplpush = "RPOPLPUSH",
        /// `RPUSH`.
        Rpush = "RPUSH",
        /// `RPUSHX`.
        Rpushx = "RPUSHX",
        /// `SADD`.
        Sadd = "SADD",
        /// `SCAN`.
        Scan = "SCAN",
        /// `SCARD`.
        Scard = "SCARD",
        /// `SCRIPT`.
        Script = "SCRIPT",
        /// `SDIFF`.
        Sdiff = "SDIFF",
        /// `SELECT`.
        Select = "SELECT",
        /// `SET`.
        Set = "SET",
        /// `SETBIT`.
        Setbit = "SETBIT",
        /// `SETEX`.
        Setex = "SETEX",
        /// `SETNX`.
        Setnx = "SETNX",
        /// `SETRANGE`.
        Setrange = "SETRANGE",
        /// `SINTER`.
        Sinter = "SINTER",
        /// `SISMEMBER`.
        Sismember = "SISMEMBER",
        /// `SMEMBERS`.
        Smembers = "SMEMBERS",
        /// `SMISMEMBER`.
        Smismember = "SMISMEMBER",
        /// `SMOVE`.
        Smove = "SMOVE",
        /// `SPOP`.
        Spop = "SPOP",
        /// `SPUBLISH`.
        Spublish = "SPUBLISH",
        /// `SRANDMEMBER`.
        Srandmember = "SRANDMEMBER",
        /// `SREM`.
        Srem = "SREM",
        /// `SSCAN`.
        Sscan = "SSCAN",
        /// `STRLEN`.
        Strlen = "STRLEN",
        /// `SUNION`.
        Sunion = "SUNION",
        /// `TIME`.
        Time = "TIME",
        /// `TOUCH`.
        Touch = "TOUCH",
        /// `TTL`.
        Ttl = "TTL",
        /// `TYPE`.
        Type = "TYPE",
        /// `UNLINK`.
        Unlink = "UNLINK",
        /// `UNWATCH`.
        Unwatch = "UNWATCH",
        /// `WAIT`.
        Wait = "WAIT",
        /// `WAITAOF`.
        Waitaof = "WAITAOF",
        /// `WATCH`.
        Watch = "WATCH",
        /// `XACK`.
        Xack = "XACK",
        /// `XADD`.
        Xadd = "XADD",
        /// `XAUTOCLAIM`.
        Xautoclaim = "XAUTOCLAIM",
        /// `XCLAIM`.
        Xclaim = "XCLAIM",
        /// `XDEL`.
        Xdel = "XDEL",
        /// `XGROUP`.
        Xgroup = "XGROUP",
        /// `XINFO`.
        Xinfo = "XINFO",
        /// `XLEN`.
        Xlen = "XLEN",
        /// `XPENDING`.
        Xpending = "XPENDING",
        /// `XRANGE`.
        Xrange = "XRANGE",
        /// `XREAD`.
        Xread = "XREAD",
        /// `XREADGROUP`.
        Xreadgroup = "XREADGROUP",
        /// `XREVRANGE`.
        Xrevrange = "XREVRANGE",
        /// `XTRIM`.
        Xtrim = "XTRIM",
        /// `ZADD`.
        Zadd = "ZADD",
        /// `ZCARD`.
        Zcard = "ZCARD",
        /// `ZCOUNT`.
        Zcount = "ZCOUNT",
        /// `ZINCRBY`.
        Zincrby = "ZINCRBY",
        /// `ZMSCORE`.
        Zmscore = "ZMSCORE",
        /// `ZPOPMAX`.
        Zpopmax = "ZPOPMAX",
        /// `ZPOPMIN`.
        Zpopmin = "ZPOPMIN",
        /// `ZRANGE`.
        Zrange = "ZRANGE",
        /// `ZRANGEBYSCORE`.
        Zrangebyscore = "ZRANGEBYSCORE",
        /// `ZRANK`.
        Zrank = "ZRANK",
        /// `ZREM`.
        Zrem = "ZREM",
        /// `ZREMRANGEBYRANK`.
        Zremrangebyrank = "ZREMRANGEBYRANK",
        /// `ZREMRANGEBYSCORE`.
        Zremrangebyscore = "ZREMRANGEBYSCORE",
        /// `ZREVRANGE`.
        Zrevrange = "ZREVRANGE",
        /// `ZSCAN`.
        Zscan = "ZSCAN",
        /// `ZSCORE`.
        Zscore = "ZSCORE",
        /// Any other command.
        Other = "other",
    }
}
