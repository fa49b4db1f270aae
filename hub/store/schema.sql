-- The embedded store: one file for the four master databases, so that one ingest is one commit.

-- Every version of every resource, for ever; seq is the number of the change. ended is the change that superseded it;
-- text is compressed as codec says (0 plain, 1 zstd, else zstd with that dictionary) and null for a deletion.
CREATE TABLE version (
    seq INTEGER PRIMARY KEY,
    database TEXT NOT NULL,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    method TEXT NOT NULL,
    updated INTEGER NOT NULL,
    ended INTEGER,
    origin TEXT NOT NULL,
    codec INTEGER NOT NULL,
    text BLOB
);
CREATE UNIQUE INDEX version_number ON version (type, id, version);
CREATE UNIQUE INDEX version_current ON version (type, id) WHERE ended IS NULL;
CREATE INDEX version_live ON version (type, database, updated) WHERE ended IS NULL AND text IS NOT NULL;
CREATE INDEX version_kind ON version (type, database);

-- A number for each (database, type, search parameter), so that index rows are short and carry the database. The row
-- with the parameter '' says that the database has held the type.
CREATE TABLE parameter (
    key INTEGER PRIMARY KEY,
    database TEXT NOT NULL,
    type TEXT NOT NULL,
    code TEXT NOT NULL,
    UNIQUE (database, type, code)
);

-- Index entries. The order of the key columns is what makes queries fast: value before seq to find, seq before system
-- so that a conjunction looks up points; the second index answers "the entries of this version".
CREATE TABLE term (
    key INTEGER NOT NULL,
    value TEXT NOT NULL,
    seq INTEGER NOT NULL,
    system TEXT NOT NULL,
    PRIMARY KEY (key, value, seq, system)
) WITHOUT ROWID;
CREATE INDEX term_seq ON term (seq, key);

CREATE TABLE range (
    key INTEGER NOT NULL,
    low NOT NULL,
    high NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (key, low, high, seq)
) WITHOUT ROWID;
CREATE INDEX range_high ON range (key, high, low, seq);
CREATE INDEX range_seq ON range (seq, key);

-- Versions that are no longer current but still have index entries, for snapshots; swept after a while.
CREATE TABLE superseded (
    seq INTEGER PRIMARY KEY,
    ended INTEGER NOT NULL,
    time INTEGER NOT NULL
);
CREATE INDEX superseded_ended ON superseded (ended);

-- The one row: the format of this file, and the change up to which superseded entries have been swept.
CREATE TABLE state (
    format INTEGER NOT NULL,
    horizon INTEGER NOT NULL
);
INSERT INTO state VALUES (1, 0);

CREATE TABLE dictionary (
    number INTEGER PRIMARY KEY,
    content BLOB NOT NULL
);

CREATE TABLE item (
    seq INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    data TEXT NOT NULL,
    codec INTEGER NOT NULL,
    raw BLOB NOT NULL,
    created INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    leased_until INTEGER NOT NULL,
    UNIQUE (queue, id),
    UNIQUE (queue, key)
);
CREATE INDEX item_state ON item (queue, state, seq);
