//! Rows of a table of text, CSV or TSV: the first line names the fields, and every value is a text.

use csv::{Position, ReaderBuilder, StringRecord};
use serde_json::Map;

use super::Row;
use crate::dataset::error::Place;
use crate::dataset::text::Broken;

/// The rows below the heading, with `delimiter` between the values.
pub(super) fn rows(text: &str, delimiter: u8) -> Result<Vec<Row>, Broken> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let heading = reader.headers().map_err(|error| broken(&error))?.clone();
    reader.records().map(|record| Ok(row(&heading, &record.map_err(|error| broken(&error))?))).collect()
}

fn row(heading: &StringRecord, record: &StringRecord) -> Row {
    let fields = heading.iter().zip(record).map(|(name, value)| (name.trim().into(), value.into()));
    Row { place: Place::Line(line(record.position())), fields: Map::from_iter(fields) }
}

fn broken(error: &csv::Error) -> Broken {
    Broken { line: line(error.position()), problem: error.to_string() }
}

fn line(position: Option<&Position>) -> usize {
    position.map_or(1, |position| usize::try_from(position.line()).unwrap_or(usize::MAX))
}
