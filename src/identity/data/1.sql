CREATE TABLE identity_accounts (
    id {serial},
    username TEXT NOT NULL,
    domain TEXT NOT NULL,
    display_name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    roles TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    password_changed_at INTEGER NOT NULL,
    UNIQUE (domain, username)
);

CREATE TABLE identity_scram (
    account INTEGER NOT NULL REFERENCES identity_accounts (id) ON DELETE CASCADE,
    mechanism TEXT NOT NULL,
    salt {blob} NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key {blob} NOT NULL,
    server_key {blob} NOT NULL,
    PRIMARY KEY (account, mechanism)
);

CREATE TABLE identity_digest (
    account INTEGER NOT NULL REFERENCES identity_accounts (id) ON DELETE CASCADE,
    username TEXT NOT NULL,
    realm TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    ha1 TEXT NOT NULL,
    PRIMARY KEY (username, realm, algorithm)
);
CREATE INDEX identity_digest_account ON identity_digest (account);

CREATE TABLE identity_app_passwords (
    id {serial},
    account INTEGER NOT NULL REFERENCES identity_accounts (id) ON DELETE CASCADE,
    label TEXT NOT NULL,
    hash {blob} NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    used_at INTEGER
);
CREATE INDEX identity_app_passwords_account ON identity_app_passwords (account);

CREATE TABLE identity_aliases (
    username TEXT NOT NULL,
    domain TEXT NOT NULL,
    account INTEGER NOT NULL REFERENCES identity_accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (domain, username)
);
CREATE INDEX identity_aliases_account ON identity_aliases (account);

CREATE TABLE identity_extensions (
    domain TEXT NOT NULL,
    extension TEXT NOT NULL,
    account INTEGER NOT NULL REFERENCES identity_accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (domain, extension)
);
CREATE INDEX identity_extensions_account ON identity_extensions (account);

CREATE TABLE identity_audit (
    id {serial},
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    source TEXT,
    service TEXT,
    detail TEXT
);
CREATE INDEX identity_audit_at ON identity_audit (at);

CREATE TABLE identity_secrets (
    name TEXT PRIMARY KEY,
    value {blob} NOT NULL
);
