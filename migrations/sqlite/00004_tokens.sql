-- +goose Up
-- +goose StatementBegin

-- What programs present. A role or location that is empty limits nothing.
CREATE TABLE tokens (
    token_hash   BLOB    NOT NULL PRIMARY KEY, -- SHA-256; the token itself is nowhere
    user_id      INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL DEFAULT '',
    location     TEXT    NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,                      -- NULL: never
    last_used_at INTEGER,
    UNIQUE (user_id, name)
) WITHOUT ROWID;
CREATE INDEX tokens_by_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TRIGGER tokens_inserted AFTER INSERT ON tokens BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER tokens_updated
AFTER UPDATE OF token_hash, user_id, name, role, location, created_at, expires_at ON tokens BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER tokens_deleted AFTER DELETE ON tokens BEGIN
    UPDATE state SET version = version + 1;
END;
-- +goose StatementEnd
