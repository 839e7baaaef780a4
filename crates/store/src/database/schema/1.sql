-- A layer in layers/<hex of diff_id>/.
CREATE TABLE layers (
    diff_id TEXT PRIMARY KEY,
    -- How it is kept: 'erofs' or 'directories'.
    kind TEXT NOT NULL,
    -- Bytes of the uncompressed archive.
    archive_size INTEGER NOT NULL,
    -- Bytes of its files as Docker counts them.
    content_size INTEGER NOT NULL,
    -- Whether it changes nothing, so that no overlay needs it.
    is_empty INTEGER NOT NULL,
    -- Whether it hides all layers beneath it.
    root_is_opaque INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A compressed form of a layer, or a manifest, in blobs/sha256/<hex>.
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    -- The layer that it is a compressed form of.
    diff_id TEXT REFERENCES layers (diff_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_by_layer ON blobs (diff_id);

-- An image; its configuration is in blobs/sha256/<hex of id>.
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    parent TEXT,
    -- The manifest it came with, in blobs/sha256/ too.
    manifest_digest TEXT,
    manifest_size INTEGER,
    manifest_media_type TEXT,
    last_tagged_seconds INTEGER,
    last_tagged_nanoseconds INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX images_by_parent ON images (parent);

CREATE TABLE image_layers (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL REFERENCES layers (diff_id),
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers (diff_id);

-- Complete names with a tag or a digest: docker.io/library/busybox:latest.
CREATE TABLE names (
    reference TEXT PRIMARY KEY,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_image ON names (image_id);

-- A container's filesystem in containers/<id>/, and the layers it holds, lowest first.
CREATE TABLE container_filesystems (
    container_id TEXT PRIMARY KEY,
    image_id TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE container_layers (
    container_id TEXT NOT NULL
        REFERENCES container_filesystems (container_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL REFERENCES layers (diff_id),
    PRIMARY KEY (container_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX container_layers_by_layer ON container_layers (diff_id);

-- The engine's records.
CREATE TABLE records (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
