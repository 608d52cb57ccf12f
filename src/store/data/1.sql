CREATE TABLE store_blobs (
    id TEXT PRIMARY KEY,
    links INTEGER NOT NULL,
    unlinked_at INTEGER NOT NULL
);
