//! An open file: decompressed if its first bytes say so, with its beginning kept for guessing the format.

use super::Head;
use crate::columns::parquet::{Input, ReadAt};
use crate::{Error, Result};
use bytes::Bytes;
use memchr::memchr2;
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A file that is read once from front to back as text, or in any order through [`OpenFile::input`].
pub(crate) struct OpenFile {
    path: PathBuf,
    input: Input,
    head: Vec<u8>,
    whole: bool,
    packed: Option<&'static str>,
    rest: Box<dyn Read>,
    done: Rc<Cell<u64>>,
}

/// Enough for the first line of any usual table and for distinguishing the line formats.
const HEAD: usize = 1 << 16;
const BUFFER: usize = 1 << 17;
/// A longer line is an error: the file is probably binary or lacks a closing quote.
const MAX_LINE: usize = 64 << 20;

impl OpenFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::new(path.to_path_buf(), Input::open(path)?)
    }

    pub(crate) fn memory(name: &str, bytes: Bytes) -> Result<Self> {
        Self::new(name.into(), Input::Memory(bytes))
    }

    fn new(path: PathBuf, input: Input) -> Result<Self> {
        let done = Rc::new(Cell::new(0));
        let raw = CountingReader { from: ReadAt::start(&input), done: Rc::clone(&done) };
        let mut raw = BufReader::with_capacity(BUFFER, raw);
        let magic = raw.fill_buf().map_err(Error::io(&path))?;
        let (packed, mut rest): (_, Box<dyn Read>) = if magic.starts_with(&[0x1f, 0x8b]) {
            (Some("gzip"), Box::new(flate2::bufread::MultiGzDecoder::new(raw)))
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw);
            (Some("zstd"), Box::new(decoder.map_err(Error::io(&path))?))
        } else {
            (None, Box::new(raw))
        };
        let mut head = Vec::new();
        let read = rest.by_ref().take(HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| unreadable(&path, packed, error))?;
        let whole = head.len() < HEAD;
        if head.starts_with(b"\xef\xbb\xbf") {
            head.drain(..3);
        }
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Err(Error::file(path, "the text is UTF-16, expected UTF-8"));
        }
        Ok(Self { path, input, head, whole, packed, rest, done })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file as it is on disk.
    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    pub(crate) fn head(&self) -> Head<'_> {
        Head { bytes: &self.head, whole: self.whole }
    }

    /// Bytes read from disk so far; keeps counting while the file is read.
    pub(crate) fn done(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.done)
    }
}

impl OpenFile {
    pub(crate) fn into_text(self) -> TextReader {
        let Self { path, head, packed, rest, .. } = self;
        TextReader {
            path,
            packed,
            reader: BufReader::with_capacity(BUFFER, Cursor::new(head).chain(rest)),
        }
    }

    pub(crate) fn into_lines(self) -> LineReader {
        LineReader { text: self.into_text(), line: Vec::new(), number: 0, after_cr: false }
    }
}

/// The head, followed by the remainder.
type Joined = io::Chain<Cursor<Vec<u8>>, Box<dyn Read>>;

/// Decompressed text.
pub(crate) struct TextReader {
    path: PathBuf,
    packed: Option<&'static str>,
    reader: BufReader<Joined>,
}

impl TextReader {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The buffered bytes; empty at the end of the file.
    pub(crate) fn fill(&mut self) -> Result<&[u8]> {
        match self.reader.fill_buf() {
            // `buffer()` again, because the borrow checker does not see that the error case ends here.
            Ok(_) => Ok(self.reader.buffer()),
            Err(error) => Err(unreadable(&self.path, self.packed, error)),
        }
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.reader.consume(n);
    }

    pub(crate) fn check_length(&self, line: u64, length: usize) -> Result<()> {
        if length > MAX_LINE {
            let problem = format!("the line is longer than {} MiB", MAX_LINE >> 20);
            return Err(Error::Line { path: self.path.clone(), line, problem });
        }
        Ok(())
    }
}

/// Reads lines without their line ends, which may be LF, CRLF or CR.
pub(crate) struct LineReader {
    text: TextReader,
    line: Vec<u8>,
    number: u64,
    after_cr: bool,
}

impl LineReader {
    /// The next line that is not blank, with its number.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        while self.advance()? {
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.number, &self.line)));
            }
        }
        Ok(None)
    }

    /// The next line, blank or not, with its number.
    pub(crate) fn next_or_blank(&mut self) -> Result<Option<(u64, &[u8])>> {
        Ok(if self.advance()? { Some((self.number, &self.line)) } else { None })
    }

    fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        let mut any = false;
        loop {
            let buffer = self.text.fill()?;
            if buffer.is_empty() {
                self.number += u64::from(any);
                return Ok(any);
            }
            if self.after_cr {
                self.after_cr = false;
                if buffer[0] == b'\n' {
                    self.text.consume(1);
                    continue;
                }
            }
            any = true;
            let end = memchr2(b'\n', b'\r', buffer);
            let taken = end.unwrap_or(buffer.len());
            self.line.extend_from_slice(&buffer[..taken]);
            self.after_cr = end.is_some_and(|end| buffer[end] == b'\r');
            self.text.consume(taken + usize::from(end.is_some()));
            self.text.check_length(self.number + 1, self.line.len())?;
            if end.is_some() {
                self.number += 1;
                return Ok(true);
            }
        }
    }
}

fn unreadable(path: &Path, packed: Option<&str>, error: io::Error) -> Error {
    match packed {
        Some(packed) => {
            let problem = format!("the {packed} stream is damaged or incomplete: {error}");
            Error::file(path, problem)
        }
        None => Error::io(path)(error),
    }
}

struct CountingReader {
    from: ReadAt,
    done: Rc<Cell<u64>>,
}

impl Read for CountingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.done.set(self.done.get() + read as u64);
        Ok(read)
    }
}
