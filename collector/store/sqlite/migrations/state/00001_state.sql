-- SPDX-License-Identifier: Apache-2.0

-- What the collector knows and what people decided. Times are nanoseconds since 1970, 0 where there is none.

-- +goose Up
CREATE TABLE nodes (
    name       TEXT    PRIMARY KEY,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    address    TEXT    NOT NULL,
    hello      BLOB,
    health     BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE revocations (
    node TEXT    PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id      TEXT    PRIMARY KEY,
    role    TEXT    NOT NULL,
    hash    BLOB    NOT NULL,
    node    TEXT    NOT NULL,
    uses    INTEGER NOT NULL,
    note    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    used    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE record_policy (
    version INTEGER PRIMARY KEY,
    policy  BLOB    NOT NULL,
    written INTEGER NOT NULL
) STRICT;
