//! The tables, one numbered migration after the other.

use std::path::Path;

use rusqlite::Connection;

use crate::error::StoreError;

/// Each brings the database from version n to n+1; none is ever changed once released.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

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
