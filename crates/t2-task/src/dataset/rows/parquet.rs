//! Rows of a Parquet file, the format in which the Hub keeps data sets.

use std::panic;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::Row;
use crate::dataset::error::Place;

/// All rows, with groups as objects and lists as arrays.
///
/// The reader panics on some damaged files. That is a fault of the file and is said as such.
pub(super) fn rows(bytes: Vec<u8>) -> Result<Vec<Row>, (Place, String)> {
    let damaged = |_| (Place::Row(1), "the file is damaged; download it again".into());
    panic::catch_unwind(|| read(bytes)).map_err(damaged)?
}

fn read(bytes: Vec<u8>) -> Result<Vec<Row>, (Place, String)> {
    let at = |row: usize| move |error: ParquetError| (Place::Row(row), error.to_string());
    let reader = SerializedFileReader::new(Bytes::from(bytes)).map_err(at(1))?;
    let rows = reader.get_row_iter(None).map_err(at(1))?;
    let row = |(at_row, row): (usize, Result<parquet::record::Row, ParquetError>)| {
        let place = Place::Row(at_row + 1);
        match row.map_err(at(at_row + 1))?.to_json_value() {
            Value::Object(fields) => Ok(Row { place, fields }),
            other => Err((place, format!("expected fields with names, and found {other}"))),
        }
    };
    rows.enumerate().map(row).collect()
}
