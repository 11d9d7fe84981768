-- +goose Up
-- +goose StatementBegin

-- What is good once and was used: sign-ins at providers and their logout tokens, and sessions there that are over. No request of
-- somebody who is signed in hangs on it, so that it does not move state.version.
CREATE TABLE used_up (
    hash    BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of what it was
    ends_at INTEGER NOT NULL -- nobody would take it after that anyway
) WITHOUT ROWID;
CREATE INDEX used_up_by_end ON used_up (ends_at);
-- +goose StatementEnd
