-- +goose Up
-- +goose StatementBegin

-- What the config file's rules give a user in code locations, by the groups that the user's backend tells of. It is written
-- anew at each sign-in and each refresh.
CREATE TABLE rule_grants (
    user_id  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    location TEXT    NOT NULL,
    role     TEXT    NOT NULL,
    PRIMARY KEY (user_id, location, role)
) WITHOUT ROWID;

CREATE TRIGGER rule_grants_inserted AFTER INSERT ON rule_grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER rule_grants_updated AFTER UPDATE ON rule_grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER rule_grants_deleted AFTER DELETE ON rule_grants BEGIN
    UPDATE state SET version = version + 1;
END;

-- A session whose backend is asked now and then whether its user is still there. These columns do not move state.version.
ALTER TABLE sessions ADD COLUMN provider TEXT NOT NULL DEFAULT '';      -- which of the backend's providers began it
ALTER TABLE sessions ADD COLUMN provider_session TEXT NOT NULL DEFAULT ''; -- what the provider calls it (OpenID Connect: sid)
ALTER TABLE sessions ADD COLUMN secret BLOB;                            -- what the backend is asked with, encrypted
ALTER TABLE sessions ADD COLUMN refreshed_at INTEGER;                   -- NULL: nobody has to be asked
ALTER TABLE sessions ADD COLUMN claimed_until INTEGER NOT NULL DEFAULT 0; -- one process at a time asks
CREATE INDEX sessions_by_refresh ON sessions (refreshed_at) WHERE refreshed_at IS NOT NULL;
CREATE INDEX sessions_by_provider ON sessions (provider, provider_session) WHERE provider_session <> '';
-- +goose StatementEnd
