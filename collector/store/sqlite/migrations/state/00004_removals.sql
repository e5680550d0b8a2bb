-- SPDX-License-Identifier: Apache-2.0

-- Profiles that people have removed, so that what nodes learned before does not come back. at is nanoseconds since 1970.

-- +goose Up
CREATE TABLE removals (
    namespace TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    container TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (namespace, kind, name, container)
) STRICT, WITHOUT ROWID;
CREATE INDEX removals_by_time ON removals (at);
