-- +goose Up
-- +goose StatementBegin

-- The least schema that a program must know to work with this one. A migration that only adds what older programs do not
-- mind leaves it; one that takes something away sets it to its own number, after a release in which nothing used that.
ALTER TABLE state ADD COLUMN least_schema INTEGER NOT NULL DEFAULT 1;

-- The first releases know neither that column nor schema_migrations: they look into goose_db_version, and refuse a number
-- that is higher than what they know. A migration that raises least_schema beyond 2 also has to insert its number there.
CREATE TABLE IF NOT EXISTS goose_db_version (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp     TIMESTAMP DEFAULT (datetime('now'))
);
INSERT INTO goose_db_version (version_id, is_applied)
    SELECT 0, 1 WHERE NOT EXISTS (SELECT 1 FROM goose_db_version WHERE version_id = 0);
INSERT INTO goose_db_version (version_id, is_applied)
    SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM goose_db_version WHERE version_id = 1);
INSERT INTO goose_db_version (version_id, is_applied)
    SELECT 2, 1 WHERE NOT EXISTS (SELECT 1 FROM goose_db_version WHERE version_id = 2);

-- For the sweep of idle sessions, for the last admin, and for the search for hashes of the Python AuthKit.
CREATE INDEX sessions_by_activity ON sessions (last_seen_at);
CREATE INDEX users_by_role ON users (backend, role);
CREATE INDEX users_by_legacy_hash ON users (substr(password_hash, 1, 7))
    WHERE password_hash LIKE '$2%' OR password_hash LIKE 'pbkdf2:%';
-- +goose StatementEnd
