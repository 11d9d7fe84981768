-- +goose Up
-- +goose StatementBegin

-- The least schema that a program must know to work with this one. A migration that only adds what older programs do not
-- mind leaves it; one that takes something away sets it to its own number, after a release in which nothing used that.
ALTER TABLE state ADD COLUMN least_schema BIGINT NOT NULL DEFAULT 1;

-- For the sweep of idle sessions, for the last admin, and for the search for hashes of the Python AuthKit.
CREATE INDEX sessions_by_activity ON sessions (last_seen_at);
CREATE INDEX users_by_role ON users (backend, role);
CREATE INDEX users_by_legacy_hash ON users (substr(password_hash, 1, 7))
    WHERE password_hash LIKE '$2%' OR password_hash LIKE 'pbkdf2:%';
-- +goose StatementEnd
