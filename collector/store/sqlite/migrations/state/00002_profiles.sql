-- SPDX-License-Identifier: Apache-2.0

-- What nodes have observed, what people have written over it, what both come to, and modes. A key is namespace, kind, name
-- and container. Texts are gzip, or as they are if they are short. Times are nanoseconds since 1970, 0 where there is none.

-- +goose Up
CREATE TABLE observed (
    namespace TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    container TEXT    NOT NULL,
    node      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    received  INTEGER NOT NULL,
    seen      INTEGER NOT NULL,
    entries   INTEGER NOT NULL,
    states    TEXT    NOT NULL,
    refused   TEXT    NOT NULL,
    raw       BLOB,
    text      BLOB,
    PRIMARY KEY (namespace, kind, name, container, node)
) STRICT;
CREATE INDEX observed_by_node ON observed (node);
CREATE INDEX observed_by_seen ON observed (seen);

CREATE TABLE effective (
    namespace TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    container TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    changed   INTEGER NOT NULL,
    entries   INTEGER NOT NULL,
    digest    BLOB    NOT NULL,
    text      BLOB,
    PRIMARY KEY (namespace, kind, name, container)
) STRICT;

CREATE TABLE overlays (
    namespace TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    container TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    written   INTEGER NOT NULL,
    author    TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    entries   INTEGER NOT NULL,
    text      BLOB,
    PRIMARY KEY (namespace, kind, name, container, version)
) STRICT;

CREATE TABLE modes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    workload   TEXT    NOT NULL,
    signals    TEXT    NOT NULL,
    mode       TEXT    NOT NULL,
    author     TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    ended_by   TEXT    NOT NULL,
    end_reason TEXT    NOT NULL
) STRICT;
CREATE INDEX modes_by_end ON modes (ended);

CREATE TABLE modes_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO modes_version (one, version) VALUES (1, 0);
