//! Tables of accounts, and every query about them.

pub(crate) mod accounts;
pub(crate) mod app_passwords;
pub(crate) mod audit;
pub(crate) mod names;

use omnid_store::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: include_str!("1.sql"),
}];
