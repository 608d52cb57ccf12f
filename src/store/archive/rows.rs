//! Tables and rows, between a SQLite file and either engine.

use rusqlite::Connection;

use crate::migration::{self, Applied, Dialect};
use crate::sqlite::SqliteSession;
use crate::transaction::Session;
use crate::{Reader, Row, StoreError, Transaction, Value, params};

/// Parameters of one statement; PostgreSQL has at most 65535.
const PARAMETERS: usize = 1000;

/// A table as its SQLite file describes it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    columns: Vec<String>,
    /// The column that counts itself.
    serial: Option<String>,
    parents: Vec<String>,
}

impl Table {
    fn columns(&self) -> String {
        self.columns
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn select(&self) -> String {
        format!("SELECT {} FROM \"{}\"", self.columns(), self.name)
    }

    fn insert(&self, rows: usize) -> String {
        let width = self.columns.len();
        let groups: Vec<String> = (0..rows)
            .map(|row| {
                let group: Vec<String> = (1..=width)
                    .map(|column| format!("${}", row * width + column))
                    .collect();
                format!("({})", group.join(", "))
            })
            .collect();
        format!(
            "INSERT INTO \"{}\" ({}) VALUES {}",
            self.name,
            self.columns(),
            groups.join(", ")
        )
    }
}

/// The tables of a SQLite file but for the table of migrations, each after those it refers to.
pub(super) fn tables(connection: &Connection) -> Result<Vec<Table>, StoreError> {
    let names = strings(
        connection,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'
         ESCAPE '\\' AND name <> 'omnid_migrations' ORDER BY name",
        "",
    )?;
    let mut tables = Vec::new();
    for name in names {
        let columns = strings(connection, "SELECT name FROM pragma_table_info($1)", &name)?;
        for identifier in std::iter::once(&name).chain(&columns) {
            plain(identifier)?;
        }
        let serial = strings(
            connection,
            "SELECT i.name FROM pragma_table_info($1) i, sqlite_schema s
             WHERE i.pk = 1 AND s.name = $1 AND s.sql LIKE '%AUTOINCREMENT%'",
            &name,
        )?
        .pop();
        let parents = strings(
            connection,
            "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)",
            &name,
        )?;
        tables.push(Table {
            name,
            columns,
            serial,
            parents,
        });
    }
    parents_first(tables)
}

/// The tables that these migrations make, found out on an empty file.
pub(super) fn model(migrations: &[Applied]) -> Result<Vec<Table>, StoreError> {
    let model = Connection::open_in_memory()?;
    let mut session = SqliteSession(&model);
    replay(
        &mut Transaction::new(&mut session),
        Dialect::Sqlite,
        migrations,
    )?;
    tables(&model)
}

fn parents_first(mut left: Vec<Table>) -> Result<Vec<Table>, StoreError> {
    let mut sorted: Vec<Table> = Vec::new();
    while !left.is_empty() {
        let (ready, waiting): (Vec<Table>, Vec<Table>) = left.iter().cloned().partition(|table| {
            table.parents.iter().all(|parent| {
                *parent == table.name || !left.iter().any(|other| other.name == *parent)
            })
        });
        if ready.is_empty() {
            return Err(StoreError::other("tables refer to each other in a circle"));
        }
        sorted.extend(ready);
        left = waiting;
    }
    Ok(sorted)
}

/// Names go into statements as they are, so they must be plain; and lower case, which is how
/// PostgreSQL folds them.
fn plain(name: &str) -> Result<(), StoreError> {
    if name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    {
        return Ok(());
    }
    Err(StoreError::Other(
        format!("the name {name:?} is not in plain lower case").into(),
    ))
}

fn strings(connection: &Connection, sql: &str, name: &str) -> Result<Vec<String>, StoreError> {
    let values = if sql.contains("$1") {
        vec![Value::from(name)]
    } else {
        Vec::new()
    };
    let mut session = SqliteSession(connection);
    Reader::new(&mut session)
        .query(sql, &values)?
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// Builds the schema that these migrations describe.
pub(super) fn replay(
    tx: &mut Transaction<'_>,
    dialect: Dialect,
    migrations: &[Applied],
) -> Result<(), StoreError> {
    migration::prepare(tx, dialect)?;
    for step in migrations {
        migration::apply(
            tx,
            dialect,
            &step.component,
            step.version,
            &step.sql,
            step.position,
        )?;
    }
    Ok(())
}

/// Every row of `table`.
pub(super) fn each(
    from: &mut Reader<'_>,
    table: &Table,
    each: impl FnMut(Row) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    from.query_each(&table.select(), &[], each)
}

/// Copies every row of `table`. What a migration itself put there goes first.
pub(super) fn copy(
    from: &mut Reader<'_>,
    to: &mut dyn Session,
    table: &Table,
) -> Result<u64, StoreError> {
    to.execute(&format!("DELETE FROM \"{}\"", table.name), &[])?;
    let rows_at_once = (PARAMETERS / table.columns.len().max(1)).max(1);
    let full = table.insert(rows_at_once);
    let mut waiting: Vec<Value> = Vec::new();
    let mut held = 0;
    let mut count = 0;
    each(from, table, |row| {
        waiting.extend(row.0);
        held += 1;
        count += 1;
        if held == rows_at_once {
            to.execute(&full, &waiting)?;
            waiting.clear();
            held = 0;
        }
        Ok(true)
    })?;
    if held > 0 {
        to.execute(&table.insert(held), &waiting)?;
    }
    Ok(count)
}

/// Where a table's own count stands, in PostgreSQL.
pub(super) fn serial_of_postgres(
    reader: &mut Reader<'_>,
    table: &Table,
) -> Result<Option<i64>, StoreError> {
    let Some(column) = &table.serial else {
        return Ok(None);
    };
    let name = reader.query_one(
        "SELECT pg_get_serial_sequence($1, $2)",
        params![&table.name, column],
    )?;
    let Some(name) = name
        .map(|row| row.get::<Option<String>>(0))
        .transpose()?
        .flatten()
    else {
        return Ok(None);
    };
    // The server itself wrote the name, quoted where need be.
    let row = reader.query_one(
        &format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}"),
        &[],
    )?;
    row.map(|row| row.get(0)).transpose()
}

/// Where a table's own count stands, in SQLite.
pub(super) fn serial_of_sqlite(
    connection: &Connection,
    table: &Table,
) -> Result<Option<i64>, StoreError> {
    if table.serial.is_none() {
        return Ok(None);
    }
    let mut session = SqliteSession(connection);
    Reader::new(&mut session)
        .query_one(
            "SELECT seq FROM sqlite_sequence WHERE name = $1",
            params![&table.name],
        )?
        .map(|row| row.get(0))
        .transpose()
}

/// Lets a table go on counting where it stood, so that a number once given is not given again.
pub(super) fn set_serial(
    to: &mut dyn Session,
    dialect: Dialect,
    table: &Table,
    last: i64,
) -> Result<(), StoreError> {
    let Some(column) = &table.serial else {
        return Ok(());
    };
    match dialect {
        Dialect::Sqlite => {
            to.execute(
                "DELETE FROM sqlite_sequence WHERE name = $1",
                params![&table.name],
            )?;
            to.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)",
                params![&table.name, last],
            )?;
        }
        Dialect::Postgres if last > 0 => {
            to.query(
                "SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3)",
                params![&table.name, column, last],
                &mut |_| Ok(true),
            )?;
        }
        Dialect::Postgres => {}
    }
    Ok(())
}
