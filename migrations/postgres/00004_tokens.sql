-- +goose Up
-- +goose StatementBegin

-- What programs present. A role or location that is empty limits nothing.
CREATE TABLE tokens (
    token_hash   BYTEA  NOT NULL PRIMARY KEY, -- SHA-256; the token itself is nowhere
    user_id      BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT   COLLATE "C" NOT NULL,
    role         TEXT   COLLATE "C" NOT NULL DEFAULT '',
    location     TEXT   COLLATE "C" NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,                      -- NULL: never
    last_used_at BIGINT,
    UNIQUE (user_id, name)
);
CREATE INDEX tokens_by_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TRIGGER tokens_moved
AFTER INSERT OR DELETE OR UPDATE OF token_hash, user_id, name, role, location, created_at, expires_at ON tokens
FOR EACH ROW EXECUTE FUNCTION moved();
CREATE TRIGGER tokens_emptied AFTER TRUNCATE ON tokens
FOR EACH STATEMENT EXECUTE FUNCTION moved();
-- +goose StatementEnd
