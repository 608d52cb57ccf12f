CREATE TABLE sip_bindings (
    address TEXT NOT NULL,
    uri TEXT NOT NULL,
    q INTEGER NOT NULL,
    expires BIGINT NOT NULL,
    since BIGINT NOT NULL,
    call_id TEXT NOT NULL,
    cseq BIGINT NOT NULL,
    transport TEXT NOT NULL,
    local TEXT NOT NULL,
    remote TEXT NOT NULL,
    instance TEXT,
    user_agent TEXT NOT NULL,
    behind_nat INTEGER NOT NULL,
    PRIMARY KEY (address, uri)
);
CREATE INDEX sip_bindings_expires ON sip_bindings (expires);

CREATE TABLE sip_secrets (
    name TEXT PRIMARY KEY,
    value {blob} NOT NULL
);
