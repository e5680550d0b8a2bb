-- SPDX-License-Identifier: Apache-2.0

-- Revoked nodes that may enrol again, and who was refused. Times are nanoseconds since 1970, 0 where there is none.

-- +goose Up
ALTER TABLE revocations ADD COLUMN allowed INTEGER NOT NULL DEFAULT 0;

CREATE TABLE refusals (
    node       TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    credential TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    PRIMARY KEY (node, host, credential, cause)
) STRICT, WITHOUT ROWID;
CREATE INDEX refusals_by_last ON refusals (last);
