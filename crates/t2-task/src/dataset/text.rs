//! The text of a file, in whichever encoding another tool wrote it.

/// What is wrong with a file, and in which line, counted from 1.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// The text of a file in UTF-8 or UTF-16, with `\n` between lines and without byte order marks.
///
/// UTF-16 without a mark is recognised by the zero byte beside its first character, which is ASCII in JSON and in the
/// heading of a table.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, Broken> {
    let text = characters(bytes)?;
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace(MARK_AT_LINE, "\n");
    Ok(text.trim_start_matches(MARK).into())
}

/// The byte order mark, which UTF-16 cannot do without and Windows puts before UTF-8 too.
const MARK: char = '\u{feff}';
/// A byte order mark at the start of a later line: what is left where a file was appended to another.
const MARK_AT_LINE: &str = "\n\u{feff}";

fn characters(bytes: &[u8]) -> Result<String, Broken> {
    let wide = |decode: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| decode([pair[0], pair.get(1).copied().unwrap_or_default()]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map_err(|_| Broken {
            line: 1,
            problem: "the file is UTF-16 with broken characters; save it as UTF-8".into(),
        })
    };
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Err(Broken { line: 1, problem: "the file is UTF-32; save it as UTF-8".into() })
        }
        [0xff, 0xfe, ..] | [(1..), 0, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, (1..), ..] => wide(u16::from_be_bytes),
        _ => std::str::from_utf8(bytes).map(Into::into).map_err(|error| {
            let (good, bad) = bytes.split_at(error.valid_up_to());
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            Broken { line, problem: format!("the byte {:#04x} is not UTF-8; save the file as UTF-8", bad[0]) }
        }),
    }
}
