-- A manifest or an index in blobs/sha256/<hex>.
CREATE TABLE manifests (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    -- 'image', 'index', 'attestation' or 'artifact'.
    kind TEXT NOT NULL,
    -- The image that it describes, of kind 'image'.
    image_id TEXT,
    -- The manifest that it says something about.
    subject TEXT,
    artifact_type TEXT,
    -- os/architecture/variant, where it is known.
    platform TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_by_image ON manifests (image_id);
CREATE INDEX manifests_by_subject ON manifests (subject);

-- The blobs of a manifest and the manifests of an index; they may be absent here.
CREATE TABLE manifest_children (
    parent TEXT NOT NULL REFERENCES manifests (digest) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    -- The descriptor as the parent has it, in JSON.
    descriptor TEXT NOT NULL,
    PRIMARY KEY (parent, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_children_by_digest ON manifest_children (digest);

-- The manifest or the index that the name stands for; NULL for what was built or imported.
ALTER TABLE names ADD COLUMN target TEXT;

-- Repositories (docker.io/library/busybox) that had a blob, and when, in seconds since 1970.
CREATE TABLE blob_sources (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
) STRICT, WITHOUT ROWID;

-- What an unfinished operation holds, until when, in seconds since 1970.
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Blobs by their digest, layers by their diff id.
CREATE TABLE lease_items (
    lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (lease, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_items_by_digest ON lease_items (digest);

-- What a scrub found to be wrong, and when, in seconds since 1970.
CREATE TABLE damaged (
    digest TEXT NOT NULL,
    -- 'blob' or 'layer'.
    what TEXT NOT NULL,
    found INTEGER NOT NULL,
    PRIMARY KEY (digest, what)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO manifests
    SELECT manifest_digest, manifest_media_type, manifest_size, 'image', id, NULL, NULL, NULL
    FROM images WHERE manifest_digest IS NOT NULL ORDER BY id;
