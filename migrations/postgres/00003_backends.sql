-- +goose Up
-- +goose StatementBegin

-- What the config file's rules give a user in code locations, by the groups that the user's backend tells of. It is written
-- anew at each sign-in and each refresh.
CREATE TABLE rule_grants (
    user_id  BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    location TEXT   COLLATE "C" NOT NULL,
    role     TEXT   COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, location, role)
);

CREATE TRIGGER rule_grants_moved AFTER INSERT OR UPDATE OR DELETE ON rule_grants
FOR EACH ROW EXECUTE FUNCTION moved();
CREATE TRIGGER rule_grants_emptied AFTER TRUNCATE ON rule_grants
FOR EACH STATEMENT EXECUTE FUNCTION moved();

-- A session whose backend is asked now and then whether its user is still there. These columns do not move state.version.
ALTER TABLE sessions
    ADD COLUMN provider TEXT COLLATE "C" NOT NULL DEFAULT '',         -- which of the backend's providers began it
    ADD COLUMN provider_session TEXT COLLATE "C" NOT NULL DEFAULT '', -- what the provider calls it (OpenID Connect: sid)
    ADD COLUMN secret BYTEA,                                          -- what the backend is asked with, encrypted
    ADD COLUMN refreshed_at BIGINT,                                   -- NULL: nobody has to be asked
    ADD COLUMN claimed_until BIGINT NOT NULL DEFAULT 0;               -- one process at a time asks
CREATE INDEX sessions_by_refresh ON sessions (refreshed_at) WHERE refreshed_at IS NOT NULL;
CREATE INDEX sessions_by_provider ON sessions (provider, provider_session) WHERE provider_session <> '';
-- +goose StatementEnd
