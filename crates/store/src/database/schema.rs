//! The tables, one numbered migration after the other.

use std::path::Path;

use rusqlite::Connection;

use crate::error::StoreError;

/// Each brings the database from version n to n+1; none is ever changed once released.
const MIGRATIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Brings a database to the newest version; a newer one is refused.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let read = StoreError::database("read the database's version");
    let version: usize =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(read)?;
    if version > MIGRATIONS.len() {
        return Err(StoreError::NewerLayout {
            path: path.to_owned(),
            found: u32::try_from(version).unwrap_or(u32::MAX),
            known: u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX),
        });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let mut run = || {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", index + 1)?;
            transaction.commit()
        };
        run().map_err(StoreError::database("migrate the database"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", "ON").unwrap();
        connection
    }

    fn texts(connection: &Connection, query: &str) -> Vec<String> {
        let mut statement = connection.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn images_of_the_first_schema_keep_their_manifests_and_names() {
        let mut connection = open();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO images VALUES ('i1', NULL, 'm1', 7, 'type', NULL, NULL);
                INSERT INTO images VALUES ('i2', NULL, NULL, NULL, NULL, 1, 2);
                INSERT INTO names VALUES ('docker.io/library/a:b', 'i1');",
            )
            .unwrap();
        migrate(&mut connection, Path::new("ferry.db")).unwrap();
        let manifest =
            "SELECT concat_ws(' ', digest, media_type, size, kind, image_id) FROM manifests";
        assert_eq!(texts(&connection, manifest), ["m1 type 7 image i1"]);
        let name = "SELECT concat_ws(' ', reference, image_id, target) FROM names";
        assert_eq!(texts(&connection, name), ["docker.io/library/a:b i1"]);
        // The second time there is nothing to do.
        migrate(&mut connection, Path::new("ferry.db")).unwrap();
        assert_eq!(texts(&connection, manifest).len(), 1);
    }

    #[test]
    fn what_hangs_on_a_row_goes_with_it() {
        let mut connection = open();
        migrate(&mut connection, Path::new("ferry.db")).unwrap();
        connection
            .execute_batch(
                "INSERT INTO manifests VALUES ('m', 't', 1, 'index', NULL, NULL, NULL, NULL);
                INSERT INTO manifest_children VALUES ('m', 0, 'absent', 1, '{}');
                INSERT INTO leases VALUES ('pull:m', 9);
                INSERT INTO lease_items VALUES ('pull:m', 'd');
                DELETE FROM manifests;
                DELETE FROM leases;",
            )
            .unwrap();
        assert!(texts(&connection, "SELECT digest FROM manifest_children").is_empty());
        assert!(texts(&connection, "SELECT digest FROM lease_items").is_empty());
        let orphan = connection.execute("INSERT INTO lease_items VALUES ('none', 'd')", []);
        assert!(orphan.is_err());
    }
}
