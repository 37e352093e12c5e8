//! Rows of a Parquet file, the format in which the Hub keeps data sets.

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::Row;
use crate::dataset::error::Place;

/// All rows, with groups as objects and lists as arrays.
pub(super) fn rows(bytes: Vec<u8>) -> Result<Vec<Row>, (Place, String)> {
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
