-- SPDX-License-Identifier: Apache-2.0

-- One file of a lane. Rows are never changed or deleted; id is the order of storing, so the last id is the number of rows.
-- epoch and seq are unsigned 64-bit numbers kept as the signed ones of the same bits. Times are nanoseconds since 1970.

-- +goose Up
CREATE TABLE entries (
    id       INTEGER PRIMARY KEY,
    node     TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    received INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    rule     TEXT    NOT NULL,
    type     TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    body     BLOB    NOT NULL,
    UNIQUE (node, epoch, seq)
) STRICT;
CREATE INDEX entries_by_time ON entries (time, id);

CREATE TABLE quarantine (
    id       INTEGER PRIMARY KEY,
    node     TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    received INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    raw      BLOB    NOT NULL
) STRICT;

-- What follows is carried from file to file: the newest file holds all of it, and is written in the transaction that
-- stores the rows.
CREATE TABLE positions (
    node     TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    -- When the line was last written: orders the epochs of a node.
    written  INTEGER NOT NULL,
    PRIMARY KEY (node, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE losses (
    node  TEXT    NOT NULL,
    cause TEXT    NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (node, cause)
) STRICT, WITHOUT ROWID;

-- Files that were dropped, or are about to be; file 0 stands for all those that are gone for long.
CREATE TABLE shed (
    file INTEGER PRIMARY KEY,
    rows INTEGER NOT NULL
) STRICT;
